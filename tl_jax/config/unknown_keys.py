"""What may have been meant by an unknown key: one of another section, what other libraries call so, or the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from tl_jax.config.base import Node

MOST = 3
"""Keys of one name that are worth naming; of more, none is likely to be meant."""
NAMES_ELSEWHERE = {
    "adam_beta1": ("optimizer.b1", "actor.b1"),
    "adam_beta2": ("optimizer.b2", "actor.b2"),
    "base_model": ("model.path",),
    "beta": ("algorithm.kl_coef",),
    "bf16": ("model.dtype",),
    "checkpoint_every": ("checkpoint.every",),
    "cliprange": ("algorithm.clip_low", "algorithm.clip_high"),
    "cliprange_value": ("algorithm.value_clip",),
    "cutoff_len": ("data.max_length", "data.max_prompt_length"),
    "dataset": ("data.path",),
    "dataset_name": ("data.path",),
    "epsilon": ("algorithm.clip_low",),
    "epsilon_high": ("algorithm.clip_high",),
    "eval_steps": ("eval_every",),
    "fp16": ("model.dtype",),
    "gradient_accumulation_steps": ("accumulate", "algorithm.accumulate"),
    "gradient_checkpointing": ("model.remat",),
    "init_kl_coef": ("algorithm.kl_coef",),
    "learning_rate_scheduler": ("optimizer.schedule", "actor.schedule"),
    "logging_steps": ("log_every",),
    "lora_alpha": ("lora.alpha",),
    "lora_dropout": ("lora.dropout",),
    "lora_r": ("lora.rank",),
    "lora_rank": ("lora.rank",),
    "lora_target": ("lora.targets",),
    "lora_target_modules": ("lora.targets",),
    "lr": ("optimizer.learning_rate", "actor.learning_rate", "critic.learning_rate"),
    "lr_scheduler_type": ("optimizer.schedule", "actor.schedule"),
    "max_completion_length": ("sampling.max_new_tokens",),
    "max_grad_norm": ("optimizer.clip_norm", "actor.clip_norm"),
    "max_length": ("data.max_length", "data.max_prompt_length"),
    "max_prompt_length": ("data.max_prompt_length",),
    "max_seq_len": ("data.max_length", "data.max_prompt_length"),
    "max_seq_length": ("data.max_length", "data.max_prompt_length"),
    "max_steps": ("steps",),
    "max_tokens": ("sampling.max_new_tokens",),
    "micro_batch_size": ("accumulate", "algorithm.tokens_per_microbatch"),
    "model_name_or_path": ("model.path",),
    "num_epochs": ("epochs", "algorithm.epochs"),
    "num_generations": ("group_size",),
    "num_mini_batches": ("algorithm.minibatches",),
    "num_ppo_epochs": ("algorithm.epochs",),
    "num_train_epochs": ("epochs", "steps"),
    "optim": ("optimizer.name", "actor.name"),
    "optimizer": ("actor",),
    "output_dir": ("run_dir",),
    "packing": ("data.pack",),
    "per_device_train_batch_size": ("data.batch_size", "batch_size"),
    "r": ("lora.rank",),
    "resume_from_checkpoint": ("checkpoint.resume",),
    "response_length": ("sampling.max_new_tokens",),
    "save_every": ("checkpoint.every",),
    "save_steps": ("checkpoint.every",),
    "save_total_limit": ("checkpoint.keep",),
    "target_modules": ("lora.targets",),
    "tensor_parallel_size": ("mesh.tensor",),
    "torch_dtype": ("model.dtype",),
    "train_batch_size": ("data.batch_size", "batch_size"),
    "train_file": ("data.path",),
    "use_lora": ("lora.rank",),
    "vf_coef": ("algorithm.value_coef",),
}
"""What transformers, PEFT, TRL and others call a setting, and its keys here, of whichever configuration has them."""


def hint(kind: type[Node], path: Sequence[str]) -> str:
    """What to say of an unknown key of a configuration of ``kind``.

    Example:
        >>> from tl_jax.config import RlConfig
        >>> hint(RlConfig, ["lr"])
        "did you mean 'actor.learning_rate' or 'critic.learning_rate'?"
        >>> hint(RlConfig, ["actor", "learning_rat"])
        "did you mean 'actor.learning_rate'?"
        >>> hint(RlConfig, ["temprature"])
        "did you mean 'sampling.temperature'?"
    """
    *sections, name = path
    node: Any = kind
    for part in sections:
        node = _inner(node, part)
    near = difflib.get_close_matches(name, node.model_fields, 1)
    meant = _of_that_name(kind, name) or [".".join([*sections, one]) for one in near] or _nearly_named(kind, name)
    if meant:
        return f"did you mean {' or '.join(map(repr, meant))}?"
    return f"known here: {', '.join(node.model_fields)}"


def _of_that_name(kind: type[Node], name: str) -> list[str]:
    """Keys of other sections with this very name, or what others mean by it."""
    known = list(keys(kind))
    same = [key for key in known if key.rpartition(".")[2] == name]
    others = [key for key in NAMES_ELSEWHERE.get(name.lower(), ()) if key in known or key in kind.model_fields]
    found = same or others
    return found if len(found) <= MOST else []


def _nearly_named(kind: type[Node], name: str) -> list[str]:
    by_name = {key.rpartition(".")[2]: key for key in keys(kind)}
    return [by_name[one] for one in difflib.get_close_matches(name, by_name, 1, cutoff=0.8)]


def keys(kind: type[Node], sections: tuple[str, ...] = ()) -> Iterator[str]:
    """All settings, as ``section.key``."""
    for name in kind.model_fields:
        inner = _inner(kind, name)
        if isinstance(inner, type) and issubclass(inner, Node):
            yield from keys(inner, (*sections, name))
        else:
            yield ".".join((*sections, name))


def _inner(kind: Any, part: str) -> Any:
    """What a part of a path leads to: a section, also where there may be none, or one of many by their names."""
    if get_origin(kind) is dict:
        return get_args(kind)[-1]
    kind = kind.model_fields[part].annotation
    sections = (one for one in get_args(kind) if isinstance(one, type) and issubclass(one, Node))
    return kind if get_origin(kind) is dict else next(sections, kind)
