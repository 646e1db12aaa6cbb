"""How tools say that something went wrong, and whose fault that is: two tables of patterns.

`TEXT_RULES` decides whether a text is an error message at all. Its patterns are tied to the beginning of the text, the
place that tells an error message from a document about errors. `_CATEGORIES` then says whose fault it is and may look
anywhere, because by then it is known to be an error. In both the first row that fits counts; a rule pack for another
data set is a few more rows. Quantifiers are bounded: tool results are foreign text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus


class Category(StrEnum):
    """What went wrong. The first four are the caller's fault."""

    TOOL_HALLUCINATION = "tool_hallucination"
    PARAMETER_HALLUCINATION = "parameter_hallucination"
    MISSING_PARAMETER = "missing_parameter"
    BAD_VALUE = "bad_value"
    ENVIRONMENT = "environment"
    UNKNOWN_ERROR = "unknown_error"


@dataclass(frozen=True, slots=True)
class TextRule:
    """A pattern that only error messages fit, in texts up to ``longest`` characters. Without category: `classify`."""

    name: str
    pattern: re.Pattern[str]
    category: Category | None
    longest: float


_SENTENCE, _PAGE, _ANY = 300, 2000, float("inf")
"""How long a text a rule is applied to. Weak rules are for a sentence or two: longer texts are documents."""


def _rule(name: str, *patterns: str, category: Category | None = None, longest: float = _SENTENCE) -> TextRule:
    """A rule of several alternatives, each tied to the beginning of the text."""
    return TextRule(name, re.compile("^(?:" + "|".join(patterns) + ")", re.IGNORECASE), category, longest)


_PHRASES = "|".join(re.escape(status.phrase) for status in HTTPStatus if status >= 400)
_CLEAR_PHRASES = "|".join(phrase for phrase in _PHRASES.split("|") if " " in phrase) + "|Forbidden|Unauthorized"
"""HTTP's phrases without those that are also ordinary answers, such as Locked or Gone."""
_EXCEPTION = r"(?-i:(?:[A-Za-z_]\w{0,60}\.){0,6}(?:[A-Z]\w{0,60})?(?:Error|Exception|Timeout|Interrupt)\b)"
_FUNCTION = r"[\w.<>-]{1,80}\(\)"
_WORDS = r"(?:[\w.,'\"`/:<>#@-]{1,80}\s+){0,8}"
_THING = (
    "(?:tool|function|method|action|api|command|endpoint|parameter|param|argument|option|field|property|keyword|"
    "input|value|request|response|file|file or directory)s?"
)
_VALUE = (
    "(?:key|type|format|json|date|time|id|name|url|domain|email|user|username|password|token|credentials?|query|"
    "location|city|country|currency|language|genre|symbol|code|service)s?"
)
QUOTED_NAME = re.compile(r"'[A-Za-z]+(_[A-Za-z0-9]+)+'$")
"""`'related_searches'` and nothing else: how Python prints a KeyError."""

TEXT_RULES: tuple[TextRule, ...] = (
    _rule(
        "traceback",
        r"traceback \(most recent call last\)",
        rf"[\s\S]{{0,2600}}\ntraceback \(most recent call last\):\n[\s\S]{{0,2000}}\n{_EXCEPTION}[^\n]*$",
        longest=_ANY,
    ),
    _rule(
        "prefix",
        r"[\[(<*\s]{0,3}(?:fatal )?(?:error|errors|exception|failure|fatal)[\])>*]{0,3}\s*(?:\d{1,5}\s*)?[:：!]",
        longest=_ANY,
    ),
    _rule("prefix", r"(?:error|failed|fail|failure|exception|not found|timeout|forbidden|unauthorized)[.!]?$"),
    _rule(
        "prefix",
        r"(?:an? |the )?(?:\w{1,20} ){0,3}error (?:has )?(?:occurred|during|while|when|executing|calling|running|"
        r"invoking|fetching|parsing|processing|loading|code:? [1-9])",
        r"(?:tool|function|api|http|server|internal|internal server|network|connection|runtime|execution|validation|"
        r"syntax|parse|parsing|request|response|timeout|message|unauthorized|unsubscribed|auth|authentication|value|"
        r"type|key|database|query|input) error\b\s*(?:[:：.!(]|$)",
        longest=_PAGE,
    ),
    _rule("exception", rf"{_EXCEPTION}(?:\([^\n]{{0,200}}\))?(?:\s*:|$)", longest=_PAGE),
    _rule("unexpected argument", rf"{_FUNCTION} got (?:an unexpected|multiple values for|some positional)"),
    _rule("missing argument", rf"{_FUNCTION} missing \d+ required"),
    _rule("too many arguments", rf"{_FUNCTION} takes .{{1,40}} positional arguments?"),
    _rule("undefined name", r"name '[^'\n]{1,80}' is not defined", r"[\w.$-]{1,80} is not defined[.!]?$"),
    _rule("key error", QUOTED_NAME.pattern, category=Category.UNKNOWN_ERROR),
    _rule(
        "Python type",
        r"'[^'\n]{1,10}' not supported between instances of|unsupported (?:operand )?type",
        r"can(?:'t|not) (?:multiply|concatenate|convert|assign|unpack)|can only concatenate",
        r"'\w{1,60}' object (?:is not|has no|does not)|object of type '?\w{1,60}'? (?:is not|has no)",
        r"\w{1,40} indices must be integers|(?:list|string|tuple) index out of range",
    ),
    _rule(
        "Python value",
        r"invalid literal for|could not convert|(?:integer |float )?division by zero|math domain error",
        r"local variable '|cannot access local variable|expecting value: line \d",
    ),
    _rule("shell", r"(?:/bin/)?(?:ba|z|da|k)?sh: |[\w./-]{1,60}: (?:command not found|no such file)"),
    _rule(
        "HTTP status",
        rf"(?:HTTP\S{{0,4}}\s+)?(?:(?:error|status|status code)\W{{0,3}})?[45]\d\d\W{{1,3}}"
        rf"(?:{_PHRASES}|client error|server error)\b",
        rf"(?:{_CLEAR_PHRASES})(?:[.!:]|$)",
    ),
    _rule(
        "HTTP status",
        r"(?:HTTP\s*)?(?:error|status|status code|error code)\W{0,3}[45]\d\d\b",
        r"HTTP\S{0,4}\s*[45]\d\d\s*(?:[:.,!-]|$)",
        longest=_PAGE,
    ),
    _rule(
        "HTTP page",
        rf"(?:<!doctype[^>]{{0,200}}>\s*)?<html[\s\S]{{0,300}}?<title>\s*(?:[45]\d\d\b|{_CLEAR_PHRASES}|error\s*<)",
        longest=_ANY,
    ),
    _rule(
        "failed",
        r"(?:\w{1,20} ){0,3}(?:call|request|execution|invocation|query|login|lookup|search|validation|"
        r"authentication|connection|update|tool) (?:has |was )?(?:failed|unsuccessful|timed out)\b",
        r"operation failed|(?:sorry, )?(?:i |we )?(?:failed to|unable to|was unable to|could not|couldn't) \w+",
        r"can(?:not|'t) (?:find|connect|read|parse|open|access|process|complete|load|call|execute|divide)\b",
        r"something went wrong|please try again|[^.!?\n]{1,120}[.!] ?please try again later",
    ),
    _rule(
        "limit",
        rf"{_WORDS}(?:rate|request|usage|quota|call) ?limit (?:has been |was |is )?(?:exceeded|reached)",
        r"too many requests|quota exceeded|(?:you(?:'ve| have) )?exceeded (?:the |your )?(?:\w{1,20} ){0,4}"
        r"(?:limit|quota|redirects)",
    ),
    _rule("refusal", r"(?:access|permission)(?: is| was)? denied|(?:you are |user is )?not authorized"),
    _rule(
        "connection",
        r"(?:connection|request|operation|read|connect)s? (?:timed out|timeout|refused|reset|aborted|closed)",
        r"timed out\b|HTTPS?ConnectionPool\(|max retries exceeded|network is unreachable",
    ),
    _rule(
        "invalid",
        rf"(?:unknown|unexpected|malformed|illegal|incorrect|missing|no such) (?:\w{{1,20}} ){{0,2}}{_THING}\b",
        rf"(?:invalid|unrecogni[sz]ed|unsupported) (?:\w{{1,20}} ){{0,3}}(?:{_THING}|{_VALUE})\b",
        rf"(?:unknown|incorrect|no such) {_VALUE}\b",
        r"(?:invalid|unrecogni[sz]ed|unsupported) [\w -]{1,40}[:.!]?(?:$| ')",
        r"(?:wrong|incorrect) (?:user ?name|password|credentials)\b",
    ),
    _rule(
        "missing",
        r"(?:the )?(?:required )?(?:parameter|argument|field|property|header)s?\b.{0,80}\b(?:is|are) "
        r"(?:missing|required|mandatory)\b|field required",
        r"(?:['\"`]\w{1,60}['\"`]|\w{1,40}_\w{1,40}) is (?:a )?(?:missing|required|mandatory)\b",
        r"please (?:specify|provide|enter|supply)\b.{1,120}\btry again",
    ),
    _rule(
        "must be",
        r"(?:the )?(?:parameter |argument |field |value of )?['\"`]?[\w.-]{1,60}['\"`]? must be "
        r"(?:an? (?:valid|integer|number|string|boolean|list|array|object|positive|non)|one of|greater|less|of type|"
        r"in (?:the )?(?:format|range))",
    ),
    _rule(
        "not valid",
        rf"{_WORDS}is not (?:an? valid\b|(?:valid|recogni[sz]ed|registered)[.!]?$)",
        rf"{_WORDS}(?:is|are) not supported(?: by this (?:api|tool|endpoint|function))?[.!]?$",
    ),
    _rule(
        "not found",
        rf"{_WORDS}(?:could |can )?not (?:be )?found[.!]?$|{_WORDS}(?:does not|doesn't|do not) exist[.!]?$",
    ),
    _rule(
        "Chinese",
        r".{0,30}(?:调用|请求|执行|操作|查询|访问|连接|验证|登录|获取|解析)(?:失败|错误|超时|出错|异常|被拒绝|过于频繁)",
        r"(?:错误|失败|异常|出错|报错)(?:信息|代码)?\s*(?:[:：!！]|$)|权限不足",
        r".{0,30}(?:参数|工具|函数|接口|服务器|网络|系统)(?:错误|无效|缺失|不存在|异常|未找到)",
        r".{0,10}(?:缺少|无效的?|未知的?|非法的?)(?:必要|必需)?的?(?:参数|工具|函数|接口|请求)",
    ),
    _rule(
        "other language",
        r".{0,20}(?:エラー|失敗し|오류|실패)",
        r"(?:ошибка|fehler|erreur|errore|erro|błąd|hata|lỗi)\b\s*(?:[:：.!(]|\d|$)",
    ),
)

_CATEGORIES: tuple[tuple[Category, re.Pattern[str]], ...] = tuple(
    (category, re.compile("|".join(patterns), re.IGNORECASE))
    for category, *patterns in (
        (
            Category.MISSING_PARAMETER,
            r"missing \d+ required|field required",
            r"missing (?:\w+ ){0,3}(?:parameter|argument|field|param|property|input)s?\b",
            r"(?:parameter|argument|field|param|property)s?\b.{0,60} (?:is|are) (?:missing|required|mandatory)",
            r"required (?:parameter|argument|field|param|property)|please (?:specify|provide|supply)",
            r"缺少|参数缺失|必填",
            r"(?:['\"`]\w{1,60}['\"`]|\w{1,40}_\w{1,40}) is (?:a )?(?:missing|required|mandatory)\b",
        ),
        (
            Category.PARAMETER_HALLUCINATION,
            r"unexpected keyword|takes .{1,40} positional arguments? but|additional properties|multiple values for",
            r"(?:unknown|unexpected|unrecogni[sz]ed|extra|undeclared|no such) (?:\w+ )?"
            r"(?:parameter|argument|field|param|property|option)s?\b",
            r"extra (?:inputs|fields) (?:are )?not permitted|未知的?参数",
        ),
        (
            Category.TOOL_HALLUCINATION,
            r"name '[^']{1,80}' is not defined|^[\w.$-]{1,80} is not defined",
            r"(?:unknown|no such|invalid|unrecogni[sz]ed|hallucinated) (?:tool|function|action|method|api)\b"
            r"(?! (?:key|call|token|param|arg|resp|input))",
            r"\b(?:tool|function|action|api)\b.{0,80} (?:not found|does not exist|is not (?:defined|available|a valid|"
            r"recogni[sz]ed|registered))",
            r"not an? (?:valid|available|existing|known) (?:tool|function|action)",
            r"(?:工具|函数|接口)不存在|未知的?(?:工具|函数)",
        ),
        (
            Category.ENVIRONMENT,
            r"timed?[ -]?out|connection|max retries|unreachable|network|\bssl\b|\bdns\b|server error|unavailable",
            r"gateway|redirects|rate limit|too many requests|quota|exceeded .{0,40}limit|limit (?:exceeded|reached)",
            r"subscribed|unauthori[sz]ed|not authori[sz]ed|unauthenticated|forbidden|permission|access .{0,4}denied",
            r"authenticat|\bapi[ _-]?key\b|payment required|internal error|endpoint .{0,80}does not exist",
            r"not JSON serializable|超时|网络|连接|服务器|权限|频繁",
        ),
        (
            Category.BAD_VALUE,
            r"invalid|incorrect|illegal|malformed|wrong|unknown|unrecogni[sz]ed|unsupported|must (?:be|not|have)",
            r"should be|expected|\bnot (?:an? )?valid|not supported|not found|no such|(?:does not|doesn't) exist",
            r"no .{1,60}found|already exists|out of (?:range|bounds)|indices must be|could not convert|cannot|can't",
            r"not enough|insufficient|not available|does not add up|too (?:long|short|large|small|many|few)",
            r"(?:value|key|type|index|attribute) ?error|division by zero|\bobject (?:is not|has no)|bad request",
            r"error in arguments|无效|参数错误|不合法|格式|未找到|不存在",
        ),
        (Category.ENVIRONMENT, r"try again|maintenance|temporar|expired|busy"),
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
