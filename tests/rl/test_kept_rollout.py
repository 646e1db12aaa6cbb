"""A rollout that a checkpoint keeps is read again as it was."""

from __future__ import annotations

import json

import numpy as np

from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.groups import AnswerGroup, Rollout
from tl_jax.rl.kept_rollout import from_json, to_json
from tl_jax.rl.rubric import EpisodeRewards
from tl_jax.tooluse.rewards.score import Reward
from tl_jax.tooluse.schema import Call, Case, Message, Tool

TOOLS = (Tool("go", "goes", {"type": "object", "properties": {"far": {"type": "number"}}}), Tool("stop"))
FIRST = Case(
    "c1",
    TOOLS,
    (Message("system", "be \ud800 quick"), Message("user", "go")),
    ((Call("go", {"far": 0.1}), Call("stop")), (Call("stop"),)),
    "parallel",
    suite="s",
    split="test",
    meta={"level": 2},
)
SECOND = Case("c1", (*TOOLS, Tool("new")), (*FIRST.messages, Message("tool", "gone", name="go")), gold_kind="none")
THIRD = float(np.float32(-1 / 3))


def episodes() -> list[Episode]:
    """Of two turns with all that an episode can have, and of one with the least."""
    call = Call("go", {"far": 1, "deep": [{"a": None}]})
    one = Turn(FIRST, "go(far=1) ", True, 3, (5, 6, 2), (THIRD, -1e-7, 0.0), (call,), ("gone",), (-0.25, -0.0, 0.0))
    other = Turn(SECOND, "\ud800", False, 8, (9,), (-2.5,))
    whole = Episode(
        FIRST, [1, 2, 3, 4, 5, 6, 7, 8, 8, 9], 4, [one, other], [7], True, {"solved": [1, None]}, "fault", "raised"
    )
    return [whole, Episode(FIRST, [1, 2], 1, [Turn(FIRST, "", True, 0, (2,), (THIRD,))])]


def rewarded() -> list[EpisodeRewards]:
    given = tuple((Reward(value, "custom", "because"), Reward(0.1, "fault", "")) for value in (1 / 3, -2.0))
    values = np.array([[1 / 3, 0.1, 1], [-2, 0.1, 0]], np.float32)
    return [EpisodeRewards(values, given, "failed", True), EpisodeRewards(values[:1], given[:1])]


def test_it_is_read_again_as_it_was() -> None:
    kept = Rollout((AnswerGroup(3, episodes(), rewarded()), AnswerGroup(1, episodes())), replaced=4, staleness=1)
    found = from_json(json.loads(json.dumps(to_json(kept))))
    assert found[1:] == kept[1:]
    assert [group.prompt for group in found.groups] == [3, 1]
    assert found.episodes == kept.episodes  # frozen records: by every field, of the case as well
    assert found.groups[1].rewards is None
    for one, other in zip(found.groups[0].rewards or (), rewarded(), strict=True):
        assert one.values.dtype == np.float32
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.turns, one.fault, one.dropped) == (other.turns, other.fault, other.dropped)


def test_what_episodes_share_is_written_once() -> None:
    """Cases, and within them tools and messages: those of a prompt are much longer than an answer."""
    groups = tuple(AnswerGroup(index, episodes()) for index in range(5))
    row = to_json(Rollout(groups))
    assert (len(row["cases"]), len(row["tools"]), len(row["messages"])) == (2, 3, 3)
    found = from_json(json.loads(json.dumps(row)))
    assert len({id(episode.case) for episode in found.episodes}) == 1
