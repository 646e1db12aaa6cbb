"""How a predicted call differs from a gold call: the common ground of rewards and metrics."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from tl_jax.tooluse import strict_json
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.parse import bind

Equal: TypeAlias = Callable[[Any, Any], bool]


class Fault(NamedTuple):
    """One kind of difference between a predicted call and a gold call.

    ``category`` is a key of `tl_jax.tooluse.rewards.verdict.OUTCOMES`; ``arguments`` are the names of the offending
    arguments, where it is arguments that offend; ``predicted`` and ``gold`` are what was compared; ``reason`` says what
    is wrong where calls and arguments do not.
    """

    category: str
    arguments: tuple[str, ...] = ()
    predicted: Call | None = None
    gold: Call | None = None
    reason: str = ""

    @property
    def detail(self) -> str:
        """What is wrong, in words, on one line: the ``reason`` where one is given."""
        return " ".join((self.reason or self._difference()).split())

    def _difference(self) -> str:
        call, gold = self.predicted, self.gold
        if self.category == "wrong_value" and call and gold:
            pairs = ((name, _show(call.arguments[name]), _show(gold.arguments[name])) for name in self.arguments)
            return ", ".join(f"{name!r} is {value}, not {wanted}" for name, value, wanted in pairs)
        if self.category == "hallucinated_tool" and call:
            return f"{call.name!r} is not offered"
        if self.category == "wrong_tool" and call:
            return f"{call.name!r} instead of {gold.name!r}" if gold else f"{call.name!r}, where no call is needed"
        return ", ".join(map(repr, self.arguments))


def offered_tools(case: Case) -> dict[str, Tool]:
    """The tools of the prompt by name; the first of a name counts, as it does for a reader.

    What a gold call uses counts as offered all the same: its tool, and its arguments as optional ones.
    """
    offered = by_name(case.tools)
    for alternative in case.gold:
        for call in alternative:
            tool = offered.get(call.name)
            if tool is None or not tool.properties.keys() >= set(call.known):
                offered[call.name] = _widened(tool or Tool(call.name), call.known)
    return offered


def bind_all(calls: Iterable[Call], positional: Iterable[tuple[Any, ...]], offered: Mapping[str, Tool]) -> list[Call]:
    """Calls with their positional arguments named; those of a tool that is not offered stay as they are."""
    pairs = zip(calls, positional, strict=True)
    return [bind(call, values, offered[call.name]) if call.name in offered else call for call, values in pairs]


def compare(
    call: Call, gold: Call, offered: Mapping[str, Tool], equal: Equal, *, defaults: bool, coerce: bool = False
) -> tuple[Fault, ...]:
    """The faults of a call, in the order of the paper's table; empty when it is right.

    Args:
        gold: with what else it accepts, see `nearest`.
        equal: decides whether two argument values are the same.
        defaults: an optional argument that equals its schema's default is as good as left out.
        coerce: a string equals what it spells, unless schema and gold call both have text there.

    Example:
        >>> offered = {"search": Tool("search", parameters={"properties": {"query": {}, "limit": {}}})}
        >>> gold = Call("search", {"query": "love"})
        >>> found = compare(Call("search", {"limit": 5}), gold, offered, same_value, defaults=True)
        >>> [(fault.category, fault.arguments) for fault in found]
        [('redundant_parameter', ('limit',)), ('missing_parameter', ('query',))]
    """
    if call.name not in offered:
        return (Fault("hallucinated_tool", (), call, gold),)
    if call.name != gold.name:
        return (Fault("wrong_tool", (), call, gold),)
    tool = offered[gold.name]
    gold = nearest(call, gold, tool, equal, coerce)
    if call.arguments.keys() != gold.arguments.keys():
        arguments = settled(call, gold, tool) if defaults else call.arguments
        if faults := _name_faults(call, arguments, gold, tool):
            return faults
    differing = tuple(
        name
        for name, value in call.arguments.items()
        if name in gold.arguments and not same_argument(name, value, gold.arguments[name], tool, equal, coerce)
    )
    return (Fault("wrong_value", differing, call, gold),) if differing else ()


def nearest(call: Call, gold: Call, tool: Tool, equal: Equal, coerce: bool = False) -> Call:
    """Of all calls that are right by ``gold`` the one most like ``call``: every value that it gives and that is right,
    else the first right one, and the optional arguments that it gives.

    Example:
        >>> gold = Call("open", {"path": "a", "mode": "r"}, accepted={"mode": ["read"]}, optional=("mode",))
        >>> [nearest(Call("open", said), gold, Tool("open"), same_value).arguments for said in ({}, {"mode": "read"})]
        [{'path': 'a'}, {'path': 'a', 'mode': 'read'}]
    """
    if not (gold.accepted or gold.optional or gold.wild):
        return gold
    arguments = {}
    for name in gold.known:
        if name in call.arguments:
            given = call.arguments[name]
            values = (given,) if name in gold.wild else gold.values(name)
            right = (value for value in values if same_argument(name, given, value, tool, equal, coerce))
            arguments[name] = next(right, values[0])
        elif name in gold.arguments and name not in gold.optional:
            arguments[name] = gold.arguments[name]
    return Call(gold.name, arguments)


def settled(call: Call, gold: Call, tool: Tool) -> Mapping[str, Any]:
    """A call's arguments with every optional one that equals its default given or left out as in the gold call."""
    kept = {
        name: value
        for name, value in call.arguments.items()
        if name in gold.arguments or not _is_default(tool, name, value)
    }
    left_out = {
        name: value
        for name, value in gold.arguments.items()
        if name not in call.arguments and _is_default(tool, name, value)
    }
    return kept | left_out


def same_argument(name: str, value: Any, wanted: Any, tool: Tool, equal: Equal, coerce: bool = False) -> bool:
    """Whether the value of the argument ``name`` is the one wanted."""
    if equal(value, wanted):
        return True
    return coerce and not (isinstance(wanted, str) and _takes_text(tool, name)) and same_text(value, wanted)


def same_value(a: Any, b: Any) -> bool:
    """Equality of JSON values with their types: 1 is 1.0 but neither True nor "1"; the order of keys is free.

    Example:
        >>> same_value({"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}), same_value(1, True), same_value(1, "1")
        (True, False, False)
    """
    if type(a) is str or type(b) is str:  # most values, at once
        return type(a) is type(b) and a == b
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return _same_shape(a, b, same_value) or (type(a) is type(b) and not isinstance(a, (list, dict)) and a == b)


def canonical(value: Any) -> Hashable:
    """A JSON value as what is equal exactly where `same_value` says that the values are the same.

    Example:
        >>> canonical({"a": 1, "b": [2]}) == canonical({"b": [2.0], "a": 1.0}), canonical(1) == canonical(True)
        (True, False)
    """
    if isinstance(value, Mapping):
        return dict, frozenset((key, canonical(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return list, tuple(map(canonical, value))
    return (bool, value) if isinstance(value, bool) else value  # which equals 1 elsewhere


def same_text(a: Any, b: Any) -> bool:
    """As `same_value`, but a string equals what it spells: "500" is 500, "true" and "True" are True.

    Example:
        >>> same_text("500", 500), same_text("[1, 2]", [1, 2.0]), same_text("5oo", 500)
        (True, True, False)
    """
    if isinstance(a, str) != isinstance(b, str):
        text, value = (a, b) if isinstance(a, str) else (b, a)
        return text == str(value) or _spells(text.strip(), value)
    return _same_shape(a, b, same_text) or same_value(a, b)


def _name_faults(call: Call, arguments: Mapping[str, Any], gold: Call, tool: Tool) -> tuple[Fault, ...]:
    extra = [name for name in arguments if name not in gold.arguments]
    found = (
        ("hallucinated_parameter", tuple(name for name in extra if name not in tool.properties)),
        ("redundant_parameter", tuple(name for name in extra if name in tool.properties)),
        ("missing_parameter", tuple(name for name in gold.arguments if name not in arguments)),
    )
    return tuple(Fault(category, names, call, gold) for category, names in found if names)


def _widened(tool: Tool, arguments: Iterable[str]) -> Tool:
    """The tool with these arguments among its parameters."""
    properties = {**tool.properties, **{name: {} for name in arguments if name not in tool.properties}}
    return Tool(tool.name, tool.description, {**tool.parameters, "properties": properties})


def _is_default(tool: Tool, name: str, value: Any) -> bool:
    spec = tool.properties.get(name, {})
    return name not in tool.required and "default" in spec and same_value(value, spec["default"])


def _takes_text(tool: Tool, name: str) -> bool:
    """Whether the schema wants text; where it does not say, it may."""
    kind = tool.properties.get(name, {}).get("type", "string")
    return "string" in (kind if isinstance(kind, list) else [kind])


def _same_shape(a: Any, b: Any, equal: Equal) -> bool:
    """Whether both are lists, or both objects, with equal contents."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return False


def _spells(text: str, value: Any) -> bool:
    if value is None:
        return text.lower() in ("none", "null")
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    try:
        read = strict_json.loads(text)
    except ValueError:
        return False
    return not isinstance(read, str) and same_text(read, value)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
