"""What docs/rewards.md shows is run as it stands."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.rewards.score import PROFILES, RewardTable
from tl_jax.tooluse.rewards.table import read_table
from tl_jax.tooluse.rewards.verdict import CATEGORIES

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "rewards.md").read_text(encoding="utf-8")
CASE = {
    "id": "1",
    "tools": [{"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}}],
    "messages": [{"role": "user", "content": "?"}],
    "gold": [[{"name": "f", "arguments": {"n": 1}}]],
}


def block(kind: str) -> str:
    """The one block of code that begins so."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return found


def names(kind: str, **given: Any) -> dict[str, Any]:
    """What a block defines."""
    exec(compile(block(kind), f"docs/rewards.md ({kind})", "exec"), given)
    return given


def test_the_first_example() -> None:
    assert "found" in names("python")


def table(name: str) -> list[list[str]]:
    """The cells of a generated table, without the line below its heading."""
    (found,) = re.findall(rf"<!-- table [\w.]+:{name} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    heading, _, *rows = found.splitlines()
    return [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in (heading, *rows)]


def test_the_table_is_the_one_in_use() -> None:
    (_, _, *profiles), *outcomes = table("AMOUNTS")
    assert set(profiles) == {name for name, profile in PROFILES.items() if isinstance(profile, RewardTable)}
    assert [category for _, category, *_ in outcomes] == [*CATEGORIES, "correct"]
    for _, category, *amounts in outcomes:
        assert list(map(float, amounts)) == [getattr(PROFILES[profile], category) for profile in profiles]


def test_every_profile_is_named() -> None:
    assert [name for name, *_ in table("PROFILES")[1:]] == list(PROFILES)


def test_the_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(block("yaml"))
    assert read_table(path) == RewardTable(
        "mine", wrong_value=0.2, parameter_floor=-1, coerce_strings=True, pairing="in_order"
    )


def test_verl() -> None:
    """Called as verl's reward managers call it."""
    compute_score = names("python verl")["compute_score"]
    for answer, value in (("f(n=1)", 1.0), ("f(n=2)", -0.25)):
        given = {"data_source": "tools", "solution_str": answer, "ground_truth": json.dumps(CASE)}
        assert compute_score(**given, extra_info={"index": 0}) == compute_score(**given) == value


def test_trl() -> None:
    """Called as TRL documents it: keywords, a list for each column, and more than a function asks for."""
    irm_reward = names("python trl")["irm_reward"]
    row, answers = json.dumps(CASE), ["f(n=1)", "f(n=2)", "g()"]
    more = {"prompts": ["?"] * 3, "completion_ids": [[1]] * 3, "trainer_state": None, "case": [row] * 3}
    assert irm_reward(completions=answers, **more) == [1.0, -0.25, -2.0]
    spoken = [[{"role": "assistant", "content": answer}] for answer in answers]
    assert irm_reward(completions=spoken, **more) == [1.0, -0.25, -2.0]


@pytest.mark.slow
def test_trl_trains_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of a tiny model, where trl is installed."""
    trl = pytest.importorskip("trl")
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.data.helpers import byte_level

    monkeypatch.chdir(tmp_path)
    Path("cases.jsonl").write_text("".join(json.dumps(CASE | {"id": str(number)}) + "\n" for number in range(4)))
    tokenizer = byte_level(["f(n = 1) ", "System: User: Assistant:"], use_regex=True)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained("path/to/model")
    tokenizer.save_pretrained("path/to/model")
    small = {
        "max_steps": 2,
        "num_generations": 2,
        "per_device_train_batch_size": 2,
        "max_completion_length": 8,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "logging_steps": 1,
    }
    monkeypatch.setattr(trl, "GRPOConfig", partial(trl.GRPOConfig, **small))
    trainer = names("python trl-train", json=json, irm_reward=names("python trl")["irm_reward"])["trainer"]
    seen = [row["rewards/irm_reward/mean"] for row in trainer.state.log_history if "rewards/irm_reward/mean" in row]
    assert len(seen) == 2
    assert all(-2 <= mean <= 1 for mean in seen)
