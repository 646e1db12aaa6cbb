"""What is an error in a tool result: the detectors of the ``paper`` rule of MAE.

Structure is read as structure: a JSON or Python-literal result is an error where its error, success, status or code
fields say so by their *value*; what its other fields talk about does not matter. Plain text is an error where it
*begins* like an error message; documents that merely talk about errors are results. The words themselves are two
tables in `tl_jax.tooluse.phrases`.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tl_jax.tooluse.phrases import QUOTED_NAME, TEXT_RULES, Category, classify


@dataclass(frozen=True, slots=True)
class Finding:
    """An error: whose fault it is, the detector that found it and a short piece of the text."""

    category: Category
    rule: str
    evidence: str


def excerpt(text: str, limit: int = 120) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def find_error(result: str) -> Finding | None:
    """The error that a tool result reports, or None. Never raises."""
    return _find(result, depth=0)


_MAX_DEPTH = 5
"""How many envelopes inside each other are opened."""


def _find(value: Any, depth: int) -> Finding | None:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, str):
        parsed = _structure(value)
        return _text_error(value) if parsed is None else _find(parsed, depth + 1)
    if isinstance(value, Mapping):
        return _object_error(value, depth)
    if isinstance(value, (list, tuple)):
        return _list_error(value, depth)
    return None


def _structure(text: str) -> Any:
    """The list, object or quoted text that the whole text is, in JSON or as Python writes it; None for other text."""
    text = text.strip()
    if not text.startswith(("{", "[", '"', "'")) or QUOTED_NAME.match(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as "\d" in foreign text
            return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _text_error(text: str) -> Finding | None:
    text = text.strip()
    # The end counts as well: what a program printed before it failed says nothing.
    sample = text if len(text) <= 2400 else text[:400] + "\n...\n" + text[-2000:]
    for rule in TEXT_RULES:
        if len(text) <= rule.longest and rule.pattern.match(sample):
            message = text.splitlines()[-1] if rule.name == "traceback" else sample
            return Finding(rule.category or classify(message), rule.name, excerpt(message))
    return None


# Keys are compared without case, "_" and "-".
_ERROR_KEYS = frozenset({
    "error", "errors", "err", "errormessage", "errormsg", "errmsg", "errordescription", "errortype", "exception",
    "traceback", "fault",
})  # fmt: skip
_ERROR_FLAGS = frozenset({"iserror", "haserror"})
_ERROR_CODES = frozenset({"errorcode", "errcode"})
_SUCCESS_FLAGS = frozenset({"success", "ok", "succeeded", "issuccess"})
_STATUS_KEYS = frozenset({"status", "statuscode", "httpstatus", "httpcode", "httpstatuscode", "code", "cod"})
_MESSAGE_KEYS = frozenset({
    "message", "msg", "detail", "details", "reason", "description", "title", "note", "info", "notice", "text",
})  # fmt: skip
_OPENED_KEYS = frozenset({"response", "result", "output", "body", "content", "observation", "meta", "status", "error"})
"""Their values are looked into: the result proper, or an object of status fields."""
_SIDE_KEYS = frozenset({
    "type", "traceid", "requestid", "timestamp", "path", "instance", "documentationurl", "url", "data", "help", "hint",
    "loc",
})  # fmt: skip
"""May accompany the message of an error and are no result."""
_TOLD_KEYS = _ERROR_KEYS | _ERROR_CODES | _ERROR_FLAGS | _SUCCESS_FLAGS | _STATUS_KEYS | _MESSAGE_KEYS | {"content"}
"""Where an object says what went wrong."""
_BARE_KEYS = _ERROR_KEYS | _ERROR_FLAGS | _ERROR_CODES | _SUCCESS_FLAGS | _STATUS_KEYS | _MESSAGE_KEYS | _SIDE_KEYS

_NO_ERROR = frozenset({"", "none", "null", "nil", "false", "no", "0", "ok", "success", "no error", "no errors", "n/a"})
_FAILED = frozenset({
    "fail", "failed", "failure", "error", "errored", "exception", "fault", "invalid_argument", "invalid_request",
    "permission_denied", "request_denied", "unauthenticated", "unauthorized", "over_query_limit",
    "resource_exhausted", "deadline_exceeded",
})  # fmt: skip
_SUCCEEDED = re.compile(r"(success|successful|succeeded|ok|true|0|2\d\d)$", re.IGNORECASE)


def _object_error(value: Mapping[Any, Any], depth: int) -> Finding | None:
    # (key reduced for comparison, key as written, value)
    fields = [(re.sub(r"[_\W]", "", str(key).lower()), str(key), field) for key, field in value.items()]
    bare = all(key in _BARE_KEYS or not field for key, _, field in fields)
    for key, name, field in fields:
        if _field_says_error(key, field, bare):
            told = [(name, _as_text(field)) for key, name, field in fields if key in _TOLD_KEYS and field is not None]
            category = classify(" ".join(text for _, text in told)[:2400])
            return Finding(category, f"field {name}", excerpt("; ".join(f"{name}: {text}" for name, text in told)))
    for key, _, field in fields:
        if key in _OPENED_KEYS and (finding := _find(field, depth + 1)):
            return finding
    succeeded = any(key in _SUCCESS_FLAGS | _STATUS_KEYS and _SUCCEEDED.match(str(field)) for key, _, field in fields)
    if bare and not succeeded:  # nothing but a message: does it read like an error's?
        found = (_find(field, depth + 1) for key, _, field in fields if key in _MESSAGE_KEYS)
        return next((finding for finding in found if finding), None)
    return None


def _field_says_error(key: str, field: Any, bare: bool) -> bool:
    """Whether one field alone proves an error. ``bare``: the object has no other fields than those of an error."""
    if key in _ERROR_KEYS:
        is_number = isinstance(field, (int, float)) and not isinstance(field, bool)
        return _names_error(field) and (bare or not is_number)  # {"mean": 3.1, "error": 2} is a measurement
    if key in _ERROR_CODES:
        return _names_error(field)
    if key in _ERROR_FLAGS:
        return field is True
    if key in _SUCCESS_FLAGS:
        return not isinstance(field, (list, Mapping)) and str(field).strip().lower() in {"false", "no", "0"}
    if key in _STATUS_KEYS:
        failed = isinstance(field, str) and field.strip().lower() in _FAILED
        return failed or (_is_http_error(field) and (bare or key not in ("code", "cod")))  # a product's?
    return False


def _list_error(value: list[Any] | tuple[Any, ...], depth: int) -> Finding | None:
    """A list is an error when every item is: results with a few failures among them are results."""
    first = None
    for item in value:
        finding = _find(item, depth + 1)
        if finding is None:
            return None
        first = first or finding
    return first


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


def _is_http_error(field: Any) -> bool:
    """Whether a status field holds an HTTP status from 400 to 599: 404, "404" or "404 Not Found"."""
    return isinstance(field, (int, str)) and bool(re.match(r"\s*[45]\d\d(\s+[A-Za-z ]+)?\s*$", _as_text(field)))


def _as_text(field: Any) -> str:
    try:
        return field if isinstance(field, str) else json.dumps(field, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):  # too deep, keys that are no text, integers of 5,000 digits
        return type(field).__name__
