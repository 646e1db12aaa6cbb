"""Writes safetensors files a tensor at a time, in any order: a file need not be in memory to be written.

The format is that of https://github.com/huggingface/safetensors#format: the length of the header as 8 bytes, the header
as JSON, which says where each tensor is, and the tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from tl_jax.model.hf.tensors import DTYPES

_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
_ALIGNED = 8
"""The tensors begin at a multiple of so many bytes."""


class NewTensorFile:
    """A safetensors file that is being written, as a context manager."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype) -> None:
        """Writes the header.

        Args:
            path: of the file.
            shapes: of all tensors by name, as they follow each other in the file.
            dtype: of all of them.
        """
        self._dtype, self._shapes, self._starts = dtype, shapes, dict[str, int]()
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in shapes.items():
            start, end = end, end + math.prod(shape) * dtype.itemsize
            header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [start, end]}
            self._starts[name] = start
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNED)
        self._first = 8 + len(text)
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def write(self, name: str, tensor: np.ndarray) -> None:
        """Writes one of the tensors, whatever its dtype."""
        assert tensor.shape == self._shapes[name]
        self._file.seek(self._first + self._starts[name])
        self._file.write(np.ascontiguousarray(tensor, self._dtype).reshape(-1).view(np.uint8).data)

    def __enter__(self) -> NewTensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
