"""What is saved comes back bit for bit, wherever it is opened; what cannot be opened says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from tokenizers import Tokenizer, models

from tl_jax.config import MeshConfig
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import MARKER, CheckpointError, copy_tokenizer
from tl_jax.model.hf import export_hf
from tl_jax.model.parameters import abstract_params
from tl_jax.model.sharding import make_mesh, param_shardings
from tl_jax.model.store import open_model, save_model
from tl_jax.training.checkpoint import Checkpoints, Record
from tl_jax.training.state import init_state

CONFIG = LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    rope_theta=1e6,
    bos_token_id=1,
    eos_token_id=(2, 3),
)


def random_params(seed: int = 0, dtype: Any = jnp.float32) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), abstract_params(CONFIG, dtype)
    )


def assert_bit_equal(left: dict[str, Any], right: dict[str, Any]) -> None:
    flat = flatten_dict(right, sep=".")
    assert flatten_dict(left, sep=".").keys() == flat.keys()
    for name, leaf in flatten_dict(left, sep=".").items():
        assert leaf.dtype == flat[name].dtype
        assert np.asarray(leaf).tobytes() == np.asarray(flat[name]).tobytes(), name


@pytest.fixture
def tokenizer_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")).save(str(directory / "tokenizer.json"))
    (directory / "unrelated.txt").write_text("not the tokenizer's")
    return directory


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip_is_bit_equal(dtype: Any, tmp_path: Path, tokenizer_dir: Path) -> None:
    params = random_params(dtype=dtype)
    save_model(tmp_path / "ckpt", CONFIG, params, tokenizer_dir)
    model = open_model(tmp_path / "ckpt", param_dtype=None)
    assert model.config == CONFIG
    assert_bit_equal(model.params, params)
    assert_bit_equal(open_model(tmp_path / "ckpt", param_dtype=dtype).params, params)
    assert (model.tokenizer_dir / "tokenizer.json").read_bytes() == (tokenizer_dir / "tokenizer.json").read_bytes()
    names = {entry.name for entry in (tmp_path / "ckpt").iterdir()}
    assert names == {"config.json", "params", "tokenizer.json", MARKER}


def test_templates_by_name_are_kept(tmp_path: Path, tokenizer_dir: Path) -> None:
    (tokenizer_dir / "additional_chat_templates").mkdir()
    (tokenizer_dir / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    save_model(tmp_path / "ckpt", CONFIG, random_params(), tokenizer_dir)
    found = open_model(tmp_path / "ckpt").tokenizer_dir / "additional_chat_templates" / "tool_use.jinja"
    assert found.read_text() == "{{ tools }}"


def test_a_relative_path_will_do(tmp_path: Path, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = random_params()
    save_model("deep/ckpt", CONFIG, params, "tokenizer")
    assert_bit_equal(open_model("deep/ckpt").params, params)


@pytest.mark.parametrize("saved_on", [None, (8, 1), (2, 2)])
@pytest.mark.parametrize("opened_on", [None, (4, 2), (4, 1)])
def test_any_mesh_opens_what_any_other_saved(
    saved_on: tuple[int, int] | None, opened_on: tuple[int, int] | None, tmp_path: Path, tokenizer_dir: Path
) -> None:
    def mesh_of(shape: tuple[int, int] | None) -> jax.sharding.Mesh | None:
        return shape and make_mesh(MeshConfig(data=8 // (shape[0] * shape[1]), fsdp=shape[0], tensor=shape[1]))

    params, source, target = random_params(), mesh_of(saved_on), mesh_of(opened_on)
    placed = jax.device_put(params, param_shardings(params, source)) if source else params
    save_model(tmp_path / "ckpt", CONFIG, placed, tokenizer_dir)
    opened = open_model(tmp_path / "ckpt", mesh=target).params
    assert_bit_equal(opened, params)
    if target:
        jax.tree.map(lambda x, sharding: _assert_equal(x.sharding, sharding), opened, param_shardings(params, target))
    else:
        assert all(len(x.devices()) == 1 for x in jax.tree.leaves(opened))


def _assert_equal(left: object, right: object) -> None:
    assert left == right


def test_eight_devices_save_and_a_process_with_one_opens(tmp_path: Path, tokenizer_dir: Path) -> None:
    params = random_params()
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    save_model(tmp_path / "ckpt", CONFIG, jax.device_put(params, param_shardings(params, mesh)), tokenizer_dir)
    program = (
        "import sys, jax, numpy; from tl_jax.model.store import open_model\n"
        "assert jax.device_count() == 1\n"
        "print(repr(float(numpy.asarray(open_model(sys.argv[1]).params['layers']['q'], 'float64').sum())))"
    )
    environment = {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "ckpt")],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) == np.asarray(params["layers"]["q"], "float64").sum()
    assert run.stderr == ""  # no warnings about topologies or metadata


def test_the_dtype_asked_for_is_the_dtype_given(tmp_path: Path, tokenizer_dir: Path) -> None:
    params = random_params()
    save_model(tmp_path / "ckpt", CONFIG, params, tokenizer_dir)
    export_hf(params, CONFIG, tokenizer_dir, tmp_path / "hf")
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    assert_bit_equal(open_model(tmp_path / "ckpt", param_dtype="bfloat16").params, narrow)
    assert_bit_equal(open_model(tmp_path / "hf", param_dtype="bfloat16").params, narrow)


def test_hugging_face_and_our_checkpoint_open_alike(tmp_path: Path, tokenizer_dir: Path) -> None:
    export_hf(random_params(), CONFIG, tokenizer_dir, tmp_path / "hf")
    first = open_model(tmp_path / "hf")
    save_model(tmp_path / "ckpt", first.config, first.params, first.tokenizer_dir)
    second = open_model(tmp_path / "ckpt")
    assert second.config == first.config == CONFIG
    assert_bit_equal(first.params, second.params)
    export_hf(second.params, second.config, second.tokenizer_dir, tmp_path / "back")
    for file in (tmp_path / "hf").iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()


def test_an_earlier_checkpoint_is_replaced_and_nothing_else(tmp_path: Path, tokenizer_dir: Path) -> None:
    params = random_params(1)
    save_model(tmp_path / "ckpt", CONFIG, random_params(0), tokenizer_dir)
    save_model(tmp_path / "ckpt", CONFIG, params, tokenizer_dir)
    assert_bit_equal(open_model(tmp_path / "ckpt").params, params)
    with pytest.raises(CheckpointError, match=r"not overwritten.*tokenizer.json"):
        save_model(tokenizer_dir, CONFIG, params, tokenizer_dir)
    assert {entry.name for entry in tmp_path.iterdir()} == {"ckpt", "tokenizer"}


def test_no_model_says_what_was_looked_for_and_what_is_near(tmp_path: Path, tokenizer_dir: Path) -> None:
    save_model(tmp_path / "models" / "codellama", CONFIG, random_params(), tokenizer_dir)
    model = tmp_path / "models" / "codellama"
    for wrong in ("codelama", "codellama/params", "codellama/config.json", "."):
        with pytest.raises(CheckpointError, match=r"Looked for config.json with .* params/ .* checkpoints/") as caught:
            open_model(tmp_path / "models" / wrong)
        assert str(caught.value).endswith(f"did you mean {model}?")
    with pytest.raises(CheckpointError, match="fetch a model of the Hub first"):
        open_model("codellama/CodeLlama-7b-hf")
    with pytest.raises(CheckpointError, match="no model found"):
        open_model(tokenizer_dir)


def test_a_run_gives_its_newest_finished_checkpoint(tmp_path: Path, tokenizer_dir: Path) -> None:
    run, mesh = tmp_path / "run", make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text(json.dumps(CONFIG.to_hf()))
    copy_tokenizer(tokenizer_dir, run / "model")
    (run / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        open_model(run)

    checkpoints = Checkpoints(run / "checkpoints", keep=5)
    for step in (9, 10):
        params = random_params(step)
        placed = jax.device_put(params, param_shardings(params, mesh))
        checkpoints.save(step, init_state(placed, optax.adamw(1e-3), seed=0), Record({}, {}))
    checkpoints.close()
    (run / "checkpoints" / "11.orbax-checkpoint-tmp-0").mkdir()  # a run killed while it was writing

    model = open_model(run)
    assert (model.config, model.path) == (CONFIG, run)
    assert (model.tokenizer_dir / "tokenizer.json").is_file()
    assert_bit_equal(model.params, random_params(10))
    assert_bit_equal(open_model(run, mesh=make_mesh(MeshConfig(data=1, fsdp=8))).params, random_params(10))


def test_a_checkpoint_that_does_not_fit_its_config_is_refused(tmp_path: Path, tokenizer_dir: Path) -> None:
    save_model(tmp_path / "ckpt", CONFIG, random_params(), tokenizer_dir)
    file = tmp_path / "ckpt" / "config.json"
    config = json.loads(file.read_text())
    for change, message in (
        (
            {"vocab_size": 65},
            r"parameter embed.embedding has shape \[64, 32\], config.json makes it \[65, 32\]",
        ),
        ({"tie_word_embeddings": True}, "params: unexpected parameter lm_head"),
        ({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}, "missing parameter layers.k_bias"),
        ({"hidden_act": "gelu"}, r"config.json: hidden_act='gelu'"),
    ):
        file.write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError, match=message):
            open_model(tmp_path / "ckpt")


def test_a_newer_layout_is_not_guessed_at(tmp_path: Path, tokenizer_dir: Path) -> None:
    save_model(tmp_path / "ckpt", CONFIG, random_params(), tokenizer_dir)
    (tmp_path / "ckpt" / MARKER).write_text('{"kind": "checkpoint", "version": 2}')
    with pytest.raises(CheckpointError, match=r"tl_jax.json: .* version 2.* reads .* version 1"):
        open_model(tmp_path / "ckpt")
