"""What a run leaves behind, laid out to be understood a year later."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from tl_jax import __version__
from tl_jax.addresses import full_name
from tl_jax.config import RunConfig, to_yaml
from tl_jax.files import write_json, write_text
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import copy_tokenizer
from tl_jax.model.hf.peft import BASE, adapter_config
from tl_jax.model.hf.peft import CONFIG_FILE as ADAPTER_FILE
from tl_jax.model.run_directory import MODEL
from tl_jax.run_files import CONFIG_FILE, STARTS_FILE
from tl_jax.tooluse.text.template_choice import TemplateChoice

README = """\
A training run of tl-jax. Continue it, or use its newest or best checkpoint, by naming this directory:
    tl-jax sft --config config.yaml          (tl-jax rl for a reinforcement run)
    tl-jax generate --model DIRECTORY --input messages.json
    tl-jax export --from DIRECTORY --to HUGGING_FACE_DIRECTORY

config.yaml        every setting, defaults included, of the last start
environment.json   one entry for each start: versions, devices, git commit, command line
log.txt            what was printed
metrics.jsonl      one JSON object for each logged step
samples.jsonl      some sampled answers with their rewards, for a reinforcement run
tensorboard/       the same as curves: tensorboard --logdir tensorboard
model/             config, tokenizer and templates of the model that is trained; of adapters, what PEFT needs to know
eval_cases/        latest answers to the cases of a supervised run's evaluations, for tl-jax compare
held_out.json      trajectories that a reinforcement run is evaluated on, and not trained
before.json        what a reinforcement run's model was worth before training
lock.json          which process trains here, as long as one does
best.json          the step that this directory opens as, where checkpoint.best says by what to choose
checkpoints/N/     after N updates: state (Orbax), position in the data, configuration
damaged/N/         a checkpoint whose files were not whole, for you to look at or delete
"""
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")


def describe_run(
    directory: Path, config: RunConfig, model: LlamaConfig, tokenizer_dir: Path, base: str | None
) -> list[str]:
    """Writes everything that is known before the first step; an earlier start's environment stays on record.

    Args:
        directory: of the run.
        config: its settings.
        model: that is trained.
        tokenizer_dir: whose files go with it.
        base: `base_fingerprint` of the model below adapters; None = not known.

    Returns:
        What has to be told: that the record of earlier starts could not be read.
    """
    home, record = directory / MODEL, directory / STARTS_FILE
    write_text(directory / "README.txt", README)
    write_text(directory / CONFIG_FILE, to_yaml(config))
    starts = _earlier_starts(record)
    write_json(record, {"starts": [*(starts or ()), environment()]})
    choice = config.template.over(TemplateChoice.beside(tokenizer_dir))
    if tokenizer_dir.resolve() != home.resolve():
        write_json(home / "config.json", model.to_hf())
        copy_tokenizer(tokenizer_dir, home)
    if config.adapter:
        said = adapter_config(model, config.adapter, full_name(config.model.path))
        write_json(home / ADAPTER_FILE, said | {BASE: base})
    else:
        (home / ADAPTER_FILE).unlink(missing_ok=True)  # of an earlier start that saved nothing
    choice.write(home)
    return [f"warning: {record} could not be read and begins anew"] if starts is None else []


def _earlier_starts(record: Path) -> list[Any] | None:
    """What the record says of them; None where it is broken."""
    if not record.is_file():
        return []
    try:
        starts = json.loads(record.read_text(encoding="utf-8"))["starts"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return starts if isinstance(starts, list) else None


def environment() -> dict[str, Any]:
    """Versions, devices, commit of the current directory if it is a git checkout, command line, time."""
    devices = jax.devices()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "tl_jax": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "devices": {"kind": devices[0].device_kind, "count": len(devices), "processes": jax.process_count()},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    if shutil.which("git") is None:
        return None
    answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None if answer.returncode == 0 else None
