"""What is an error in a tool result: the detectors of the ``paper`` rule of MAE.

Structure is read as structure: a JSON or Python-literal result is an error where its error, success, status or code
fields say so by their *value*; what its other fields talk about does not matter. Plain text is an error where it
*begins* like an error message; documents that merely talk about errors are results. The words themselves are two
tables in `tl_jax.tooluse.mae.phrases`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from tl_jax.errors import UserError
from tl_jax.tooluse.mae.finding import Finding, Said, excerpt
from tl_jax.tooluse.mae.phrases import LABEL, PACKS, TEXT_RULES, Category, classify
from tl_jax.tooluse.mae.tags import elements
from tl_jax.tooluse.text.literals import CUT, as_text, structure

Field: TypeAlias = tuple[str, str, Any]
"""Key reduced for comparison, key as written, value."""


@lru_cache
def detector(packs: tuple[str, ...] = ()) -> Detector:
    """The detector for the named packs of `PACKS`; for all of them where none is named.

    Raises:
        UserError: no such pack.
    """
    if unknown := set(packs) - PACKS.keys():
        raise UserError(f"unknown rule packs: {', '.join(sorted(unknown))}; known: {', '.join(PACKS)}")
    return Detector(packs or tuple(PACKS))


_MAX_DEPTH = 5
"""How many envelopes inside each other are opened."""


class Detector:
    """Finds errors of the families named by ``packs``."""

    def __init__(self, packs: Sequence[str]) -> None:
        self._text_rules = tuple(rule for rule in TEXT_RULES if rule.pack in packs)
        self._fields = "fields" in packs
        self._toolbench = "toolbench" in packs
        self._python = "python" in packs

    def find(self, result: str, said: Said = frozenset()) -> Finding | None:
        """The error that a tool result reports, or None. Never raises. ``said``: by the calls it answers, if known."""
        if self._python and result.startswith("'") and result in said:  # ``'da'``: what is left of a KeyError
            return Finding(Category.BAD_VALUE, "key error", excerpt(result))
        return self._value(result, depth=0)

    def _value(self, value: Any, depth: int) -> Finding | None:
        if depth > _MAX_DEPTH:
            return None
        if isinstance(value, str):
            return self._said(value, depth)
        if isinstance(value, Mapping):
            if self._toolbench and value.keys() - {CUT} == {"error", "response"}:
                return self._envelope(value, depth)
            return self._object(value, depth)
        if isinstance(value, (list, tuple)):
            return self._list(value, depth)
        return None

    def _said(self, text: str, depth: int, labelled: bool = False) -> Finding | None:
        """A text: what it says as structure, in tags, in a block of code or after a label counts."""
        if code := _CODE.match(text):
            text, labelled = code[1] or code[2], True
        parsed = structure(text)
        if parsed is not None:
            return self._value(parsed, depth + 1)
        if (tagged := elements(text)) and (finding := self._object(tagged, depth)):
            return finding
        if finding := self._text(text, labelled):
            return finding
        label = None if labelled else LABEL.match(text.lstrip())
        return self._said(text.lstrip()[label.end() :], depth, labelled=True) if label else None

    def _text(self, text: str, labelled: bool) -> Finding | None:
        text = text.strip().lstrip(_SYMBOLS)
        # The end counts as well: what a program printed before it failed says nothing.
        sample = text if len(text) <= 2400 else text[:400] + "\n...\n" + text[-2000:]
        for rule in self._text_rules:
            if len(text) <= rule.longest and not (labelled and rule.weak) and rule.pattern.match(sample):
                message = text.splitlines()[-1] if rule.name == "traceback" else sample
                return Finding(rule.category or classify(message), rule.name, excerpt(message))
        return None

    def _list(self, value: Sequence[Any], depth: int) -> Finding | None:
        """A list is an error when every item is: results with a few failures among them are results."""
        first = None
        for item in value:
            finding = self._value(item, depth + 1)
            if finding is None:
                return None
            first = first or finding
        return first

    def _envelope(self, value: Mapping[Any, Any], depth: int) -> Finding | None:
        """ToolBench's server names an error where certain words occur *anywhere* in the response, "error" among them:
        a response that holds a result outweighs that."""
        error, response = value["error"], value["response"]
        if finding := self._value(response, depth + 1):
            return finding
        if not _names_error(error) or _holds_result(response):
            return None
        told = f"error: {as_text(error)}; response: {as_text(response)}"
        return Finding(classify(told[:2400]), "ToolBench envelope", excerpt(told))

    def _object(self, value: Mapping[Any, Any], depth: int) -> Finding | None:
        fields = _fields(value)
        bare = _is_bare(fields)
        explained = bare or any(key in _EXPLAINING_KEYS and isinstance(field, str) for key, _, field in fields)
        for key, name, field in fields if self._fields else ():
            if _says_error(key, field, bare, explained):
                return _told_by(fields, f"field {name}")
        exits = [code for key, _, field in fields if key in _EXIT_CODES and (code := _integer(field)) is not None]
        closed = _PRINTED if exits else frozenset({"stdout"})  # a program that succeeded may print and warn at will
        for key, _, field in fields:
            is_word = key == "status" and isinstance(field, str)
            if key in _OPENED_KEYS and key not in closed and not is_word and (finding := self._value(field, depth + 1)):
                return finding
        flags = (str(field) for key, _, field in fields if key in _SUCCESS_FLAGS | _STATUS_KEYS | _RETURN_CODES)
        if bare and not any(map(_SUCCEEDED.match, flags)):  # nothing but a message: does it read like an error's?
            found = (self._value(field, depth + 1) for key, _, field in fields if key in _MESSAGE_KEYS)
            return next((finding for finding in found if finding), None)
        return None


# Keys are compared without case, "_" and "-".
_ERROR_KEYS = frozenset(
    {
        "error",
        "errors",
        "err",
        "errormessage",
        "errormsg",
        "errmsg",
        "errordescription",
        "errortype",
        "오류",
        "에러",
        "错误",
        "错误信息",
        "錯誤",
        "錯誤訊息",
        "エラー",
        "erreur",
        "fehler",
        "erro",
        "ошибка",
        "exception",
        "traceback",
        "fault",
    }
)
_ERROR_FLAGS = frozenset({"iserror", "haserror", "timedout"})
_ERROR_CODES = frozenset({"errorcode", "errcode", "errno"})
_EXIT_CODES = frozenset({"exitcode", "returncode", "exitstatus"})
"""What a program returns: 0 is success."""
_RETURN_CODES = frozenset({"ret", "retcode", "rc", "resultcode"})
"""What a gateway returns: a negative one with a message is an error."""
_PRINTED = frozenset({"output", "stdout", "stderr"})
_SUCCESS_FLAGS = frozenset({"success", "ok", "succeeded", "issuccess"})
_STATUS_KEYS = frozenset({"status", "statuscode", "httpstatus", "httpcode", "httpstatuscode", "code", "cod"})
_MESSAGE_KEYS = frozenset(
    {
        "message",
        "msg",
        "detail",
        "details",
        "reason",
        "description",
        "title",
        "note",
        "info",
        "notice",
        "text",
    }
)
_OPENED_KEYS = _PRINTED | {
    "response",
    "result",
    "body",
    "content",
    "observation",
    "meta",
    "status",
    "error",
    "toolresponse",
    "toolresult",
}
"""Their values are looked into: the result proper, or an object of status fields."""
_EXPLAINING_KEYS = _MESSAGE_KEYS | {"content", "output"}
_SIDE_KEYS = frozenset(
    {
        "type",
        "traceid",
        "requestid",
        "timestamp",
        "path",
        "instance",
        "documentationurl",
        "url",
        "data",
        "help",
        "hint",
        "loc",
    }
)
"""May accompany the message of an error and are no result."""
_CODES = _ERROR_CODES | _EXIT_CODES | _RETURN_CODES
_FLAGS = _ERROR_FLAGS | _SUCCESS_FLAGS | _STATUS_KEYS
_TOLD_KEYS = _ERROR_KEYS | _CODES | _FLAGS | _MESSAGE_KEYS | _PRINTED | {"content"}
"""Where an object says what went wrong."""
_BARE_KEYS = _ERROR_KEYS | _CODES | _FLAGS | _MESSAGE_KEYS | _SIDE_KEYS

_NO_ERROR = frozenset({"", "none", "null", "nil", "false", "no", "0", "ok", "success", "no error", "no errors", "n/a"})
_FAILED = frozenset(
    {
        "fail",
        "failed",
        "failure",
        "error",
        "errored",
        "exception",
        "fault",
        "invalid_argument",
        "invalid_request",
        "permission_denied",
        "request_denied",
        "unauthenticated",
        "unauthorized",
        "over_query_limit",
        "resource_exhausted",
        "deadline_exceeded",
        "bad_request",
        "not_found",
        "internal_error",
        "timeout",
        "timed_out",
        "실패",
        "오류",
        "失败",
        "错误",
        "錯誤",
        "失敗",
        "エラー",
        "fallido",
        "fallo",
        "échec",
        "erreur",
        "fehler",
        "fehlgeschlagen",
        "erro",
        "falha",
        "ошибка",
    }
)
_SYMBOLS = "⚠❌✖✗✘🚫⛔❗‼🛑🔴\ufe0f "
"""What tools put before an error message."""
_CODE = re.compile(r"\s*(?:`([^`\n]*)`|```(?:json|text|txt|plaintext)?[ \t]*\n([^`]*)```)\s*\Z")
"""A text that is a block of what a program said, in no other language, and nothing else."""
_SUCCEEDED = re.compile(r"(success|successful|succeeded|ok|true|0|2\d\d)$", re.IGNORECASE)


def _fields(value: Mapping[Any, Any]) -> list[Field]:
    return [(re.sub(r"[_\W]", "", str(key).lower()), str(key), field) for key, field in value.items()]


def _told_by(fields: Sequence[Field], rule: str) -> Finding:
    """The finding for an object known to be an error, from the fields that say what went wrong."""
    told = [(name, as_text(field)) for key, name, field in fields if key in _TOLD_KEYS and field not in (None, "")]
    evidence = excerpt("; ".join(f"{name}: {text}" for name, text in told))
    return Finding(classify(" ".join(text for _, text in told)[:2400]), rule, evidence)


def _is_bare(fields: Sequence[Field]) -> bool:
    """Whether an object has no other fields than those of an error: none that could hold a result."""
    return all(key in _BARE_KEYS or not field for key, _, field in fields)


def _says_error(key: str, field: Any, bare: bool, explained: bool) -> bool:
    """Whether one field proves an error. ``bare``: there are no other fields than those of an error; ``explained``:
    there are none, or one of them is a message.
    """
    if key in _ERROR_KEYS:
        is_number = isinstance(field, (int, float)) and not isinstance(field, bool)
        return _names_error(field) and (bare or not is_number)  # {"mean": 3.1, "error": 2} is a measurement
    if key in _ERROR_CODES:
        return _names_error(field)
    if key in _EXIT_CODES:
        return bool(_integer(field))
    if key in _RETURN_CODES:
        return explained and (_integer(field) or 0) < 0
    if key in _ERROR_FLAGS:
        return field is True
    if key in _SUCCESS_FLAGS:
        return not isinstance(field, (list, Mapping)) and str(field).strip().lower() in {"false", "no", "0"}
    if key in _STATUS_KEYS:
        failed = isinstance(field, str) and field.strip().lower() in _FAILED
        if key in ("code", "status") and explained and (_integer(field) or 0) < 0:
            return True
        return (failed and explained) or (
            _is_http_error(field) and (bare or key not in ("code", "cod"))
        )  # a product's?
    return key == "type" and bare and str(field).lower() in _FAILED


def _names_error(field: Any) -> bool:
    """Whether the value of an error field names an error, unlike null, "", 0, [], "none" or 0.5 (a deviation)."""
    if isinstance(field, Mapping):
        return any(_names_error(item) for item in field.values())
    if isinstance(field, (list, tuple)):
        return any(_names_error(item) for item in field)
    if isinstance(field, str):
        return field.strip().rstrip(".!").lower() not in _NO_ERROR
    if isinstance(field, float):
        return field.is_integer() and field != 0
    return bool(field)


def _integer(field: Any) -> int | None:
    """The whole number that a field holds, as such or as text."""
    if isinstance(field, int) and not isinstance(field, bool):
        return field
    return int(field) if isinstance(field, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,10}\s*", field) else None


def _is_http_error(field: Any) -> bool:
    """Whether a status field holds an HTTP status from 400 to 599: 404, "404" or "404 Not Found"."""
    return isinstance(field, (int, str)) and bool(re.match(r"\s*[45]\d\d(\s+[A-Za-z ]+)?\s*$", as_text(field)))


def _holds_result(value: Any) -> bool:
    """Whether there is something in it that is more than a message: filled fields or items."""
    value = structure(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return not _is_bare([field for field in _fields(value) if field[1] != CUT])
    return isinstance(value, (list, tuple)) and any(value)
