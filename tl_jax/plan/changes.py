"""What could be changed so that a configuration fits: the cheapest change first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from jax.sharding import Mesh
from pydantic import ValidationError

from tl_jax.config import Node, RlConfig, RunConfig, SftConfig
from tl_jax.config.base import ConfigError
from tl_jax.model.remat import LEVELS
from tl_jax.model.sharding import batch_devices
from tl_jax.plan.programs import LEARNING, SCORING
from tl_jax.plan.sampling import ADMITTING, READING, SAMPLING
from tl_jax.registry import Registry
from tl_jax.rl.train import check_batch_size as check_rollout
from tl_jax.training.sft import check_batch_size

Settings = Mapping[str, Any]
"""Dotted keys and their values."""
Config = TypeVar("Config", bound=Node)


@dataclass(frozen=True)
class Change:
    """A way to need less memory."""

    name: str
    costs: str
    """what it costs, in words"""
    propose: Callable[[RunConfig, Mesh, str], Settings | None]
    """``(config, mesh, program) -> settings``, one step further each time; None where nothing is left of it, or where
    it does not help that program"""

    def next(self, config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
        """What is proposed, if training takes it."""
        new = self.propose(config, mesh, program)
        return new if new and _allowed(with_settings(config, new), mesh) else None


def _remat(config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
    if config.model.remat == "block" or program not in LEARNING:
        return None
    return {"model.remat": LEVELS[LEVELS.index(config.model.remat) + 1]}


def _accumulate(config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
    if program not in (*LEARNING, SCORING):
        return None
    if isinstance(config, SftConfig):
        return {"accumulate": 2 * config.accumulate}
    assert isinstance(config, RlConfig)
    tokens = config.algorithm.tokens_per_microbatch
    if tokens is not None:
        return {"algorithm.tokens_per_microbatch": tokens // 2} if tokens >= 256 else None
    return {"algorithm.accumulate": 2 * config.algorithm.accumulate}


def _sampled_at_once(config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
    if program not in (READING, ADMITTING, SAMPLING) or not isinstance(config, RlConfig):
        return None
    at_once = config.sampling.batch_size or config.batch_size * config.group_size
    if at_once == "auto":
        return None  # it is as much as fits
    return {"sampling.batch_size": at_once // 2} if at_once // 2 >= batch_devices(mesh) else None


def _rows(config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
    return {"data.batch_size": config.data.batch_size // 2} if isinstance(config, SftConfig) else None


def _lora(config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
    return {"lora.rank": 16} if config.lora.rank is None else None


def _shared_critic(config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
    if isinstance(config, RlConfig) and config.algorithm.has_critic and config.algorithm.critic_backbone != "shared":
        return {"algorithm.critic_backbone": "shared"}
    return None


def _tensor(config: RunConfig, mesh: Mesh, program: str) -> Settings | None:
    tensor, fsdp = 2 * mesh.shape["tensor"], mesh.shape["fsdp"] // 2
    return {"mesh.tensor": tensor, "mesh.fsdp": fsdp} if fsdp and mesh.shape["fsdp"] % 2 == 0 and tensor <= 8 else None


CHANGES: Registry[Change] = Registry(
    "change",
    [
        Change("remat", "up to a third more arithmetic", _remat),
        Change("accumulate", "nothing but smaller products: the update is the same", _accumulate),
        Change("sampling", "more decoding loops in turn: the samples are the same", _sampled_at_once),
        Change("rows", "another batch size, so another training", _rows),
        Change("lora", "adapters learn, not all parameters: another training", _lora),
        Change("shared critic", "one backbone learns both, another algorithm", _shared_critic),
        Change("tensor", "messages in every layer", _tensor),
    ],
    columns={
        "change": lambda change: change.name,
        "it costs": lambda change: change.costs,
    },
)
"""In the order in which they are tried."""


def with_settings(config: Config, settings: Settings) -> Config:
    """A copy with other values, which are taken as they are.

    Example:
        >>> from tl_jax.config import MeshConfig, ModelConfig
        >>> with_settings(ModelConfig(path="m"), {"remat": "dots"}).remat
        'dots'
    """
    for key, value in settings.items():
        section, _, rest = key.partition(".")
        config = config.model_copy(
            update={section: with_settings(getattr(config, section), {rest: value}) if rest else value}
        )
    return config


def _allowed(config: RunConfig, mesh: Mesh) -> bool:
    """Whether training takes these settings on this mesh."""
    try:
        type(config).model_validate(config.model_dump(mode="json"))
        check(config, mesh)
    except (ConfigError, ValidationError):
        return False
    return True


def check(config: RunConfig, mesh: Mesh) -> None:
    """Nothing, if rows divide over the mesh as training wants them to.

    Raises:
        ConfigError: they do not.
    """
    if isinstance(config, SftConfig):
        check_batch_size(config, mesh)
    if isinstance(config, RlConfig):
        check_rollout(config, mesh)
