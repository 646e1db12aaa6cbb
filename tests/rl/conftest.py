"""The tiny model and the data of the tests of training."""

from tests.training.conftest import data_file, graphdef, model_dir, params, sft_config

__all__ = ["data_file", "graphdef", "model_dir", "params", "sft_config"]
