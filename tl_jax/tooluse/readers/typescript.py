"""Tools as functionary's and gpt-oss' prompts declare them: functions of a TypeScript namespace.

::

    namespace functions {
    // Weather now.
    type get_weather = (_: {
    // Where.
    city: string,
    unit?: "c" | "f", // default: c
    }) => any;
    } // namespace functions
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tl_jax.tooluse import strict_json
from tl_jax.tooluse.readers.schemas import json_type
from tl_jax.tooluse.schema import DataError, Tool

MAX_DEPTH = 32

_NAMESPACE = re.compile(r"namespace functions \{\n?")
_TOKEN = re.compile(
    r"""\s*(?:(?P<comment>//[^\n]*)|(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[\w$.-]+)"""
    r"""|(?P<mark>=>|\[\]|[{}()\[\]<>:;,|?=&]))"""
)
_FUNCTION = re.compile(r"^[ \t]*(?:type[ \t]+[\w$.-]+[ \t]*=|\}|//)", re.MULTILINE)
_TYPE = r'(?:"(?:[^"\\\n]|\\.)*"|[a-z]+|-?\d[\d.]*|\w+<[^>\n]*>+)(?:\[\])*'
_PROPERTY = re.compile(
    r"""^[ \t]*(?:(?:"(?:[^"\\\n]|\\.)*"|[\w$.-]+)\??[ \t]*:"""
    rf"""(?:[^\n]*?[,;{{|(<][ \t]*(?://[^\n]*)?$|[ \t]*{_TYPE}(?:[ \t]*\|[ \t]*{_TYPE})*[ \t]*(?://[^\n]*)?$"""
    r"""|[ \t]*\n[ \t]*\||[^\n]*\n\s*\})|\}|//)""",
    re.MULTILINE,
)
"""Lines that are no more of the description before them: what is described, the end, a comment. What is described ends
with a comma or the like, or is nothing but a type, or is the last before the end."""
_DEFAULT = re.compile(r"[Dd]efault:?+\s*+(.+?),?")
_TYPES: dict[str, dict[str, Any]] = {
    **{name: {"type": name} for name in ("string", "number", "integer", "boolean", "object", "null")},
    "any": {},
    "unknown": {},
}


class Declared(NamedTuple):
    """The tools of a namespace, and where it begins and ends in the text."""

    tools: tuple[Tool, ...]
    start: int
    end: int


def namespace(text: str, where: str, start: int = 0) -> Declared | None:
    """The functions that a text declares from a place on; None where it declares none.

    Raises:
        DataError: something in the namespace cannot be read.
    """
    opening = _NAMESPACE.search(text, start)
    if opening is None:
        return None
    reader = _TypeScript(text, opening.end(), where)
    tools: list[Tool] = []
    about = reader.description(_FUNCTION)
    while not reader.next_is("}"):
        tools.append(reader.function(about))
        about = reader.description(_FUNCTION)
    reader.comments()
    return Declared(tuple(tools), opening.start(), reader.position)


@dataclass
class _TypeScript:
    """Reads TypeScript from a position on."""

    text: str
    position: int
    where: str
    _notes: list[str] = field(default_factory=list)

    def function(self, about: str) -> Tool:
        """``type f = (_: {...}) => any;`` or ``type f = () => any;``, which is described so."""
        self.take("type")
        name = self.word()
        self.take("=")
        self.take("(")
        schema: dict[str, Any] = {"type": "object", "properties": {}}
        if not self.next_is(")"):
            self.word()
            self.take(":")
            schema = self.kind()
            if schema and schema.get("type") != "object":
                raise self._wrong("an object of parameters before")
            self.take(")")
        self.take("=>")
        self.kind()
        self.next_is(";")
        return Tool.from_json({"name": name, "description": about, "parameters": schema}, f"{self.where}: {name}")

    def kind(self, depth: int = 0) -> dict[str, Any]:
        """A type, or several of them between ``|``."""
        if depth > MAX_DEPTH:
            raise self._wrong("types that are not nested so deeply")
        self.next_is("|")
        found = [self._one(depth)]
        while self.next_is("|"):
            found.append(self._one(depth))
        if len(found) == 1:
            return found[0]
        if all("const" in one for one in found):
            values = [one["const"] for one in found]
            return {"type": "string", "enum": values} if all(isinstance(v, str) for v in values) else {"enum": values}
        plain = all(one.keys() == {"type"} for one in found)
        return {"type": [one["type"] for one in found]} if plain else {"anyOf": found}

    def _one(self, depth: int) -> dict[str, Any]:
        match = self._token()
        found: dict[str, Any]
        match match.lastgroup:
            case "text" | "number":
                found = {"const": self._value(match)}
            case "word" if match["word"] == "Array" and self.next_is("<"):
                found = {"type": "array", "items": self.kind(depth + 1)}
                self.take(">")
            case "word" if match["word"] == "Record" and self.next_is("<"):
                self.kind(depth + 1)
                self.take(",")
                values = self.kind(depth + 1)
                found = {"type": "object", **({"additionalProperties": values} if values else {})}
                self.take(">")
            case "word" if match["word"] in _TYPES:
                found = dict(_TYPES[match["word"]])
            case "word":
                found = json_type(match["word"])
            case "mark" if match["mark"] == "{":
                found = self._object(depth)
            case "mark" if match["mark"] == "(":
                found = self.kind(depth + 1)
                self.take(")")
            case _:
                raise self._wrong("a type")
        while self.next_is("[]"):
            found = {"type": "array", "items": found}
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        required = []
        while True:
            about = self.description(_PROPERTY)
            if self.next_is("}"):
                break
            name = self.word()
            optional = self.next_is("?")
            self.take(":")
            schema = self.kind(depth + 1)
            self.next_is(",") or self.next_is(";")
            described, default = _described(about, self._after())
            properties[name] = {"const": schema["const"]} if "const" in schema else schema
            properties[name] |= {"description": described} if described else {}
            properties[name] |= default
            if not optional:
                required.append(name)
        return {"type": "object", "properties": properties, "required": required}

    def comments(self) -> str:
        """The comments that stand here, as one text."""
        said = []
        while (match := _TOKEN.match(self.text, self.position)) and match.lastgroup == "comment":
            said.append(match["comment"].removeprefix("//").strip())
            self.position = match.end()
        return "\n".join(said).strip()

    def description(self, described: re.Pattern[str]) -> str:
        """The comments that stand here; the lines after one, up to what is described, are more of it."""
        said = list[str]()
        while True:
            start = self.position
            said.append(self.comments())
            begins = described.search(self.text, self.position) if self.position > start else None
            more = self.text[self.position : begins.start()].strip() if begins else ""
            if not begins or not more:
                return "\n".join(filter(None, said))
            said.append("\n".join(map(str.strip, more.splitlines())))
            self.position = begins.start()

    def _after(self) -> str:
        """The comment on the rest of the line."""
        match = re.compile(r"[ \t]*//([^\n]*)").match(self.text, self.position)
        self.position = match.end() if match else self.position
        return match[1].strip() if match else ""

    def word(self) -> str:
        match = self._token()
        if match.lastgroup == "text":
            return str(self._value(match))
        if match.lastgroup not in ("word", "number"):
            raise self._wrong("a name")
        return match[match.lastgroup]

    def take(self, what: str) -> None:
        self.comments()
        if not self.next_is(what):
            raise self._wrong(repr(what))

    def next_is(self, what: str) -> bool:
        """Whether this stands here, which is then taken."""
        match = _TOKEN.match(self.text, self.position)
        if match and match[0].strip() == what:
            self.position = match.end()
            return True
        return False

    def _token(self) -> re.Match[str]:
        match = _TOKEN.match(self.text, self.position)
        if match is None or match.lastgroup is None:
            raise self._wrong("TypeScript")
        self.position = match.end()
        return match

    def _value(self, match: re.Match[str]) -> Any:
        """The text or number that a token is."""
        try:
            return strict_json.loads(match[match.lastgroup or 0])
        except ValueError:
            self.position = match.start()
            raise self._wrong("a text or number as JSON writes it") from None

    def _wrong(self, wanted: str) -> DataError:
        found = self.text[self.position : self.position + 40]
        return DataError(f"expected {wanted} in the namespace of functions, not {found!r}", field=self.where)


def _described(before: str, after: str) -> tuple[str, dict[str, Any]]:
    """The description in the comments before and after a property, and its default."""
    default = _DEFAULT.fullmatch(after.strip())
    if default is None:
        return "\n".join(part for part in (before, after) if part), {}
    try:
        return before, {"default": strict_json.loads(default[1])}
    except ValueError:
        return before, {"default": default[1]}
