"""What devices send each other in a compiled program, read from its text (HLO), loops counted as often as they run."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?)\s([a-z][a-z0-9\-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


@dataclass(frozen=True)
class Collective:
    """Devices exchanging arrays in one place of a program, as often as it is reached."""

    kind: str
    """one of `KINDS`"""
    axis: str
    """the mesh axes along which they do, ``data+fsdp``; ``?`` where the text does not say"""
    sent: float
    """bytes that each device has to send at least, over all times"""
    times: int


@dataclass
class _Computation:
    scatters: bool = False
    """of what its devices add up, each keeps its part: a TPU's kernel for a reduce-scatter"""
    collectives: list[tuple[str, Collective]] = field(default_factory=list)
    """each with its channel, as if it were reached once"""
    called: list[tuple[str, int]] = field(default_factory=list)
    """names, and how often one run runs them"""
    conditions: list[tuple[str, str]] = field(default_factory=list)
    """loops whose text does not say how often they run: condition and body"""
    constants: dict[str, int] = field(default_factory=dict)
    operands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """of each sum by its name, of the comparison (``compare``) and of what it gives (``tuple``)"""
    places: dict[str, int] = field(default_factory=dict)
    """of names that stand for one place of a tuple"""


def collectives(text: str, mesh: Mapping[str, int], unknown_loop: int = 1) -> list[Collective]:
    """All collectives of a compiled program.

    Bytes are the least that any algorithm sends: of n devices, ``(n - 1) / n`` of what is gathered, scattered or
    exchanged, and twice that of what is reduced everywhere. All branches of a conditional count.

    Args:
        text: of ``Compiled.as_text()``.
        mesh: sizes of the mesh's axes in their order.
        unknown_loop: how often a loop runs that ends when its data says so.
    """
    computations, entry = _parsed(text, mesh)
    found: dict[str, Collective] = {}
    for name, times in _runs(computations, entry, unknown_loop).items():
        for channel, one in computations[name].collectives:
            whole = Collective(one.kind, one.axis, one.sent * times, times)
            known = found.get(channel)  # the TPU compiler cuts one into pieces that keep its channel
            if known is None or known.sent < whole.sent:
                found[channel] = whole
    return list(found.values())


def sent_by_axis(found: list[Collective]) -> dict[str, float]:
    """Bytes that each device sends along each axis of the mesh."""
    sums: dict[str, float] = defaultdict(float)
    for one in found:
        sums[one.axis] += one.sent
    return dict(sums)


def custom_kernels(text: str) -> list[str]:
    """Names of hand-written kernels that a program calls: cuDNN's attention, Pallas on a TPU."""
    return sorted(set(re.findall(r'custom_call_target="((?:__cudnn|tpu_custom_call|__triton|triton)[^"]*)"', text)))


def _parsed(text: str, mesh: Mapping[str, int]) -> tuple[dict[str, _Computation], str]:
    computations: dict[str, _Computation] = {}
    entry, current, started = "", _Computation(), dict[str, tuple[str, str]]()
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head[2], _Computation(head[2].startswith("all-reduce-scatter")))
            entry = head[2] if head[1] else entry
        elif instruction := _INSTRUCTION.match(line):
            _read(current, instruction, mesh, started)
    return computations, entry


def _read(
    current: _Computation, instruction: re.Match[str], mesh: Mapping[str, int], started: dict[str, tuple[str, str]]
) -> None:
    """Adds what one instruction says. A collective in two parts counts where it ends; its groups are at its start."""
    name, kind, opcode, rest = instruction.groups()
    if opcode == "constant" and (number := re.match(r"(\d+)\)", rest)):
        current.constants[name] = int(number[1])
    elif opcode == "while":
        _loop(current, rest)
    elif opcode == "get-tuple-element" and (place := re.search(r"index=(\d+)", rest)):
        current.places[name] = int(place[1])
    elif opcode in ("add", "compare", "tuple"):
        current.operands[name if opcode == "add" else opcode] = tuple(re.findall(r"%([\w.\-]+)", rest.split(")")[0]))
    elif opcode.removesuffix("-start") in KINDS and opcode.endswith("-start"):
        started[name] = (rest, opcode)
    elif opcode.removesuffix("-done") in KINDS:
        if opcode.endswith("-done"):
            first = re.match(r"[^%]*%?([\w.\-]+)", rest)
            rest = started.get(first[1], (rest, ""))[0] if first else rest
        channel, one = _collective(name, opcode.removesuffix("-done"), kind, rest, mesh)
        if current.scatters and one.kind == "all-reduce":
            one = replace(one, kind="reduce-scatter", sent=one.sent / 2)
        current.collectives.append((channel, one))
    elif not opcode.endswith(("-update", "-done")):  # what an async-start calls, its other parts call, too
        current.called += [(target, 1) for _, target in _CALLED.findall(rest)]
        if branches := _BRANCHES.search(rest):
            current.called += [(target.strip().lstrip("%"), 1) for target in branches[1].split(",")]


def _loop(current: _Computation, rest: str) -> None:
    body, condition = (re.search(rf"{part}=%?([\w.\-]+)", rest) for part in ("body", "condition"))
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', rest)
    if body is None or condition is None:
        return
    if known:
        current.called.append((body[1], int(known[1])))
    else:
        current.conditions.append((condition[1], body[1]))


def _runs(computations: Mapping[str, _Computation], entry: str, unknown_loop: int) -> dict[str, int]:
    """How often each computation runs in one run of the entry."""
    runs: dict[str, int] = defaultdict(int)

    def visit(name: str, times: int) -> None:
        runs[name] += times
        one = computations[name]
        loops = [(body, _trips(computations, condition, body, unknown_loop)) for condition, body in one.conditions]
        for called, each in (*one.called, *loops):
            if called in computations:
                visit(called, times * each)

    if entry:
        visit(entry, 1)
    return runs


def _trips(computations: Mapping[str, _Computation], condition: str, body: str, unknown: int) -> int:
    """A loop that counts compares its counter with one constant, or a fusion does that its condition calls."""
    one = computations.get(condition)
    if one is None:
        return unknown
    constants = [*one.constants.values()]
    for called, _ in one.called:
        constants += computations[called].constants.values() if called in computations else []
    return -(-constants[0] // _step(one, computations.get(body, _Computation()))) if len(constants) == 1 else unknown


def _step(condition: _Computation, body: _Computation) -> int:
    """What is added to the counter that ``condition`` compares; 1 where the text does not show it plainly. XLA's
    products with parts of a matrix take two of them a turn."""
    counter = condition.places.get(next(iter(condition.operands.get("compare", ())), ""))
    handed_on = body.operands.get("tuple", ())
    if counter is None or counter >= len(handed_on):
        return 1
    added = (body.constants.get(name, 0) for name in body.operands.get(handed_on[counter], ()))
    return max((1, *added))


def _collective(name: str, kind: str, result: str, rest: str, mesh: Mapping[str, int]) -> tuple[str, Collective]:
    channel = re.search(r"channel_id=(\d+)", rest)
    axis, size = _along(rest, mesh)
    share, total = (size - 1) / size, _bytes(result)
    sent = {"all-reduce": 2 * share, "reduce-scatter": size - 1.0, "collective-permute": 1.0}.get(kind, share) * total
    return (f"channel {channel[1]}" if channel else name), Collective(kind, axis, sent, 1)


def _bytes(result: str) -> float:
    """Of the arrays of a type.

    Example:
        >>> _bytes("(bf16[2,4]{1,0:T(8,128)S(1)}, s32[])")
        20.0
    """
    sizes = ((name, math.prod(int(size) for size in dims.split(",") if size)) for name, dims in _ARRAY.findall(result))
    return float(sum(_width(name) * size for name, size in sizes)) / 8


def _width(name: str) -> int:
    """Bits of an element: ``f8e4m3fn`` has 8."""
    digits = re.match(r"[a-z]+(\d+)", name)
    return _BITS.get(name) or (int(digits[1]) if digits else 0)


def _along(rest: str, mesh: Mapping[str, int]) -> tuple[str, int]:
    """The axes along which the devices of a group differ, and how many there are in one."""
    sizes = list(mesh.values())
    group = next(iter(_groups(rest)), None)
    if group is None or len(group) == 0 or max(group) >= math.prod(sizes):
        group = np.arange(math.prod(sizes)) if "replica_groups={}" in rest or group is None else group
    if max(group) >= math.prod(sizes):
        return "?", len(group)
    places = np.array(np.unravel_index(group, sizes))
    differ = [name for name, along in zip(mesh, places, strict=True) if len(set(along.tolist())) > 1]
    return "+".join(differ) or "none", len(group)


def _groups(rest: str) -> Iterator[np.ndarray]:
    """Groups of devices in any of HLO's three spellings, or the pairs of a permutation."""
    if found := re.search(r"(?:replica_groups|source_target_pairs)=\{\{([\d,{} ]+)\}\}", rest):
        for group in re.split(r"\},\s*\{", found[1]):
            yield np.array([int(number) for number in group.split(",")])
    elif found := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest):
        shape, dims, order = (tuple(map(int, part.split(","))) if part else None for part in found.groups())
        assert shape is not None
        assert dims is not None
        yield from np.arange(math.prod(dims)).reshape(dims).transpose(order).reshape(shape)
    elif found := re.search(r"replica_groups=mesh\[([^\]]*)\](?:,? ?device_ids=\([^)]*\))? \{([^}]*)\}", rest):
        axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
        along = [list(axes).index(name) for name in re.findall(r"'(\w+)'", found[2])]
        others = [axis for axis in range(len(axes)) if axis not in along]
        ids = np.arange(math.prod(axes.values())).reshape(tuple(axes.values())).transpose(*others, *along)
        yield from ids.reshape(-1, math.prod(list(axes.values())[axis] for axis in along))
