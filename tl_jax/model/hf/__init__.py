"""Hugging Face directories: safetensors in, safetensors out, by names and axes of the parameters' records."""

from tl_jax.model.hf.read import load_hf, read_config, stored_hf, to_devices
from tl_jax.model.hf.tensors import HfTensor, hf_tensors
from tl_jax.model.hf.write import export_hf, write_hf

__all__ = ["HfTensor", "export_hf", "hf_tensors", "load_hf", "read_config", "stored_hf", "to_devices", "write_hf"]
