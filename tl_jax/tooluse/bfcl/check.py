"""Is a call right? The rule of BFCL's AST checker, down to its quirks.

What is compared is the call with the raw answer of the data, ``{name: {argument: [accepted values]}}``, in which ``""``
means that the argument may be left out, and an object has a list of accepted values for each of its keys. Text is
compared without case, spaces and ``, . / - _ * ^``. A value of the wrong type is wrong, except that whole numbers are
read as floats, and that a value of the accepted ones' own type stands for a variable, which is compared as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tl_jax.tooluse.bfcl.literals import Language, read
from tl_jax.tooluse.schema import Call, Tool

CORRECT = "correct"

_IGNORED = re.compile(r"[ ,./\-_*^]")
_LEFT_OUT = ""
_PYTHON: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
_JAVA: Mapping[str, type] = {
    **dict.fromkeys(("byte", "short", "integer", "long"), int),
    **dict.fromkeys(("float", "double"), float),
    **dict.fromkeys(("char", "String", "any"), str),
    **dict.fromkeys(("Array", "ArrayList", "Queue", "Stack"), list),
    **dict.fromkeys(("HashMap", "Hashtable"), dict),
    "boolean": bool,
    "Set": set,
}
_JAVASCRIPT: Mapping[str, type] = {
    **dict.fromkeys(("integer", "Bigint"), int),
    **dict.fromkeys(("String", "any"), str),
    "float": float,
    "Boolean": bool,
    "dict": dict,
    "array": list,
}
_TYPES: Mapping[Language, Mapping[str, type]] = {"python": _PYTHON, "java": _JAVA, "javascript": _JAVASCRIPT}


def check_calls(
    calls: Sequence[Call], answers: Sequence[Mapping[str, Any]], tools: Sequence[Tool], language: Language
) -> str:
    """What is wrong with the calls of an answer, or `CORRECT`. Their order is free.

    Args:
        answers: what the data accepts, one for each call that is to be made.
        tools: those of the question, with the types that it gives them (``x-type``).
    """
    if len(calls) != len(answers):
        return "wrong_count"
    left = list(calls)
    for answer in answers:
        found = [check_call(call, answer, tools, language) for call in left]
        if CORRECT not in found:
            return found[0] if len(answers) == 1 else "no_match"
        del left[found.index(CORRECT)]
    return CORRECT


def check_call(call: Call, answer: Mapping[str, Any], tools: Sequence[Tool], language: Language) -> str:
    """What is wrong with a call, or `CORRECT`."""
    ((name, accepted),) = answer.items()
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None or call.name != name:
        return "wrong_tool"
    if any(name not in call.arguments for name in tool.required):
        return "missing_parameter"
    for argument, value in call.arguments.items():
        if argument not in tool.properties or argument not in accepted:
            return "unexpected_parameter"
        fault = _ParameterRule(tool.properties[argument], language).fault(value, accepted[argument])
        if fault:
            return fault
    if any(name not in call.arguments and _LEFT_OUT not in values for name, values in accepted.items()):
        return "missing_parameter"
    return CORRECT


def written_type(schema: Mapping[str, Any]) -> str:
    """The type that the question gives a parameter, before it became JSON schema."""
    return str(schema.get("x-type", schema.get("type")))


def standard(text: str) -> str:
    """A text as it is compared.

    Example:
        >>> standard("April 1, 2024") == standard("april 1 2024")
        True
    """
    return _IGNORED.sub("", text).lower().replace("'", '"')


class _ParameterRule:
    """A parameter of a question's function, by what BFCL makes of its type."""

    def __init__(self, schema: Mapping[str, Any], language: Language) -> None:
        self.language, self.written = language, written_type(schema)
        types = _TYPES[language]
        self.kind = types.get(self.written)
        items = schema.get("x-items", schema.get("items"))
        self.written_items = written_type(items) if isinstance(items, Mapping) else None
        nested = {"python": ("array", "tuple"), "java": ("Array", "ArrayList"), "javascript": ("array",)}[language]
        self.items = types.get(self.written_items or "") if self.written in nested else None

    def fault(self, value: Any, accepted: Sequence[Any]) -> str | None:
        """What is wrong with a value."""
        if self.language != "python":
            if type(value) is not str:
                return "wrong_type"
            try:
                value = read(value, self.language, self.written, self.written_items)
            except KeyError:
                return "wrong_type"
        elif self.written == "float" and type(value) is int:
            value = float(value)
        own = _first_type(accepted)
        if self.kind is not None and type(value) is self.kind:
            if self.items and not any(self._holds(value, option) for option in accepted):
                return "wrong_type"
            is_variable = own is not None and own is not self.kind
        elif own is not None and type(value) is own:
            is_variable = True
        else:
            return "wrong_type"
        return None if self._accepts(value, accepted, is_variable) else "wrong_value"

    def _holds(self, value: Any, option: Any) -> bool:
        """Whether the elements of a list are of the right type, or of that of the option's elements."""
        if not isinstance(option, list):
            return True
        own = _first_type(option)
        return all(type(item) is self.items or (own is not None and type(item) is own) for item in value)

    def _accepts(self, value: Any, accepted: Sequence[Any], is_variable: bool) -> bool:
        if is_variable:
            return value in accepted
        if self.kind is dict:
            return any(_same_object(value, option) for option in accepted if option != _LEFT_OUT)
        if self.kind is str:
            return standard(value) in [standard(option) for option in accepted if isinstance(option, str)]
        if self.kind is list:
            same = _same_objects if self.items is dict else _same_items
            return any(same(value, option) for option in accepted if isinstance(option, list | str))
        return value in accepted


def _first_type(accepted: Sequence[Any]) -> type | None:
    """The type of the accepted values; None where only leaving it out is."""
    return next((type(value) for value in accepted if value != _LEFT_OUT), None)


def _same_object(value: Any, option: Any) -> bool:
    """Whether an object has the right keys and, under each, one of the values that ``option`` lists for it."""
    if not isinstance(value, dict) or not isinstance(option, dict):
        return False
    listed = {key: values if isinstance(values, list | str) else [values] for key, values in option.items()}
    if any(key not in value and _LEFT_OUT not in values for key, values in listed.items()):
        return False
    return all(key in listed and _standard(item) in map(_standard, listed[key]) for key, item in value.items())


def _same_objects(value: Sequence[Any], option: Sequence[Any]) -> bool:
    return len(value) == len(option) and all(map(_same_object, value, option))


def _same_items(value: Sequence[Any], option: Sequence[Any]) -> bool:
    """``""``, which means that the list may be left out, is as good as an empty list."""
    return [_standard(item) for item in value] == [_standard(item) for item in option]


def _standard(value: Any) -> Any:
    return standard(value) if isinstance(value, str) else value
