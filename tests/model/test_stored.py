"""A model on disk is written elsewhere one parameter at a time, and is the same as one that was in memory."""

from __future__ import annotations

import json
import re
import resource
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.model.test_store import CONFIG, assert_bit_equal, random_params, tokenizer_dir  # noqa: F401  (a fixture)
from tl_jax.config import LoraConfig, MeshConfig
from tl_jax.errors import UserError
from tl_jax.model import orbax_params
from tl_jax.model import stored as stored_module
from tl_jax.model.directory import CheckpointError, copy_tokenizer
from tl_jax.model.fingerprint import fingerprint
from tl_jax.model.finite import finite
from tl_jax.model.hf import export_hf, load_hf
from tl_jax.model.hf.new_file import NewTensorFile
from tl_jax.model.hf.peft import LoadedAdapter, export_adapter
from tl_jax.model.lora import abstract_adapters
from tl_jax.model.parameters import Params, init_params, llama_parameters
from tl_jax.model.sharding import make_mesh, param_shardings
from tl_jax.model.store import open_model, save_model, stored_model
from tl_jax.model.stored import StoredArray
from tl_jax.training.checkpoint import Checkpoints, Record
from tl_jax.training.state import init_state

LORA = LoraConfig(rank=2, alpha=4, targets=("q_proj", "down_proj"))


class OneAtATime:
    """A tree of arrays as a tree of `StoredArray`, where no layer is read while another one, or anything else, is in
    memory."""

    def __init__(self, params: Params) -> None:
        self.read: list[tuple[str, int, int]] = []
        self._alive: Callable[[], Any] = lambda: None
        leaves = flatten_dict(params, sep=".")
        self.params = unflatten_dict(
            {
                name: StoredArray(leaf.shape, leaf.dtype, self._loader(name, leaf), rows(name, leaf))
                for name, leaf in leaves.items()
            },
            sep=".",
        )

    def _loader(self, name: str, leaf: jax.Array) -> Callable[[int, int], np.ndarray]:
        def load(first: int, last: int) -> np.ndarray:
            assert self._alive() is None, f"{self.read[-1]} is in memory while {name} is read"
            array = np.array(leaf[first:last])
            self._alive = weakref.ref(array)
            self.read.append((name, first, last))
            return array

        return load


def rows(name: str, leaf: jax.Array) -> int:
    """How much of a parameter is to be in memory at a time: a layer of those in layers."""
    return 1 if name.startswith("layers.") else len(leaf)


def sources(home: Path, tokenizer: Path) -> Iterator[Path]:
    """The same model in every form that it is kept in, with bfloat16 parameters."""
    params = random_params(5, jnp.bfloat16)
    export_hf(params, CONFIG, tokenizer, home / "hf", max_shard_bytes=9000)
    save_model(home / "checkpoint", CONFIG, params, tokenizer)
    (home / "run" / "model").mkdir(parents=True)
    (home / "run" / "model" / "config.json").write_text(json.dumps(CONFIG.to_hf()))
    copy_tokenizer(tokenizer, home / "run" / "model")
    checkpoints = Checkpoints(home / "run" / "checkpoints", keep=1)
    placed = jax.device_put(params, param_shardings(params, make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))))
    checkpoints.save(3, init_state(placed, optax.sgd(1e-3), seed=0), Record({}, {}))
    checkpoints.close()
    yield from (home / "hf", home / "checkpoint", home / "run")
    rng = np.random.default_rng(1)
    adapters = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("f"), abstract_adapters(CONFIG, LORA))
    export_adapter(LoadedAdapter(LORA, adapters, CONFIG, home / "checkpoint", tokenizer), home / "peft")
    yield home / "peft"


def test_what_is_left_on_disk_is_what_would_be_loaded(tmp_path: Path, tokenizer_dir: Path) -> None:  # noqa: F811
    for source in sources(tmp_path, tokenizer_dir):
        left, loaded = stored_model(source), open_model(source, param_dtype=None)
        assert (left.config, left.size, left.tokenizer_dir) == (loaded.config, loaded.size, loaded.tokenizer_dir)
        wide, layers = stored_model(source, param_dtype="float32"), loaded.params["layers"]
        for name in ("q", "up"):  # of which only q is adapted
            assert_bit_equal({"": left.params["layers"][name]}, {"": layers[name]})
        assert_bit_equal({"": wide.params["layers"]["up"]}, {"": layers["up"].astype(jnp.float32)})


def test_a_layer_can_be_read_by_itself(
    tmp_path: Path,
    tokenizer_dir: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In whatever form a model is kept, on however many devices it was: nothing else is read for it."""
    monkeypatch.setattr(orbax_params, "CHUNK_BYTES", 256)
    for source in sources(tmp_path, tokenizer_dir):
        up = stored_model(source).params["layers"]["up"]
        assert up.rows == 1, source
        assert [(first, len(part)) for first, part in up.parts()] == [(layer, 1) for layer in range(len(up))]
        whole = up.load()
        for first, part in up.parts():
            np.testing.assert_array_equal(part[0], whole[first])


def test_one_layer_is_in_memory_at_a_time(
    tmp_path: Path,
    tokenizer_dir: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orbax_params, "CHUNK_BYTES", 256)  # norms are written whole, all else by layers
    params = random_params()
    leaves = flatten_dict(params, sep=".")
    by_layers = {
        (name, first, first + rows(name, leaf))
        for name, leaf in leaves.items()
        for first in range(0, len(leaf), rows(name, leaf))
    }
    assert fingerprint(OneAtATime(params).params) == fingerprint(params)
    small = {name for name, leaf in leaves.items() if name.startswith("layers.") and leaf.ndim == 2}
    for write, read in (
        (lambda tree, out: save_model(out, CONFIG, tree, tokenizer_dir), lambda out: open_model(out).params),
        (lambda tree, out: export_hf(tree, CONFIG, tokenizer_dir, out), lambda out: load_hf(out)[1]),
    ):
        watched = OneAtATime(params)
        write(finite(watched.params, llama_parameters(CONFIG), tmp_path), tmp_path / "out")
        assert {part for part in watched.read if part[0] not in small} == {
            part for part in by_layers if part[0] not in small
        }
        assert {part[0] for part in watched.read} == leaves.keys()
        assert_bit_equal(read(tmp_path / "out"), params)
        shutil.rmtree(tmp_path / "out")


def test_weights_that_are_no_numbers_leave_nothing(tmp_path: Path, tokenizer_dir: Path) -> None:  # noqa: F811
    export_hf(random_params(), CONFIG, tokenizer_dir, tmp_path / "hf")
    file = tmp_path / "hf" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    save_file(tensors, file, metadata={"format": "pt"})
    message = r"hf: model\.layers\.1\.mlp\.up_proj\.weight holds NaN or infinity"
    before = sorted(tmp_path.iterdir())
    for write in (save_model, lambda out, config, params, home: export_hf(params, config, home, out)):
        model = stored_model(tmp_path / "hf")
        with pytest.raises(CheckpointError, match=message):
            write(tmp_path / "out", model.config, model.params, model.tokenizer_dir)
    assert sorted(tmp_path.iterdir()) == before
    model = stored_model(tmp_path / "hf", verify=False)
    save_model(tmp_path / "out", model.config, model.params, model.tokenizer_dir)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path, tokenizer_dir: Path) -> None:  # noqa: F811
    export_hf(random_params(), CONFIG, tokenizer_dir, tmp_path / "hf")
    model = stored_model(tmp_path / "hf")
    for out, write in (
        (tmp_path / "hf2", lambda out: export_hf(model.params, model.config, model.tokenizer_dir, out)),
        (tmp_path / "checkpoint", lambda out: save_model(out, model.config, model.params, model.tokenizer_dir)),
    ):
        write(out)
        before = sorted(tmp_path.rglob("*"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))  # what a full disk does, without filling one
        try:
            with pytest.raises(UserError) as told:
                write(out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert str(told.value) == f"{out}: cannot be written: File too large"
        assert sorted(tmp_path.rglob("*")) == before


def test_pieces_have_the_fingerprint_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(7, 3, 5)).astype("f")
    expected = fingerprint({"a": jnp.asarray(array)}, jnp.bfloat16)
    for rows, piece in ((7, 1), (7, 40), (7, 10**6), (2, 15)):
        monkeypatch.setattr(stored_module, "_PIECE", piece)
        left = StoredArray(array.shape, array.dtype, lambda first, last: array[first:last].copy(), rows)
        assert fingerprint({"a": left}, jnp.bfloat16) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_file_is_written_in_any_order(dtype: str, tmp_path: Path) -> None:
    """Read by the library that the format is from."""
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=size).astype(jnp.dtype(dtype)) for name, size in (("b", (2, 3)), ("a.ä", 5))}
    tensors["empty"] = np.zeros((0, 4), jnp.dtype(dtype))
    with NewTensorFile(tmp_path / "x", {name: t.shape for name, t in tensors.items()}, jnp.dtype(dtype)) as file:
        for name in reversed(tensors):
            file.write(name, tensors[name].astype("f") if name == "b" else tensors[name])
    read = load_file(tmp_path / "x")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        np.testing.assert_array_equal(read[name], tensor)
    with safe_open(tmp_path / "x", framework="np") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of this process's memory is not told")
def test_memory_grows_by_layers_and_not_by_parameters(
    tmp_path: Path,
    tokenizer_dir: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of the process, with all that the libraries below take."""
    monkeypatch.setattr(orbax_params, "CHUNK_BYTES", 2**20)
    shape = {"hidden_size": 256, "intermediate_size": 1024, "num_heads": 32, "num_kv_heads": 32, "head_dim": 32}
    config = replace(CONFIG, num_layers=20, **shape)  # seven matrices of 20 MiB, in layers of 1
    export_hf(init_params(config, jax.random.key(0)), config, tokenizer_dir, tmp_path / "hf")

    def convert_and_export() -> None:
        model = stored_model(tmp_path / "hf")
        save_model(tmp_path / "checkpoint", model.config, model.params, model.tokenizer_dir)
        model = stored_model(tmp_path / "checkpoint")
        export_hf(model.params, model.config, model.tokenizer_dir, tmp_path / "back")

    def memory(line: str) -> float:
        """MiB that ``/proc`` tells of this process."""
        return int(re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

    convert_and_export()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = memory("VmRSS")
    convert_and_export()
    assert memory("VmHWM") - before < 20
