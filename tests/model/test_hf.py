"""Against transformers: what it writes we read, what we write it reads, and the numbers stay what they are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax.traverse_util import flatten_dict
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.model.tiny import BY_FAMILY, SIZES, VARIANTS, forward, hf_logits, hf_model, unpacked
from tl_jax.config import MeshConfig
from tl_jax.errors import UserError
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import MARKER, CheckpointError
from tl_jax.model.hf import export_hf, load_hf
from tl_jax.model.hf.tensors import INDEX_FILE, SINGLE_FILE
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import make_mesh, param_shardings
from tl_jax.tooluse.text.template_choice import TemplateChoice


def our_logits(config: LlamaConfig, params: Params, tokens: np.ndarray) -> np.ndarray:
    return np.asarray(forward(make_graphdef(config, dtype=jnp.float32), params, *unpacked(tokens)))


def tensors_of(directory: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in directory.glob("*.safetensors") for name, tensor in load_file(file).items()}


def edit(directory: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Replaces, adds or (None) removes tensors of a one-file checkpoint."""
    tensors = load_file(directory / SINGLE_FILE) | change
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, directory / SINGLE_FILE, metadata={"format": "pt"})


def write_tokenizer(directory: Path, **settings: Any) -> transformers.PreTrainedTokenizerBase:
    words = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *"abcdefgh"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", **settings
    )
    tokenizer.save_pretrained(directory)
    return tokenizer


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, SIZES["vocab_size"], (3, 40), dtype=np.int32)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    hf_model("llama").save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


@pytest.mark.parametrize("kind", VARIANTS)
def test_logits_equal_transformers_before_and_after_export(kind: str, tmp_path: Path, tokens: np.ndarray) -> None:
    model = hf_model(kind)
    model.save_pretrained(tmp_path / "hf")
    expected = hf_logits(model, tokens)

    config, params = load_hf(tmp_path / "hf")
    assert np.abs(our_logits(config, params, tokens) - expected).max() < 1e-4

    export_hf(params, config, tmp_path / "hf", tmp_path / "out")
    loaded, problems = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(problems.values())
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(hf_logits(loaded.eval(), tokens), expected)


@pytest.mark.parametrize("kind", BY_FAMILY)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shards", [False, True])
def test_load_then_export_is_bit_equal(kind: str, dtype: str, shards: bool, tmp_path: Path) -> None:
    model = hf_model(kind).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "hf", max_shard_size="9KB" if shards else "1GB")
    assert (tmp_path / "hf" / INDEX_FILE).exists() == shards
    stored = tensors_of(tmp_path / "hf")

    widened = load_hf(tmp_path / "hf")  # float32 holds either dtype exactly
    as_stored = load_hf(tmp_path / "hf", param_dtype=None)
    for (config, params), asked in ((widened, dtype), (as_stored, None)):
        export_hf(params, config, tmp_path / "hf", tmp_path / "out", asked, max_shard_bytes=9000 if shards else 10**9)
        assert (tmp_path / "out" / INDEX_FILE).exists() == shards
        exported = tensors_of(tmp_path / "out")
        assert exported.keys() == stored.keys()
        for name, tensor in stored.items():
            assert exported[name].dtype == tensor.dtype
            assert torch.equal(exported[name], tensor), name


def test_exported_shards_and_index(checkpoint: Path, tmp_path: Path, tokens: np.ndarray) -> None:
    config, params = load_hf(checkpoint)
    export_hf(params, config, checkpoint, tmp_path / "out", max_shard_bytes=9000)
    index = json.loads((tmp_path / "out" / INDEX_FILE).read_text())
    files = sorted(tmp_path.glob("out/*.safetensors"))
    assert len(files) > 2
    assert {file.name for file in files} == set(index["weight_map"].values())
    for file in files:
        inside = load_file(file)
        assert len(inside) == 1 or sum(tensor.nbytes for tensor in inside.values()) <= 9000
        assert all(index["weight_map"][name] == file.name for name in inside)
        assert file.stat().st_mode == (tmp_path / "out" / "config.json").stat().st_mode  # as the umask says
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors_of(tmp_path / "out").values())
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    np.testing.assert_array_equal(hf_logits(loaded.eval(), tokens), hf_logits(hf_model("llama"), tokens))


def test_mesh_places_every_parameter_by_the_sharding_table(checkpoint: Path) -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    _, expected = load_hf(checkpoint)
    _, params = load_hf(checkpoint, mesh=mesh)
    flat, shardings = flatten_dict(params), flatten_dict(param_shardings(params, mesh))
    for path, leaf in flatten_dict(expected).items():
        assert flat[path].sharding == shardings[path]
        np.testing.assert_array_equal(np.asarray(flat[path]), np.asarray(leaf))
    assert any(not leaf.is_fully_replicated for leaf in flat.values())


def test_sharded_parameters_export_like_whole_ones(checkpoint: Path, tmp_path: Path) -> None:
    config, params = load_hf(checkpoint, mesh=make_mesh(MeshConfig(data=1, fsdp=4, tensor=2)))
    export_hf(params, config, checkpoint, tmp_path / "out")
    for name, tensor in tensors_of(checkpoint).items():
        assert torch.equal(tensors_of(tmp_path / "out")[name], tensor), name


K_PROJ = "model.layers.1.self_attn.k_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({K_PROJ: None}, f"missing tensor {K_PROJ}"),
        ({"lm_head.weight": None}, "missing tensor lm_head.weight"),
        ({K_PROJ.replace("1", "2"): torch.zeros(2)}, "unexpected tensor model.layers.2.self_attn.k_proj.weight"),
        ({K_PROJ.replace("weight", "bias"): torch.zeros(24)}, "unexpected tensor .*k_proj.bias"),
        ({K_PROJ: torch.zeros(32, 24)}, rf"{K_PROJ} has shape \[32, 24\], config.json makes it \[24, 32\]"),
        ({K_PROJ: torch.zeros(24, 32, dtype=torch.int8)}, f"{K_PROJ} has dtype I8"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(checkpoint: Path, change: dict[str, Any], message: str) -> None:
    edit(checkpoint, change)
    with pytest.raises(CheckpointError, match=message):
        load_hf(checkpoint)


def test_a_billion_layers_cost_nothing(checkpoint: Path) -> None:
    """Neither the time nor the memory that listing their tensors would take; the first that lack are named."""
    config = json.loads((checkpoint / "config.json").read_text())
    for changed in ({"num_hidden_layers": 10**9}, {"vocab_size": 2**31 - 1, "hidden_size": 2**31 - 4}):
        (checkpoint / "config.json").write_text(json.dumps({**config, **changed}))
        start = time.process_time()
        with pytest.raises(CheckpointError, match=r"missing tensor model\.layers\.2\..* and more|has shape"):
            load_hf(checkpoint)
        assert time.process_time() - start < 5


def test_derived_buffers_are_ignored(checkpoint: Path) -> None:
    edit(checkpoint, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    load_hf(checkpoint)


@pytest.mark.parametrize("kind", [name for name in BY_FAMILY if name.endswith("tied")])
def test_a_tied_head_may_be_stored_twice_but_not_differ(kind: str, tmp_path: Path) -> None:
    """As the released Qwen3-0.6B and 1.7B store it."""
    hf_model(kind).save_pretrained(tmp_path)
    embedding = load_file(tmp_path / SINGLE_FILE)["model.embed_tokens.weight"]
    edit(tmp_path, {"lm_head.weight": embedding.clone()})
    _, params = load_hf(tmp_path)
    assert "lm_head" not in params
    edit(tmp_path, {"lm_head.weight": embedding + 1})
    with pytest.raises(CheckpointError, match=r"lm_head.weight differs .* tie_word_embeddings"):
        load_hf(tmp_path)


def test_pickled_weights_are_refused(checkpoint: Path) -> None:
    torch.save(load_file(checkpoint / SINGLE_FILE), checkpoint / "pytorch_model.bin")
    (checkpoint / SINGLE_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin: pickled weights .* convert to safetensors"):
        load_hf(checkpoint)


def test_broken_files_are_named(checkpoint: Path, tmp_path: Path) -> None:
    whole = (checkpoint / SINGLE_FILE).read_bytes()
    (checkpoint / SINGLE_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model.safetensors: cannot be read"):
        load_hf(checkpoint)
    (checkpoint / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside the directory"):
        load_hf(checkpoint)
    (checkpoint / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"model-00001-of-00002.safetensors: cannot be read"):
        load_hf(checkpoint)
    (checkpoint / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "\ud800"}}))
    with pytest.raises(CheckpointError, match=r"index.json: not valid JSON: half of a surrogate pair"):
        load_hf(checkpoint)
    for name in ("", "..", "a\0b", "x" * 5000):
        (checkpoint / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
            load_hf(checkpoint)
    (checkpoint / "config.json").write_text('{"model_type": ')
    with pytest.raises(CheckpointError, match=r"config.json: not valid JSON"):
        load_hf(checkpoint)
    with pytest.raises(CheckpointError, match=r"nowhere/config.json: cannot be read"):
        load_hf(tmp_path / "nowhere")


def test_parameters_that_have_no_place_are_not_dropped(checkpoint: Path, tmp_path: Path) -> None:
    config, params = load_hf(checkpoint)
    with pytest.raises(CheckpointError, match="value_head"):
        export_hf(params | {"value_head": jnp.zeros(32)}, config, checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_carries_tokenizer_and_stop_tokens(checkpoint: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    config, params = load_hf(checkpoint)
    export_hf(params, config, tmp_path / "tokenizer", tmp_path / "out", "bfloat16")
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    assert (generation.bos_token_id, generation.eos_token_id) == (1, 2)
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("a b </s>")["input_ids"] == [3, 4, 2]

    # the paper's template, for a tokenizer that has none
    messages = [{"role": "System", "content": "s"}, {"role": "User", "content": "u"}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == "System: s\nUser: u\nAssistant:"
    answered = [*messages, {"role": "Assistant", "content": "f()"}]
    assert tokenizer.apply_chat_template(answered, tokenize=False) == "System: s\nUser: u\nAssistant: f()</s>"


def test_export_keeps_an_own_chat_template(checkpoint: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer", chat_template="{{ messages[0]['content'] }}!")
    config, params = load_hf(checkpoint)
    export_hf(params, config, tmp_path / "tokenizer", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False) == "hello!"


def test_export_keeps_a_template_inside_the_tokenizer_config(checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "tokenizer"
    write_tokenizer(source)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "own"}))
    config, params = load_hf(checkpoint)
    export_hf(params, config, source, tmp_path / "out")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == "own"


def test_export_keeps_templates_by_name_and_what_they_are_told(checkpoint: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "tokenizer", tmp_path / "out"
    templates = {"default": "plain", "tool_use": "tools", "rag": "{{ documents }}"}
    write_tokenizer(source, chat_template=templates)
    TemplateChoice("rag", {"thinking": False}).write(source)
    config, params = load_hf(checkpoint)
    for _ in range(2):  # an export may be overwritten
        export_hf(params, config, source, out)
    assert transformers.AutoTokenizer.from_pretrained(out).chat_template == templates
    assert (out / "additional_chat_templates" / "tool_use.jinja").read_text() == "tools"
    assert TemplateChoice.beside(out) == TemplateChoice("rag", {"thinking": False})
    named_only = tmp_path / "named"
    write_tokenizer(named_only, chat_template={"tool_use": "tools"})
    export_hf(params, config, named_only, tmp_path / "out2")
    assert not (tmp_path / "out2" / "chat_template.jinja").exists()


def test_only_an_earlier_export_is_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    config, params = load_hf(checkpoint)
    out = tmp_path / "out"
    out.mkdir()
    export_hf(params, config, checkpoint, out, max_shard_bytes=9000)
    export_hf(params, config, checkpoint, out)  # replaces shards and index by one file
    assert [file.name for file in out.glob("*.safetensors*")] == [SINGLE_FILE]

    (out / "README.md").write_text("mine")
    with pytest.raises(CheckpointError, match=r"not overwritten.*README.md"):
        export_hf(params, config, checkpoint, out)
    with pytest.raises(CheckpointError, match="not overwritten"):
        export_hf(params, config, checkpoint, checkpoint)  # written by somebody else
    assert (out / "README.md").read_text() == "mine"
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(CheckpointError, match=r"more than a model \(thesis.tex\)"):
        export_hf(params, config, checkpoint, out, overwrite=True)
    (out / "thesis.tex").unlink()
    export_hf(params, config, checkpoint, out, overwrite=True)
    assert not (out / "README.md").exists()
    with pytest.raises(CheckpointError, match="is a file"):
        export_hf(params, config, checkpoint, out / "config.json")


def test_an_export_erases_neither_a_project_nor_where_it_is_run_nor_its_source(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, params = load_hf(checkpoint)
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"more than a model \(src\)"):
        export_hf(params, config, checkpoint, project, overwrite=True)
    with pytest.raises(CheckpointError, match="something else than a model"):
        export_hf(params, config, checkpoint, checkpoint.parent, overwrite=True)
    with pytest.raises(UserError, match=r"would be erased, and .* is in it"):
        export_hf(params, config, checkpoint, checkpoint, overwrite=True)
    out = tmp_path / "out"
    export_hf(params, config, checkpoint, out)
    monkeypatch.chdir(out)
    with pytest.raises(UserError, match="would be erased, and the working directory is in it"):
        export_hf(params, config, checkpoint, Path("."), overwrite=True)
    assert (project / "src").is_dir()
    assert load_hf(out)[0] == load_hf(checkpoint)[0] == config


def test_a_failed_export_leaves_everything_as_it_was(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, params = load_hf(checkpoint)
    export_hf(params, config, checkpoint, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("tl_jax.model.hf.write.copy_tokenizer", full_disk)
    changed = jax.tree.map(lambda x: x + 1, params)
    with pytest.raises(UserError, match="cannot be written: no space"):
        export_hf(changed, config, checkpoint, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert MARKER in before
    assert {entry.name for entry in tmp_path.iterdir()} == {"hf", "out"}
