"""Values that a question wants written in Java or JavaScript: what BFCL reads in such a text, and how we write one.

BFCL finds values by patterns, which are no grammar: elements are split at every comma, and whatever fits no pattern
stays the text that it is. A score is only comparable if it reads them the same way, so that is what is done here;
`benchmarks/bfcl_parity.py` compares both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

Language: TypeAlias = Literal["python", "java", "javascript"]

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_Scalars: TypeAlias = Mapping[str, tuple[re.Pattern[str], Callable[[str], Any]]]

_JAVA_SCALARS: _Scalars = {
    **dict.fromkeys(("byte", "short", "integer"), (re.compile(r"^-?\d+$"), int)),
    "long": (re.compile(r"^-?\d+[lL]$"), lambda text: int(text.rstrip("lL\n"))),
    "float": (re.compile(rf"^{_NUMBER}[fF]$"), lambda text: float(text.rstrip("fF\n"))),
    "double": (re.compile(rf"^{_NUMBER}$"), float),
    "boolean": (re.compile(r"(?:true|false)\Z"), "true".__eq__),
}
_JAVASCRIPT_SCALARS: _Scalars = {
    "integer": (re.compile(r"^-?\d+$"), int),
    "float": (re.compile(r"^-?\d+(?:\.\d+)?$"), float),
    "Bigint": (re.compile(r"^-?\d+n$"), lambda text: int(text.rstrip("n\n"))),
    "Boolean": (re.compile(r"(?:true|false)\Z"), "true".__eq__),
    "String": (re.compile(r"""(?:".*"|'.*'|["'])\Z""", re.DOTALL), lambda text: text[1:-1]),
}

_ARRAY = re.compile(r"new\s+\w+\[\]\s*\{([^}\n]*)\}")
_AS_LIST = re.compile(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)")
_ADDED = re.compile(r"new\s+ArrayList<\w*>\(\)\s*\{\{\s*")
_NEW_LIST = re.compile(r"new\s+ArrayList<\w*>\(\)")
_MAP, _FILLED = re.compile(r"new\s+HashMap<"), re.compile(r">\s*\(\)\s*\{")
_NEW_MAP = re.compile(r"new\s+HashMap<(?:(?!new\s+HashMap<).)*?>\s*\(\)")
_PUT = re.compile(r'put\("(?>(.*?)",\s*)([^)\n]*)\)')
_ADD = re.compile(r"add\((.+?)\)")

_ROWS = re.compile(r"(\[\s*|\bnew\s+Array\(\s*)\[")
_NEXT_ROW = re.compile(r"\s*,\s*\[")
_AFTER_ROWS = {"[": re.compile(r"\s*\]"), "n": re.compile(r"\s*\)")}
_ROW = re.compile(r"\[(.*?)\]")
_LIST = re.compile(r"\[(.*?)\]|\bnew\s+Array\((.*?)\)")
_OBJECT = re.compile(r"\{(.*?)\}")
_HAS_PAIR = re.compile(r":*[^:]+:")
_PAIR = re.compile(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)")


def read(text: str, language: Language, kind: str, items: str | None = None) -> Any:
    """The value that BFCL reads in a text.

    Args:
        kind: the parameter's type, by the name that the question gives it.
        items: the type of the elements of a list.

    Returns:
        The text itself where it is no value of this type.

    Raises:
        KeyError: there is no such type, or BFCL reads no values of it.

    Example:
        >>> read("5L", "java", "long"), read("5", "java", "long")
        (5, '5')
        >>> read('new ArrayList<String>(Arrays.asList("a", "b"))', "java", "ArrayList", "String")
        ['a', 'b']
        >>> read("{key: 'value', on: true}", "javascript", "dict")
        {'key': 'value', 'on': True}
    """
    return (_java if language == "java" else _javascript)(text, kind, items)


def write(value: Any, language: Language, kind: str, items: str | None = None) -> str:
    """A text in which BFCL reads the value; for some values of its own data there is none.

    Example:
        >>> write(5, "java", "long"), write(True, "javascript", "Boolean")
        ('5L', 'true')
        >>> write({"key": "value"}, "java", "HashMap")
        'new HashMap<String, Object>() {{ put("key", "value"); }}'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _list(value, language, kind, items)
    if isinstance(value, dict):
        if language == "java":
            puts = "".join(f'put("{name}", {_element(item)}); ' for name, item in value.items())
            return f"new HashMap<String, Object>() {{{{ {puts}}}}}" if value else "new HashMap<String, Object>()"
        return "{" + ", ".join(f"{name}: {_element(item)}" for name, item in value.items()) + "}"
    suffix = {"long": "L", "float": "f"}.get(kind, "") if language == "java" else {"Bigint": "n"}.get(kind, "")
    return _element(value) + suffix


def natural(value: Any, language: Language, kind: str, items: str | None = None) -> str:
    """As `write`, but a list of text in Java has its quotes, which BFCL's comparison does not allow for."""
    if isinstance(value, list) and language == "java":
        return _list(value, language, kind, items, quoted=True)
    return write(value, language, kind, items)


def _list(value: list[Any], language: Language, kind: str, items: str | None, quoted: bool = False) -> str:
    if language == "javascript":
        return f"[{', '.join(map(_element, value))}]"
    # BFCL takes the quotes off the text of an ArrayList<String> only, and compares all other elements with theirs on.
    bare = not quoted and not (kind == "ArrayList" and items in ("String", "char"))
    written = (item if bare and isinstance(item, str) else _item(item, items) for item in value)
    elements = ", ".join(written)
    name = {"integer": "int", "any": "Object", None: "Object"}.get(items, items)
    if kind == "Array":
        return f"new {name}[]{{{elements}}}"
    name = {"integer": "Integer", "long": "Long", "char": "Character"}.get(items or "", name)
    return f"new ArrayList<{name}>(Arrays.asList({elements}))" if value else f"new ArrayList<{name}>()"


def _item(value: Any, items: str | None) -> str:
    """An element of a list in Java."""
    return _element(value) + ("" if isinstance(value, str) else {"long": "L", "float": "f"}.get(items or "", ""))


def _element(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_element, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_element(item)}" for name, item in value.items()) + "}"
    return "null" if value is None else repr(value)


def _scalar(text: str, kind: str, scalars: _Scalars) -> Any:
    pattern, convert = scalars[kind]
    return convert(text) if pattern.match(text) else text


def _java(text: str, kind: str, items: str | None) -> Any:
    if kind in _JAVA_SCALARS:
        return _scalar(text, kind, _JAVA_SCALARS)
    if kind in ("String", "char", "any"):
        return text
    return {"Array": _java_array, "ArrayList": _java_list, "HashMap": _java_map}[kind](text, items)


def _java_array(text: str, items: str | None) -> Any:
    found = _ARRAY.search(_up_to(text, "}"))
    if not found:
        return text
    return [_java_element(part.strip(), items) for part in found[1].split(",") if part.strip()]


def _java_list(text: str, items: str | None) -> Any:
    if found := _AS_LIST.search(text):
        parts = found[1].split(",")
    elif (added := _ADDED.search(text)) and (end := text.find("}}", added.end() + 1)) >= 0:
        parts = _ADD.findall(_up_to(text[added.end() : end], ")"))
    else:
        return [] if _NEW_LIST.search(text) else text
    parts = [part.strip() for part in parts]
    return [part[1:-1] if items in ("String", "char") else _java_element(part, items) for part in parts]


def _up_to(text: str, last: str) -> str:
    """The text up to the last of these characters: nothing after it can end what is looked for."""
    return text[: text.rfind(last) + 1]


def _java_element(text: str, items: str | None) -> Any:
    return _java(text, items, None) if items else _java_value(text)


def _java_map(text: str, items: str | None) -> Any:
    begun = _MAP.search(text)
    filled = _FILLED.search(text, begun.end()) if begun else None
    if filled and (end := text.find("}", filled.end())) >= 0:
        puts = _up_to(text[filled.end() : end], ")")
        return {key: _java_value(value.strip()) for key, value in _PUT.findall(puts)}
    return {} if _NEW_MAP.search(text) else text


def _java_value(text: str) -> Any:
    """A value whose type is not known."""
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    for kind in ("boolean", "long", "float"):
        if (value := _scalar(text, kind, _JAVA_SCALARS)) is not text:
            return value
    return _number(text)


def _javascript(text: str, kind: str, items: str | None) -> Any:
    if kind in _JAVASCRIPT_SCALARS:
        return _scalar(text, kind, _JAVASCRIPT_SCALARS)
    if kind == "any":
        return text
    return {"array": _javascript_array, "dict": _javascript_object}[kind](text.strip(), items)


def _javascript_array(text: str, items: str | None) -> Any:
    if rows := _rows(text):
        inner = [row.strip() for row in _ROW.findall(rows)]
        inner[0] = inner[0].removeprefix("[")
        return [[_javascript_value(part) for part in row.split(",")] for row in inner]
    found = _LIST.match(text)
    if not found:
        return text
    content = (found[2] if found[1] is None else found[1]).strip()
    parts = [part.strip() for part in content.split(",")] if content else []
    try:
        return [_javascript(part, items, None) if items else _javascript_value(part) for part in parts]
    except KeyError:  # elements of a type that BFCL does not know
        return text


def _rows(text: str) -> str:
    """The list of lists that a text begins with; empty where there is none.

    A row ends at the first bracket after which all the rest fits. Which brackets these are is found from the last one
    to the first: to try them in turn would take time that doubles with every row.
    """
    opened = _ROWS.match(text)
    if not opened:
        return ""
    closing, start = _AFTER_ROWS[text[0]], opened.end()
    fits, whole = -1, 0
    at = text.rfind("]", start)
    while at >= 0:
        following = _NEXT_ROW.match(text, at + 1)
        if following and fits >= 0 and text.find("\n", following.end(), fits) < 0:
            fits = at
        elif end := closing.match(text, at + 1):
            fits, whole = at, end.end()
        at = text.rfind("]", start, at)
    return text[:whole] if fits >= 0 and text.find("\n", start, fits) < 0 else ""


def _javascript_object(text: str, items: str | None) -> Any:
    found = _OBJECT.match(text)
    if not found:
        return text
    result = {}
    for key, value in _PAIR.findall(found[1]) if _HAS_PAIR.match(found[1]) else ():
        value = value.strip()
        is_list = value.startswith("[") and value.endswith("]")
        read_value = _javascript_array(value, None) if is_list else _javascript_value(value.strip("'\""))
        result[key.strip().strip("'\"")] = read_value
    return result


def _javascript_value(text: str) -> Any:
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    if text[:1] in ('"', "'") and text.endswith(text[0]):
        return text[1:-1]
    return _number(text)


def _number(text: str) -> Any:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
