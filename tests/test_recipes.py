"""The recipes of CONTRIBUTING.md, followed from outside: a record is known to validation, command line and documents.

What is added stands in tests/outside.py. Each is found without a line of tl_jax being changed, and used once.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import outside
from tl_jax import demo
from tl_jax.cli import main
from tl_jax.config import ConfigError, Node, RlConfig, SftConfig, load_config
from tl_jax.config.estimators import ESTIMATORS
from tl_jax.config.losses import LOSSES
from tl_jax.tooluse.readers import FORMATS, read_cases
from tl_jax.tooluse.rewards.profiles import PROFILES

ROOT = Path(__file__).parents[1]
DEMO = Path(demo.__path__[0])
QUESTION = '{"ask": "Weather in Oslo?", "call": "get_weather", "with": {"city": "Oslo"}}'
SETTINGS: dict[str, tuple[type[Node], tuple[str, ...]]] = {
    "format": (SftConfig, ("data.format=questions",)),
    "loss": (SftConfig, ("loss=squared", "loss.options.scale=2")),
    "profile": (RlConfig, ("reward=strict",)),
    "estimator": (RlConfig, ("algorithm.estimator=signs", "group_size=4")),
}
"""What a configuration says to use each."""
HELP = {
    "format": ("data convert --help", "|questions]"),
    "loss": ("sft --help", "  squared "),
    "profile": ("reward --help", "|strict|"),
    "estimator": ("rl --help", "  signs "),
}
PAGES = {
    "format": ("docs/formats.md", "| `questions` | trajectories |"),
    "loss": ("docs/custom_loss.md", "| `squared` | `scale (1 - p)^2` |"),
    "profile": ("docs/rewards.md", "| `strict` | a wrong value costs more | `in_order` |"),
    "estimator": ("docs/rl.md", "| `signs` | 1 where the return is above its group's mean, else -1 | groups |"),
}


@pytest.fixture
def _added() -> Iterator[None]:
    with ExitStack() as known:
        known.enter_context(FORMATS.added(outside.FORMAT))
        known.enter_context(PROFILES.added(outside.PROFILE))
        known.enter_context(ESTIMATORS.added(outside.ESTIMATOR))
        known.enter_context(LOSSES.added(outside.LOSS))
        yield


def loaded(kind: str) -> Node:
    config, settings = SETTINGS[kind]
    return load_config(config, [], ["run_dir=r", "model.path=m", "data.path=d", *settings])


def tables_of(page: str) -> str:
    """A page of the documents as docs/tables.py writes it now."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    return tables.with_tables((ROOT / page).read_text(encoding="utf-8"))


def tl_jax(*words: object) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


# --- found ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_added")
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_configuration_may_name_it(kind: str) -> None:
    loaded(kind)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_configuration_may_not_name_what_is_not_there(kind: str) -> None:
    with pytest.raises(ConfigError, match="known"):
        loaded(kind)


@pytest.mark.usefixtures("_added")
@pytest.mark.parametrize("kind", HELP)
def test_the_help_shows_it(kind: str) -> None:
    command, line = HELP[kind]
    assert line in tl_jax(*command.split())


@pytest.mark.usefixtures("_added")
@pytest.mark.parametrize("kind", PAGES)
def test_the_documents_show_it(kind: str) -> None:
    page, row = PAGES[kind]
    assert row in tables_of(page)
    assert row not in (ROOT / page).read_text(encoding="utf-8")


# --- used -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_added")
def test_a_file_is_read(tmp_path: Path) -> None:
    """Detected, converted, and read back."""
    outside.write(tmp_path / "in.jsonl", QUESTION, QUESTION)
    tl_jax("data", "convert", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    calls = [row["messages"][1]["tool_calls"] for row in rows]
    assert calls == [[{"name": "get_weather", "arguments": {"city": "Oslo"}}]] * 2


@pytest.mark.usefixtures("_added")
@pytest.mark.parametrize(("profile", "expected"), [("strict", -1.0), ("paper", -0.25)])
def test_answers_are_rewarded(profile: str, expected: float, tmp_path: Path) -> None:
    cases = outside.write(tmp_path / "cases.jsonl", QUESTION)
    (case,) = read_cases(cases)
    answer = json.dumps({"id": case.id, "prediction": "get_weather(city='Rome')"})
    answers = outside.write(tmp_path / "answers.jsonl", answer)
    shown = tl_jax("reward", "--cases", cases, "--predictions", answers, "--profile", profile, "--json")
    assert json.loads(shown)["reward"] == expected


@pytest.mark.jax
@pytest.mark.usefixtures("_added")
def test_advantages_are_computed() -> None:
    import numpy as np

    from tests.rl.test_estimators import MASK, estimated

    got = estimated(kl_in="loss", kl_estimator="k3", estimator="signs")  # 1, 2, 6 and 0, 0, 3
    np.testing.assert_array_equal(got.advantages, np.where(MASK, np.array([-1, -1, 1, -1, -1, 1])[:, None], 0))


@pytest.mark.jax
@pytest.mark.usefixtures("_added")
def test_a_loss_is_computed() -> None:
    import jax
    import numpy as np

    from tests.training.helpers import TINY, random_batch
    from tl_jax.model.llama import make_graphdef, merge
    from tl_jax.model.parameters import init_params
    from tl_jax.training.losses import make_loss

    config = loaded("loss")
    assert isinstance(config, SftConfig)
    batch = random_batch(0, 2, 32)
    model = merge(make_graphdef(TINY, dtype="float32"), init_params(TINY, jax.random.key(0)))
    loss = make_loss(config.loss)(model, batch)
    logits = np.asarray(model(batch.tokens, batch.positions, batch.segment_ids), np.float64)
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    of_labels = np.take_along_axis(probabilities, batch.labels[..., None], -1)[..., 0]
    assert float(loss.total) == pytest.approx((batch.weights * 2 * (1 - of_labels) ** 2).sum(), rel=1e-4)


@pytest.mark.jax
def test_a_family_is_computed_and_comes_back_from_its_files(tmp_path: Path) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tests.model.tiny import forward, unpacked
    from tl_jax.errors import UserError
    from tl_jax.model.families import FAMILIES
    from tl_jax.model.llama import make_graphdef
    from tl_jax.model.presets import PRESETS, Preset
    from tl_jax.model.store import open_model

    family = outside.family()
    inputs = unpacked(np.arange(24).reshape(2, 12))
    hf, exported = tmp_path / "hf", tmp_path / "exported"
    with ExitStack() as known:
        known.enter_context(FAMILIES.added(family))
        config = replace(PRESETS["tiny"].config, architecture=family.name, num_layers=2)
        known.enter_context(PRESETS.added(Preset("tiny-qlama", config)))
        assert f"| `qlama` | `{family.hf_class}` | `layers.q_bias`, `layers.q_norm` |" in tables_of("docs/models.md")
        tl_jax("init-model", "--preset", "tiny-qlama", "--tokenizer", DEMO / "base", "--out", hf)
        model = open_model(hf)
        graphdef = make_graphdef(model.config, dtype="float32")
        logits = forward(graphdef, model.params, *inputs)
        for name in ("q_bias", "q_norm"):
            other = jax.tree.map(jnp.array, model.params)
            other["layers"][name] += jnp.arange(other["layers"][name].shape[-1])
            assert float(abs(forward(graphdef, other, *inputs) - logits).max()) > 1e-3
        tl_jax("export", "--from", hf, "--to", exported)
        np.testing.assert_array_equal(forward(graphdef, open_model(exported).params, *inputs), logits)
    assert json.loads((exported / "config.json").read_text())["architectures"] == ["QlamaForCausalLM"]
    with pytest.raises(UserError, match="Qlama"):
        open_model(exported)
