"""Commands about weights: random ones, and their two formats."""

from __future__ import annotations

from pathlib import Path

import click

from tl_jax.addresses import shown
from tl_jax.cli.names import DTYPE
from tl_jax.cli.numbers import number_of
from tl_jax.cli.options import base_option, verify_option
from tl_jax.cli.paths import OUT, ExistingPath, ModelDirectory
from tl_jax.config import Dtype, RunConfig
from tl_jax.terminal import say


@click.command()
@click.option("--preset", required=True, help="tiny, codellama-7b, ...; --preset list shows them all.")
@click.option("--tokenizer", type=ExistingPath(), help="Tokenizer directory, or a SentencePiece .model file.")
@click.option("--out", type=OUT, help="Hugging Face directory to write.")
@click.option("--seed", default=0, show_default=True, type=number_of(RunConfig, "seed"))
@click.option("--dtype", type=DTYPE, default="float32", show_default=True)
def init_model(preset: str, tokenizer: Path | None, out: Path | None, seed: int, dtype: Dtype) -> None:
    """Write a model with random weights in Hugging Face format, to try things without a download."""
    from tl_jax.data.tokenizer_file import load_tokenizer
    from tl_jax.model import random_model
    from tl_jax.model.presets import PRESETS

    if preset == "list":
        for name, known in PRESETS.items():
            say(f"{name:24} {known.config.num_layers} layers, width {known.config.hidden_size}")
        return
    if tokenizer is None or out is None:
        raise click.UsageError("--tokenizer and --out are needed")
    config = random_model.init_model(preset, load_tokenizer(tokenizer), out, seed=seed, dtype=dtype)
    say(f"{out}: {preset}, vocabulary {config.vocab_size}, random weights (seed {seed}, {dtype})")


@click.command()
@click.option("--from", "source", type=ModelDirectory(), required=True, help="Hugging Face directory.")
@click.option("--to", "target", type=OUT, required=True, help="Checkpoint directory to write.")
@click.option("--dtype", type=DTYPE, default="float32", show_default=True)
@verify_option
def convert(source: Path, target: Path, dtype: Dtype, verify: bool) -> None:
    """Turn a Hugging Face checkpoint (safetensors, one file or sharded) into an Orbax one."""
    from tl_jax.model.store import save_model, stored_model

    model = stored_model(source, param_dtype=dtype, verify=verify)
    save_model(target, model.config, model.params, model.tokenizer_dir)
    say(f"{target}: {model.size:,} parameters from {source}")


@click.command()
@click.option(
    "--from",
    "source",
    type=ModelDirectory(),
    required=True,
    help="Checkpoint, run, HF or PEFT directory; at gs:// too.",
)
@click.option("--to", "target", type=OUT, required=True, help="Directory to write.")
@click.option("--dtype", type=DTYPE, help="Default: as stored.")
@click.option("--overwrite", is_flag=True, help="Replace the model in the directory, whoever wrote it.")
@click.option("--adapter", "unmerged", is_flag=True, help="Write a PEFT directory with the adapter alone.")
@base_option
@verify_option
def export(
    source: Path,
    target: Path,
    dtype: Dtype | None,
    overwrite: bool,
    unmerged: bool,
    base: Path | None,
    verify: bool,
) -> None:
    """Write a Hugging Face checkpoint with config, tokenizer, chat template and generation config.

    An adapter is merged into the model below it, unless it is to be written by itself.
    """
    from tl_jax.model.hf import export_hf
    from tl_jax.model.hf.peft import export_adapter
    from tl_jax.model.store import open_adapter, stored_model

    if unmerged:
        if dtype is not None:
            raise click.UsageError("--adapter writes float32; leave --dtype out")
        adapter = open_adapter(source, base, verify)
        export_adapter(adapter, target, overwrite)
        say(f"{target}: {adapter.size:,} parameters; peft loads them on {shown(adapter.base)}")
        return
    model = stored_model(source, verify=verify, base=base)
    export_hf(model.params, model.config, model.tokenizer_dir, target, dtype=dtype, overwrite=overwrite)
    say(f"{target}: {model.size:,} parameters; transformers loads it as it is")


COMMANDS = (init_model, convert, export)
