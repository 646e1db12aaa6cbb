"""From a trajectory to its examples: what MAE and PKT make of it, none of them longer than a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tl_jax.config import DataConfig
from tl_jax.data.codec import Codec
from tl_jax.data.encoding import Encoded
from tl_jax.data.report import DataReport
from tl_jax.data.supervision import Example
from tl_jax.data.windows import split
from tl_jax.tooluse.mae.apply import apply_mae
from tl_jax.tooluse.schema import Trajectory
from tl_jax.tooluse.text.spoken import left_out, spoken


def examples_of(trajectory: Trajectory, config: DataConfig, codec: Codec, report: DataReport) -> Iterator[Example]:
    """The examples of one trajectory: none, one or several. What becomes of it is counted in ``report``.

    Raises:
        UserError: the format cannot express it, or the tokenizer cannot encode it.
    """
    marked, blocks = apply_mae(trajectory, **config.mae.model_dump())
    marked, before = spoken(marked, config.include), marked
    report.silent += sum(now.weight != was.weight for now, was in zip(marked.messages, before.messages, strict=True))
    report.left_out.update(left_out(trajectory.messages, config.include))
    out = [block for block in blocks if marked.messages[block.message].weight == 0]
    blocked = {block.message: (block.finding.rule, str(block.finding.category)) for block in out}
    turns = list(marked.turns)
    targets = sum(message.weight != 0 for _, message in turns)
    report.trajectories += 1
    report.turns += len(turns)
    report.without_tools += not marked.tools and any(message.tool_calls for _, message in turns)
    report.blocked.update(blocked.values())
    report.reduced += len(blocks) - len(out)
    report.weightless += len(turns) - targets - len(blocked)
    if not targets:
        report.without_target += 1
        return
    passes = codec.passes(marked)
    whole = passes[0][0] is marked
    if codec.hides_calls:
        report.hidden_calls += sum(bool(m.weight != 0 and m.content and m.tool_calls) for _, m in marked.turns)
    report.by_turn += not whole
    report.dropped_texts += len(dropped_texts(passes, marked))
    for part, encoded in passes:
        for example in _in_rows(part, encoded, config, codec, report):
            report.targets += len(example.targets)
            report.examples += 1
            report.tokens += len(example.tokens)
            report.target_tokens += int((example.weights > 0).sum())
            yield example


def dropped_texts(passes: Sequence[tuple[Trajectory, Encoded]], trajectory: Trajectory) -> list[int]:
    """The messages of a trajectory whose text, or a part of it, no target is learnt with.

    What was thought before is left out of a later turn's context by most templates, and is none of them.
    """
    return sorted(
        {
            index
            for part, encoded in passes
            for index in encoded.dropped
            if part is trajectory or index == len(part.messages) - 1 or trajectory.messages[index].role != "assistant"
        }
    )


def _in_rows(
    trajectory: Trajectory, encoded: Encoded, config: DataConfig, codec: Codec, report: DataReport
) -> Iterator[Example]:
    """The examples of what is trained on in one pass, none of them longer than a row."""
    targets = [index for index, message in trajectory.turns if message.weight != 0]
    needed = max(turn.end for turn in encoded.turns if turn.message in targets)
    if needed <= config.max_length:
        yield codec.supervise(trajectory, config.pkt, encoded).trimmed()
    elif config.overlong == "skip":
        report.skipped_long += 1
        report.skipped_turns += len(targets)
    else:
        windows = split(trajectory, encoded, codec, config.pkt, config.max_length)
        report.divided += bool(windows.examples)
        report.dropped_context_turns += windows.dropped_turns
        report.skipped_turns += windows.skipped_targets
        yield from windows.examples
