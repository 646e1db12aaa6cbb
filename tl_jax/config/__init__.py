"""One typed tree of settings for every command."""

from tl_jax.config.annotate import annotated_yaml
from tl_jax.config.base import AnyPath, Choice, ConfigError, Node
from tl_jax.config.changes import changed_keys
from tl_jax.config.data import DataConfig, FormatName, MaeConfig, PktConfig
from tl_jax.config.load import load_config, to_yaml
from tl_jax.config.lora import LoraConfig
from tl_jax.config.model import Dtype, MeshConfig, ModelConfig
from tl_jax.config.rl import AlgorithmConfig, Limit, RlConfig, RlDataConfig
from tl_jax.config.run import CheckpointConfig, OptimizerConfig, RunConfig
from tl_jax.config.sampling import SamplingConfig
from tl_jax.config.sft import SftConfig
from tl_jax.config.world import WorldConfig

__all__ = [
    "AlgorithmConfig",
    "AnyPath",
    "CheckpointConfig",
    "Choice",
    "ConfigError",
    "DataConfig",
    "Dtype",
    "FormatName",
    "Limit",
    "LoraConfig",
    "MaeConfig",
    "MeshConfig",
    "ModelConfig",
    "Node",
    "OptimizerConfig",
    "PktConfig",
    "RlConfig",
    "RlDataConfig",
    "RunConfig",
    "SamplingConfig",
    "SftConfig",
    "WorldConfig",
    "annotated_yaml",
    "changed_keys",
    "load_config",
    "to_yaml",
]
