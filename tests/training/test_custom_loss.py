"""The losses that the documentation shows, as a user would use them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from click.testing import CliRunner

from tests.training.helpers import TINY, random_batch
from tl_jax.cli import main
from tl_jax.config import ConfigError, SftConfig, load_config
from tl_jax.config.losses import LOSSES, NamedLoss
from tl_jax.data.batch import Batch
from tl_jax.errors import UserError
from tl_jax.model import llama
from tl_jax.model.llama import abstract_params, merge
from tl_jax.training.losses import label_log_probs, make_loss
from tl_jax.training.sft import make_programs
from tl_jax.training.state import init_state
from tl_jax.training.step import make_train_step

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "custom_loss.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"tl-jax sft --config configs/sft.yaml (.+)", PAGE)


@pytest.fixture
def _my_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's module in the current directory."""
    (tmp_path / "my_losses.py").write_text("\n".join(BLOCKS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path)])  # restored afterwards
    monkeypatch.delitem(__import__("sys").modules, "my_losses", raising=False)


def settings(command: str) -> SftConfig:
    overrides = [part.strip("'") for part in re.findall(r"'[^']+'|\S+", command)]
    return load_config(SftConfig, [], ["run_dir=r", "model.path=m", "data.path=d", *overrides])


def log_probs(graphdef: Any, params: Any, batch: Batch) -> jax.Array:
    return jax.nn.log_softmax(merge(graphdef, params)(batch.tokens, batch.positions, batch.segment_ids))


def focal(all_: jax.Array, label: jax.Array) -> jax.Array:
    return -((1 - jnp.exp(label)) ** 3) * label


def confident(all_: jax.Array, label: jax.Array) -> jax.Array:
    return -label + 0.1 * jnp.sum(jnp.exp(all_) * all_, axis=-1)


def smoothed(all_: jax.Array, label: jax.Array) -> jax.Array:
    return -0.8 * label - 0.2 * jnp.mean(all_, axis=-1)


def test_the_page_shows_three_commands() -> None:
    assert [settings(command).loss.name for command in COMMANDS] == [
        "label_smoothing",
        "my_losses:focal",
        "my_losses:confident",
    ]


@pytest.mark.usefixtures("_my_losses")
@pytest.mark.parametrize(
    ("command", "formula"),
    list(zip(COMMANDS, (smoothed, focal, confident), strict=True)),
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_the_documented_losses_compile_and_train(
    graphdef: Any, params: Any, command: str, formula: Callable[..., jax.Array]
) -> None:
    batch, optimizer = random_batch(0, 4, 48), optax.sgd(1e-2)
    all_ = log_probs(graphdef, params, batch)
    of_tokens = formula(all_, jnp.take_along_axis(all_, batch.labels[..., None], -1)[..., 0])
    expected = np.sum(batch.weights * of_tokens) / batch.turns.sum()

    loss = make_loss(settings(command).loss)
    step = jax.jit(make_train_step(graphdef, loss, optimizer, optax.constant_schedule(1e-2)))
    state = init_state(params, optimizer, 0)
    losses = []
    for _ in range(3):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.usefixtures("_my_losses")
@pytest.mark.parametrize(
    ("loss", "adding"),
    [("tl_jax.training.losses:label_smoothing", True), ("my_losses:focal", False)],
)
def test_layers_add_gradients_in_place_for_losses_that_are_known_to_read_once(
    loss: str, adding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, read = llama.through_adding, []
    monkeypatch.setattr(llama, "through_adding", lambda *given: read.append(given) or through(*given))
    config = settings(f"loss={loss} accumulate=2")
    programs = make_programs(config, TINY, make_loss(config.loss), 1)
    state = jax.eval_shape(programs.init, abstract_params(TINY))
    jax.eval_shape(programs.step, state, random_batch(0, 4, 48))
    assert bool(read) == adding


@pytest.mark.usefixtures("_my_losses")
def test_the_documented_statistic(graphdef: Any, params: Any) -> None:
    margin = __import__("my_losses").margin
    batch = random_batch(1, 2, 48)
    model = merge(graphdef, params)
    hidden = model.hidden(*batch.inputs)
    mask = batch.weights > 0
    found = label_log_probs(model, hidden, batch.labels, mask, {"margin": margin}).statistics["margin"]
    logits = model.logits(hidden)
    label = jnp.take_along_axis(logits, batch.labels[..., None], -1)[..., 0]
    np.testing.assert_allclose(found, jnp.where(mask, label - logits.mean(-1), 0), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_my_losses")
def test_a_required_option_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"loss: my_losses:confident needs the option 'beta'; set loss.options.beta"):
        make_loss(settings("loss=my_losses:confident").loss)


@pytest.mark.usefixtures("_my_losses")
def test_a_loss_from_outside_has_a_name_everywhere() -> None:
    record = NamedLoss("focal", "my_losses:focal", "`-(1 - p)^gamma log p`", "https://arxiv.org/abs/1708.02002")
    with LOSSES.added(record):
        chosen = settings("loss=focal loss.options.gamma=1").loss
        assert make_loss(chosen).keywords == {"gamma": 1.0}  # type: ignore[attr-defined]
        assert settings("loss=my_losses:focal").loss.name == "focal"
        shown = CliRunner().invoke(main, ["config", "sft"]).output
        assert "focal" in LOSSES
        assert f"# {' | '.join(LOSSES)} | module:function" in shown
        assert (
            "| `focal` | `-(1 - p)^gamma log p` |  | [1708.02002](https://arxiv.org/abs/1708.02002) |" in LOSSES.table()
        )
    with pytest.raises(ConfigError, match="unknown 'focal'; known: weighted_cross_entropy"):
        settings("loss=focal")
