"""How tools say that something went wrong, and whose fault that is: two tables of patterns.

`TEXT_RULES` decides whether a text is an error message at all. Its patterns are tied to the beginning of the text, the
place that tells an error message from a document about errors. `_CATEGORIES` then says whose fault it is and may look
anywhere, because by then it is known to be an error. In both the first row that fits counts; a rule pack for another
data set is a few more rows and a line in `PACKS`. Quantifiers are bounded: tool results are foreign text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import NamedTuple

from tl_jax.registry import Registry
from tl_jax.tooluse.mae import languages


class Category(StrEnum):
    """What went wrong. The first four are the caller's fault."""

    TOOL_HALLUCINATION = "tool_hallucination"
    PARAMETER_HALLUCINATION = "parameter_hallucination"
    MISSING_PARAMETER = "missing_parameter"
    BAD_VALUE = "bad_value"
    ENVIRONMENT = "environment"
    UNKNOWN_ERROR = "unknown_error"


class Pack(NamedTuple):
    """A family of errors that rule ``paper`` can look for."""

    name: str
    finds: str


PACKS = Registry(
    "rule pack",
    (
        Pack("fields", "error, success, status and code fields by their value"),
        Pack("messages", "texts that begin like an error message in English"),
        Pack(
            "python",
            "tracebacks and exceptions without their class, as ToolEyes and RoTBench hand them on; a result that is "
            "nothing but one of the call's arguments in quotes is a `KeyError`",
        ),
        Pack("http", "status lines and pages, gateways, lost connections"),
        Pack(
            "languages",
            "error messages in Chinese, Korean, Japanese, Spanish, French, German, Portuguese and Russian; a search "
            "without a result is none in any language",
        ),
        Pack(
            "toolbench",
            'the envelope `{"error": ..., "response": ...}`. Its server fills `error` wherever certain words occur in '
            'the response ("Message error..." for any "error"), so a response that holds a result outweighs it',
        ),
        Pack("tau_bench", "`Error: ...` and unknown actions"),
    ),
    columns={"pack": lambda pack: f"`{pack.name}`", "finds": lambda pack: pack.finds},
)


@dataclass(frozen=True, slots=True)
class TextRule:
    """A pattern that only error messages fit, in texts up to ``longest`` characters. Without category: `classify`."""

    pack: str
    name: str
    pattern: re.Pattern[str]
    category: Category | None
    longest: float

    @property
    def weak(self) -> bool:
        """Whether it is for a sentence or two."""
        return self.longest <= _SENTENCE


_SENTENCE, _PAGE, _ANY = 300, 2000, float("inf")
"""How long a text a rule is applied to. Weak rules are for a sentence or two: longer texts are documents."""


def _rule(
    pack: str, name: str, *patterns: str, category: Category | None = None, longest: float = _SENTENCE
) -> TextRule:
    """A rule of several alternatives, each tied to the beginning of the text."""
    return TextRule(pack, name, re.compile("^(?:" + "|".join(patterns) + ")", re.IGNORECASE), category, longest)


_PHRASES = "|".join(re.escape(status.phrase) for status in HTTPStatus if status >= 400)
_PHRASES += "|Gateway Time-?out|Request Time-?out|Service Temporarily Unavailable|Web server is down"
_CLEAR_PHRASES = "|".join(phrase for phrase in _PHRASES.split("|") if " " in phrase) + "|Forbidden|Unauthorized"
"""HTTP's phrases without those that are also ordinary answers, such as Locked or Gone."""
_EXCEPTION = r"(?-i:(?:[A-Za-z_]\w{0,60}\.){0,6}(?:[A-Z]\w{0,60})?(?:Error|Exception|Timeout|Interrupt)\b)"
_FUNCTION = r"[\w.<>-]{1,80}\(\)"
_SORRY = (
    r"(?:(?:(?:we(?: are|'re) |i(?: am|'m) )?(?:so |very )?sorry|oops|uh-oh|apologies|unfortunately)[,.!:]? (?:but )?)?"
)
_WORDS = r"(?:[\w.,'\"`/:<>#@-]{1,80}\s+){0,8}"
_THING = (
    "(?:tool|function|method|action|api|command|endpoint|parameter|param|argument|option|field|property|keyword|"
    "input|value|request|response|file|file or directory)s?"
)
_VALUE = (
    "(?:key|type|format|json|date|time|id|name|url|domain|email|user|username|password|token|credentials?|query|"
    "location|city|country|currency|language|genre|symbol|code|service)s?"
)
_EXITED = (
    r"(?:(?:completed|finished|failed|terminated) with )?(?:exit|return|error)(?:ed with)? ?(?:code|status)"
    r"(?: is|[:=])? ?-?[1-9]\d{0,9}"
)
_NONE = (
    r"\s*(?:0(?: \w{1,20}[:=]|/\d)|(?:0|no(?:ne| errors?)?|null|nil|false|n/a|\[\]|\{\})(?: found| detected)?\s*"
    r"(?:[.,;|\n]|$))"
)
"""What follows "Errors:" where there are none."""
QUOTED_NAME = re.compile(r"'[A-Za-z]+(_[A-Za-z0-9]+)+'$")
"""`'related_searches'` and nothing else: how Python prints a KeyError."""

LABEL = re.compile(
    r"(?:(?:tool|function|api) )?(?:output|result|response|observation):(?!\s*errors\b)"
    r"(?!\s*[\w ]{1,40}(?::| -) ?(?:[-+]?[\d.]+|none|null|nothing)\b)\s*",
    re.IGNORECASE,
)
"""What may stand before a result. After it only rules for more than a sentence count: "Result: failed" is a result."""

TEXT_RULES: tuple[TextRule, ...] = (
    _rule(
        "python",
        "traceback",
        r"traceback \(most recent call last\)",
        rf"[\s\S]{{0,2600}}\ntraceback \(most recent call last\):\n[\s\S]{{0,2000}}\n{_EXCEPTION}[^\n]*$",
        longest=_ANY,
    ),
    _rule(
        "messages",
        "prefix",
        r"[\[(<*\s]{0,3}(?:fatal )?(?:error|errors|exception|failure|fatal)[\])>*]{0,3}\s*(?:\d{1,5}\s*)?"
        rf"(?:\(\w{{1,10}}\)\s*)?(?:[:：!=](?!{_NONE})| - )",
        r"(?:\w{1,20} ){1,2}fatal error:|err_[a-z]|npm err!|panic: |caused by: |err: |\(error\) |(?-i:-?ERR )\w",
        r"[\[<](?:\w{1,20}[_ -])?(?:error|exception|failure)[\]>]",
        longest=_ANY,
    ),
    _rule(
        "messages", "prefix", r"(?:error|failed|fail|failure|exception|not found|timeout|forbidden|unauthorized)[.!]?$"
    ),
    _rule(
        "messages",
        "prefix",
        r"(?:an? |the )?(?:\w{1,20} ){0,3}error (?:has )?(?:occurred|during|while|when|executing|calling|running|"
        r"invoking|fetching|posting|parsing|processing|loading|code:? [1-9])",
        r"(?:an? |the )?error in (?:executing|calling|running|invoking|fetching|parsing|processing|loading)\b",
        rf"{_SORRY}(?:(?:an? |the )?(?:\w{{1,20}} ){{0,3}}error (?:has )?(?:occurred|happened)|(?:i |we )(?:have )?"
        r"(?:encountered|hit|ran into) an? (?:\w{1,20} ){0,2}(?:error|problem|issue))",
        r"(?:an? |the )?(?:\w{1,20} |'\w{1,60}' ){0,3}(?:raised an )?exception\b(?:[:.!]|$| occurred| in )",
        r"internal error\b",
        r"(?:(?:tool|function|api|http|server|internal|unknown|unexpected|unspecified|network|connection|runtime|"
        r"execution|validation|syntax|json|parse|decode|"
        r"parsing|request|response|timeout|message|unauthorized|unsubscribed|auth|authentication|value|type|key|"
        r"database|sql|query|input|mcp|rpc) ){1,3}error\b\s*(?:-?\d{1,6}\s*)?(?:[:：.!(]|$)",
        longest=_PAGE,
    ),
    _rule("python", "exception", rf"(?:uncaught )?{_EXCEPTION}(?:\([^\n]{{0,200}}\))?(?:\s*:|$)", longest=_PAGE),
    _rule("python", "unexpected argument", rf"{_FUNCTION} got (?:an unexpected|multiple values for|some positional)"),
    _rule(
        "python",
        "missing argument",
        rf"{_FUNCTION} missing \d+ required|missing \d+ required (?:positional|keyword)",
    ),
    _rule("python", "too many arguments", rf"{_FUNCTION} takes .{{1,40}} positional arguments?"),
    _rule("python", "undefined name", r"name '[^'\n]{1,80}' is not defined", r"[\w.$-]{1,80} is not defined[.!]?$"),
    _rule("python", "key error", QUOTED_NAME.pattern, category=Category.UNKNOWN_ERROR),
    _rule(
        "python",
        "Python type",
        r"'[^'\n]{1,10}' not supported between instances of|unsupported (?:operand )?type",
        r"can(?:'t|not) (?:multiply|concatenate|convert|assign|unpack)|can only concatenate",
        r"'\w{1,60}' object (?:is not|has no|does not)|object of type '?\w{1,60}'? (?:is not|has no)",
        r"\w{1,40} indices must be integers|(?:list|string|tuple) index out of range",
        r"unhashable type|not all arguments converted|argument of type '\w{1,60}' is not|cannot import name|"
        r"no module named|module '[\w.]{1,80}' has no|(?:too many|not enough) values to unpack",
        r"(?:\w{1,40}(?:\(\))? )?(?:argument )?(?:expected|must be) (?:an? )?(?:str|int|float|list|dict|bool|bytes|"
        r"string|integer|number|object|array)\w{0,3},? (?:but )?(?:got|received|not|found)\b",
    ),
    _rule(
        "python",
        "Python value",
        r"invalid literal for|could not convert|(?:integer |float )?division by zero|math domain error",
        r"local variable '|cannot access local variable|expecting value: line \d|\[errno -?\d{1,5}\]",
        r"invalid syntax|(?:eol|eof) while|unexpected eof|unterminated string|maximum recursion depth|max\(\) arg|"
        r"min\(\) arg|time data '.{0,80} does not match|day is out of range|wrong number of arguments",
    ),
    _rule(
        "python",
        "schema",
        r"\d{1,3} validation errors? for ",
        r"['\"]?[\w.-]{1,60}['\"]? is a required property|additional properties are not allowed",
        r"['\"\d\[{].{0,80} is not (?:one of \[|of type '|valid under any of)",
        longest=_PAGE,
    ),
    _rule(
        "messages",
        "program",
        r"(?:/bin/)?(?:ba|z|da|k)?sh: |[\w./-]{1,60}: (?:.{0,120}: )?(?:\[errno \d+\] )?"
        r"(?:command not found|no such file|permission denied|not a directory|is a directory)",
        r"(?:command|process|program|script)\b.{0,60} (?:exited|finished|failed|terminated|returned) (?:with )?"
        r"(?:an? )?(?:non-?zero|(?:exit )?(?:code|status) -?[1-9])",
        r"thread '[^'\n]{1,60}' panicked at|segmentation fault|"
        r"(?:curl|wget|git|ssh): \(?(?:\d{1,3}\)|fatal|error|unable|could not)|"
        r"null ?pointer ?exception|undefined is not a function|no such (?:table|column|module)\b|"
        r'near "[^"\n]{1,80}": syntax error',
    ),
    _rule(
        "messages",
        "exit code",
        rf"{_EXITED}[^\n]{{0,3}}(?:\n|$)",
        rf"(?:[\s\S]{{0,2600}}\n)?\W{{0,3}}(?:(?:the )?(?:command|process|program|script) )?{_EXITED}\W{{0,3}}$",
        longest=_ANY,
    ),
    _rule(
        "http",
        "gateway",
        r"upstream (?:connect error|request timeout|server (?:is |was )?(?:unavailable|error))|no healthy upstream|"
        r"stream timeout$|default backend - 404|no available server$|error code: 1\d{3}$|bad gateway\b.{0,3}$",
    ),
    _rule(
        "http",
        "HTTP status",
        rf"(?:HTTP\S{{0,4}}\s+)?(?:(?:error|status|status code)\W{{0,3}})?[45]\d\d\W{{1,3}}"
        rf"(?:{_PHRASES}|client error|server error)\b",
        rf"(?:{_CLEAR_PHRASES})(?:[.!:]|$)",
    ),
    _rule(
        "http",
        "HTTP status",
        r"(?:HTTP\s*)?(?:error|status|status code|error code|response code)\W{0,3}[45]\d\d\b",
        r"HTTP\S{0,4}\s*[45]\d\d\s*(?:[:.,!-]|$)",
        longest=_PAGE,
    ),
    _rule(
        "http",
        "HTTP page",
        rf"(?:<!doctype[^>]{{0,200}}>\s*)?<html[\s\S]{{0,300}}?<title>\s*(?:(?:error |HTTP status )?[45]\d\d\b\W{{0,5}}"
        rf"(?:<|[-–|:] |error|page|{_PHRASES})|{_CLEAR_PHRASES}|error\s*<|access denied\s*<|"
        r"attention required! \| cloudflare|"
        r"just a moment\.\.\.|[^<|]{1,80}\| 5\d\d: )",
        longest=_ANY,
    ),
    _rule(
        "messages",
        "failed",
        r"(?:\w{1,20} ){0,3}(?:call|request|execution|invocation|query|login|lookup|search|validation|"
        r"authentication|connection|update|tool) (?:has |was )?(?:failed|unsuccessful|timed out)\b",
        r"(?:the )?(?:call|request|query|execution|invocation)\b.{0,80} (?:failed|timed out)(?:[.:!\n]| with| because|"
        r" due|$)",
        r"(?:the )?(?:server|api|tool|function|query|request|call) (?:has )?returned (?:an? )?"
        r"(?:error|invalid|(?:status |code ){0,2}[45]\d\d\b)",
        r"(?:sorry, )?(?:the |this |our )?(?:requested )?(?:tool|service|api|server|function|endpoint|system|database|"
        r"model)s? (?:is|are) (?:currently |temporarily )?(?:unavailable|not available|overloaded|down|offline|busy)\b",
        r"operation failed|(?:sorry, )?(?:i |we )?(?:failed to|unable to|was unable to|could not|couldn't) \w+",
        r"can(?:not|'t) (?:find|connect|read|parse|open|access|process|complete|load|call|execute|divide)\b",
        r"can(?:not|'t) \w{1,30}: |(?:failed|failure|missing)\s?: (?!\d|(?:none|nothing|\[\])\W*$)",
        r"there (?:was|is|has been) an? (?:\w{1,20} )?(?:problem|error|issue) (?:with|while|when|processing|in)\b",
        r"there (?:was|has been) an error[:.](?!.*\b(?:fixed|corrected|succeeded|resolved)\b)",
        r"(?:the |your |this )?(?:request|operation|call|action|transaction) (?:(?:is|was|has been) )?"
        r"(?:could not|can ?not|rejected|denied|aborted|not (?:be |permitted|allowed|completed|processed))\b",
        r"(?:oops|sorry|uh-oh)?[,.! ]{0,2}something went wrong|please try again",
        r"[^.!?\n]{1,120}[.!] ?please try again later",
    ),
    _rule(
        "messages",
        "limit",
        rf"{_WORDS}(?:rate|request|usage|quota|call|daily|monthly) ?limit (?:has been |was |is )?(?:exceeded|reached)",
        r"too many requests|quota exceeded|(?:you(?:'ve| have)? )?exceeded (?:the |your )?(?:\w{1,20} ){0,4}"
        r"(?:limit|quota|redirects)",
    ),
    _rule(
        "messages",
        "refusal",
        r"(?:access|permission)(?: is| was)? denied|(?:you are |user is )?not authorized(?:[.!:]|$| to )",
        r"no (?:api key|credentials|access token) (?:(?:was|were) )?(?:provided|found(?! in\b)|given|supplied|set)\b",
        r"(?:authentication|authorization|login|api key) (?:credentials )?(?:(?:is|was|were) )?"
        r"(?:required|not provided)\b",
        r"(?:you must|please) (?:be logged|log|sign) in (?:first|to continue)|you must (?:be logged|log|sign) in\b",
        r"you (?:do not|don't) have (?:the |sufficient |enough )?(?:\w{1,20} )?(?:permission|access|rights)",
        r"you are not (?:subscribed|allowed|logged in|permitted|authenticated)\b",
        r"(?:your |the )?(?:\w{1,20} )?(?:session|token|api key|credentials?|password|subscription|license) "
        r"(?:(?:is|are|has|have|was) )?(?:expired|invalid|incorrect|not valid|missing|revoked)\b",
        r"insufficient (?:funds|balance|permissions?|privileges|credits?|quota|scopes?)\b",
    ),
    _rule(
        "http",
        "connection",
        r"(?:the )?(?:connection|request|operation|read|connect)s? (?:has |have )?(?:timed out|timeout"
        r"(?! (?:is|was|has|set)\b)|refused|reset|aborted|closed)(?! successfully)|"
        r"(?-i:E(?:CONN(?:REFUSED|RESET|ABORTED)|TIMEDOUT|NOTFOUND|HOSTUNREACH))\b",
        r"timed out\b|HTTPS?ConnectionPool\(|max retries exceeded|network is unreachable",
    ),
    _rule(
        "messages",
        "invalid",
        rf"(?:unknown|unexpected|malformed|illegal|incorrect|missing|no such) (?:\w{{1,20}} ){{0,2}}{_THING}\b",
        rf"(?:invalid|unrecogni[sz]ed|unsupported) (?:\w{{1,20}} ){{0,3}}(?:{_THING}|{_VALUE})\b",
        rf"(?:unknown|incorrect|no such) {_VALUE}\b|invalid [`'\"]\w{{1,40}}[`'\"]",
        r"(?:invalid|unrecogni[sz]ed|unsupported) [\w-]{1,30}(?: [\w-]{1,30}){0,2}[:.!]?(?:$| ')",
        r"(?:wrong|incorrect) (?:user ?name|password|credentials)\b",
        r"(?:the )?(?:argument|parameter|input|payload|request|json)s? (?:(?:is|are) )?(?:invalid|malformed)\b",
        r"(?:invalid|unknown|missing|unsupported)_[a-z_]{3,40}(?:$|:)|"
        r"[a-z_]{3,40}_(?:error|denied|failed|not_found|exceeded|expired|unavailable)(?:$|:)",
    ),
    _rule(
        "messages",
        "missing",
        r"(?:the )?(?:required )?(?:parameter|argument|field|property|header)s?\b.{0,80}\b(?:is|are) "
        r"(?:missing|required|mandatory)\b|field required",
        r"required (?:parameter|argument|field|property|input)s?\b(?!.{0,60}\b(?:none|nothing|not)\b.{0,4}\bmissing)"
        rf".{{0,60}}\b(?:missing(?!\s*[:=]{_NONE})|not (?:provided|specified|given))\b",
        r"(?:['\"`]\w{1,60}['\"`]|\w{1,40}_\w{1,40}) is (?:a )?(?:missing|required|mandatory)\b",
        r"please (?:specify|provide|enter|supply|check)\b.{1,120}\btry again",
        r"please (?:specify|provide|enter|supply|use) .{0,40}\bvalid\b",
    ),
    _rule(
        "messages",
        "must be",
        r"(?:the )?(?:parameter |argument |field |value (?:of|for) )?['\"`]?[\w.-]{1,60}['\"`]? (?:must|should) be "
        r"(?:an? (?:valid|integer|number|string|boolean|list|array|object|positive|non)|one of|greater|less|between|"
        r"of type|in (?:the )?(?:format|range|[\w-]{1,20} format))",
    ),
    _rule(
        "messages",
        "not valid",
        rf"{_WORDS}is not (?:an? valid\b|(?:valid|recogni[sz]ed|registered)[.!]?$)",
        rf"{_WORDS}is (?:invalid|malformed|unsupported)[.!]?$|only .{{1,60}} (?:is|are) supported\b",
        rf"{_WORDS}(?:is|are) not supported(?: by this (?:api|tool|endpoint|function))?[.!]?$",
    ),
    _rule(
        "messages",
        "not found",
        rf"{_WORDS}(?:could |can )?not (?:be )?found(?: in (?:the )?file)?[.!]?$|no replacement was performed\b",
        rf"{_WORDS}(?:does not|doesn't|do not) exist[.!]?$",
        r"(?:there is )?no such \w{1,30}(?<![^s]s)[.!]?$",
        r"(?:file|directory|folder|path|resource|page|table|column|key) not found: ?(?!\d)(?:[\"'`]|\S+\s*$)",
        r"no (?:user|order|account|record|item|entry) found (?:with|for)\b",
        r"(?:there is )?no (?:tool|function|method|action|api) (?:called|named)\b",
        r"(?:tool|function|method|action|endpoint|api|command|name or service) not (?:found|available|known)\b",
        r"(?:the )?(?:tool|function|method|action|endpoint|api|command|module) ['\"`]?[\w./-]{1,80}['\"`]? "
        r"(?:does not exist|doesn't exist|(?:(?:was|is|could) )?not (?:be )?(?:found|available|defined|registered))\b",
    ),
    *(_rule("languages", language, *patterns) for language, patterns in languages.ERRORS.items()),
    _rule("tau_bench", "tau-bench", r"(?-i:Error: |Unknown action \w)", longest=_ANY),
)

_CATEGORIES: tuple[tuple[Category, re.Pattern[str]], ...] = tuple(
    (category, re.compile("|".join((*patterns, *languages.WORDS.get(category, ()))), re.IGNORECASE))
    for category, *patterns in (
        (
            Category.MISSING_PARAMETER,
            r"missing \d+ required|field required",
            r"missing (?:\w+ ){0,3}(?:parameter|argument|field|param|property|input)s?\b",
            r"(?:parameter|argument|field|param|property)s?\b.{0,60} (?:is|are) (?:missing|required|mandatory)",
            r"required (?:parameter|argument|field|param|property)|please (?:specify|provide|supply)",
            r"(?:['\"`]\w{1,60}['\"`]|\w{1,40}_\w{1,40}) is (?:a )?(?:missing|required|mandatory)\b",
        ),
        (
            Category.PARAMETER_HALLUCINATION,
            r"unexpected keyword|takes .{1,40} positional arguments? but|additional properties|multiple values for",
            r"(?:unknown|unexpected|unrecogni[sz]ed|extra|undeclared|no such) (?:\w+ )?"
            r"(?:parameter|argument|field|param|property|option)s?\b",
            r"extra (?:inputs|fields) (?:are )?not permitted",
        ),
        (
            Category.TOOL_HALLUCINATION,
            r"name '[^']{1,80}' is not defined|^[\w.$-]{1,80} is not defined",
            r"(?:unknown|no such|invalid|unrecogni[sz]ed|hallucinated) (?:tool|function|action|method|api)\b"
            r"(?! (?:key|call|token|param|arg|resp|input))",
            r"\bno (?:tool|function|method|action|api) (?:called|named)\b",
            r"\b(?:tool|function|action|api)\b.{0,80} (?:not found|does not exist|is not (?:defined|available|a valid|"
            r"recogni[sz]ed|registered))",
            r"not an? (?:valid|available|existing|known) (?:tool|function|action)",
        ),
        (
            Category.ENVIRONMENT,
            r"timed?[ -]?out|connection|connect to\b|max retries|unreachable",
            r"network|\bssl\b|\bdns\b|server error|unavailable",
            r"gateway|redirects|rate limit|too many requests|quota|exceeded .{0,40}limit|limit (?:exceeded|reached)",
            r"subscribed|unauthori[sz]ed|not authori[sz]ed|unauthenticated|forbidden|permission|access .{0,4}denied",
            r"authenticat|\bapi[ _-]?key\b|payment required|internal error|endpoint .{0,80}does not exist",
            r"not JSON serializable|upstream|net::err_|socket|econn|enotfound|etimedout|error code: 10\d\d\b",
        ),
        (
            Category.BAD_VALUE,
            r"invalid|incorrect|illegal|malformed|(?<!went )wrong|unknown(?![ _]error)|unrecogni[sz]ed|unsupported",
            r"must (?:be|not|have)|not recogni[sz]ed|is (?:not )?a directory",
            r"should be|expected(?! error)|\bnot (?:an? )?valid|not supported|not found|no such|"
            r"(?:does not|doesn't) exist|no .{1,60}found|already exists",
            r"out of (?:range|bounds)|indices must be|could not convert|cannot|can't",
            r"not enough|insufficient|not available|does not add up|too (?:long|short|large|small|many|few)",
            r"(?:value|key|type|index|attribute) ?error|division by zero|\bobject (?:is not|has no)|bad request",
            r"error in arguments",
        ),
        (Category.ENVIRONMENT, r"try again|maintenance|temporar|expired|busy", languages.LATER),
    )
)


def classify(message: str) -> Category:
    """Whose fault an error message is: by its words, else by the first HTTP status in it, else ``unknown_error``.

    Login, quota and the server's own faults are the environment's; any other 4xx is a bad request.
    """
    for text in (message, message.replace("_", " ")):  # "channel_not_found"
        for category, pattern in _CATEGORIES:
            if pattern.search(text):
                return category
    if match := re.search(r"\b[45]\d\d\b", message[:80]):
        code = int(match[0])
        environment = code >= 500 or code in (401, 402, 403, 407, 408, 423, 425, 429)
        return Category.ENVIRONMENT if environment else Category.BAD_VALUE
    return Category.UNKNOWN_ERROR
