"""A model's parameters as Orbax keeps them, on their own or as what a training state trains; whole or one at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh, SingleDeviceSharding

from tl_jax.errors import UserError
from tl_jax.model.directory import CheckpointError, system_error, unreadable
from tl_jax.model.parameters import Params
from tl_jax.model.run_directory import for_orbax
from tl_jax.model.sharding import param_shardings
from tl_jax.model.stored import StoredArray

CHUNK_BYTES = 32 * 1024**2
"""Arrays are written in chunks of at most so many bytes, for a chunk is in memory several times while it is packed or
unpacked. A chunk of a matrix in layers is of one of them."""
_AT_ONCE = 4
"""So many chunks are packed at a time."""

SMALL_BYTES = 1024**2
"""Of an array that several devices have all of, each writes a slice; of one smaller than this, one device all. XLA
compiles a program for every shape of a slice."""

Box = tuple[slice, ...]
"""A part of an array."""
Shapes = Callable[[np.dtype], Params]
"""The parameters' shapes and dtypes (``jax.ShapeDtypeStruct``), given the dtype that was saved."""


def restore(directory: Path, shapes: Shapes, mesh: Mesh | None) -> Params:
    """The parameters Orbax saved in ``directory``, on ``mesh`` or the default device, whatever they were saved from.

    The rest of a state is not read.

    Raises:
        CheckpointError: they are other parameters, or cannot be read.
    """
    with _opened(directory) as checkpointer:
        path, abstract = _found(checkpointer, directory, shapes)
        placed = _placed(abstract, mesh)
        return _read(checkpointer, directory, path, placed, ocp.checkpoint_utils.construct_restore_args(placed))


def stored_arrays(directory: Path, shapes: Shapes) -> Params:
    """The same, left on disk: a tree of `StoredArray`."""
    with _opened(directory, _one_after_another()) as checkpointer:
        path, abstract = _found(checkpointer, directory, shapes)
        how = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=StoredArray, dtype=leaf.dtype), abstract)
        left = _read(checkpointer, directory, path, abstract, how)

    def told(read: Callable[[int, int], np.ndarray], first: int, last: int) -> np.ndarray:
        with unreadable(directory):
            return read(first, last)

    return jax.tree.map(lambda array: replace(array, read=partial(told, array.read)), left)


def save_params(directory: Path, params: Params) -> None:
    """Writes parameters, arrays or a tree of `StoredArray`, one after another, those by their layers; reading them is
    left to `restore`.

    Raises:
        OSError: what the file system says.
    """
    arrays = jax.tree.map(_left, params)
    with ocp.Checkpointer(_one_after_another()) as checkpointer:
        try:
            checkpointer.save(directory, args=ocp.args.PyTreeSave(arrays, save_args=chunked(arrays)))
        except UserError:  # of an array that cannot be read
            raise
        except Exception as error:  # of TensorStore, Orbax or Python
            cause = system_error(error)
            if cause is None:
                raise
            raise cause from None


def _left(leaf: Any) -> StoredArray:
    """An array as one that is read all at once."""
    if isinstance(leaf, StoredArray):
        return leaf
    return StoredArray(leaf.shape, leaf.dtype, lambda first, last: np.asarray(leaf)[first:last], rows=leaf.shape[0])


def chunked(tree: Any) -> Any:
    """How Orbax is to save a tree of arrays: in chunks of `CHUNK_BYTES`, of which a layer can be read by itself."""

    def how(leaf: Any) -> ocp.SaveArgs:
        cut = np.ndim(leaf) > 2 and leaf.dtype.itemsize * math.prod(leaf.shape) > CHUNK_BYTES
        return ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES, shard_axes=(0,) if cut else ())

    return jax.tree.map(how, tree)


def state_handler() -> ocp.PyTreeCheckpointHandler:
    """Writes and reads trees of arrays."""
    arrays = ocp.type_handlers.ArrayHandler(array_metadata_store=None, min_slice_bytes_for_replica_parallel=SMALL_BYTES)
    return ocp.PyTreeCheckpointHandler(
        type_handler_registry=ocp.type_handlers.create_type_handler_registry(
            (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
        )
    )


def _one_after_another() -> ocp.PyTreeCheckpointHandler:
    handler = _OneAfterAnother()
    return ocp.PyTreeCheckpointHandler(
        type_handler_registry=ocp.type_handlers.create_type_handler_registry(
            (StoredArray, handler),
            (jax.Array, ocp.type_handlers.ArrayHandler(array_metadata_store=None)),  # for Orbax asks for such a store
        )
    )


class _OneAfterAnother(ocp.type_handlers.NumpyHandler):
    """Writes `StoredArray`, each part read once the one before it is on disk, and leaves on disk what it is to read;
    both a few chunks at a time, for Orbax would have all that is packed in memory as well."""

    def __init__(self) -> None:
        super().__init__(deepcopy_host_arrays=False)

    def typestr(self) -> str:
        """What a checkpoint calls them."""
        return "jax.Array"

    async def serialize(
        self,
        values: Sequence[Any],
        infos: Sequence[ocp.type_handlers.ParamInfo],
        args: Sequence[ocp.SaveArgs] | None = None,
    ) -> Sequence[Any]:
        """Writes all of them; nothing is left to be awaited."""
        for value, info, arg in zip(values, infos, args or [ocp.SaveArgs()] * len(values), strict=True):
            for written in await super().serialize([value], [info], [arg]):
                written.result()
        return []

    async def _open_and_write(self, value: StoredArray, tspec: dict[str, Any], ts_context: ts.Context) -> None:
        """Of Orbax, which calls it for each array."""
        target = await ts.open(ts.Spec(tspec), create=True, open=True, context=ts_context)
        steps = _chunk(target)
        for first, part in value.parts(at_least=steps[0]):
            place = target[first : first + len(part)].translate_to[0]
            for boxes in _boxes(part.shape, steps):
                moving = (place[box].write(part[box], can_reference_source_data_indefinitely=True) for box in boxes)
                await asyncio.gather(*moving)
            del part  # before the next is read

    async def deserialize(
        self, infos: Sequence[ocp.type_handlers.ParamInfo], args: Sequence[ocp.RestoreArgs] | None = None
    ) -> Sequence[StoredArray]:
        """Opens all of them, in the dtypes that ``args`` ask for."""
        arrays = []
        for info, arg in zip(infos, args or [ocp.RestoreArgs()] * len(infos), strict=True):
            spec = ocp.type_handlers.get_json_tspec_read(info, use_ocdbt=bool(info.is_ocdbt_checkpoint))
            source = await ts.open(ts.Spec(spec), open=True, context=info.ts_context)
            dtype = np.dtype(arg.dtype or source.dtype.numpy_dtype)
            arrays.append(StoredArray(source.shape, dtype, partial(_read_rows, source, dtype), _chunk(source)[0]))
        return arrays


def _read_rows(source: ts.TensorStore, dtype: np.dtype[Any], first: int, last: int) -> np.ndarray:
    array = np.empty((last - first, *source.shape[1:]), dtype)
    place = source[first:last].translate_to[0]
    for boxes in _boxes(array.shape, _chunk(source)):
        for box, read in [(box, place[box].read()) for box in boxes]:
            array[box] = read.result()
    return array


def _chunk(array: ts.TensorStore) -> Sequence[int]:
    """The shape of the chunks in which an array is kept."""
    return [step or size for step, size in zip(array.chunk_layout.write_chunk.shape or (), array.shape, strict=True)]


def _boxes(shape: Sequence[int], steps: Sequence[int]) -> Iterator[list[Box]]:
    """An array in boxes of a size, a few at a time."""
    cuts = (
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, steps, strict=True)
    )
    boxes = product(*cuts)
    while some := list(islice(boxes, _AT_ONCE)):
        yield some


@contextmanager
def _opened(directory: Path, handler: ocp.PyTreeCheckpointHandler | None = None) -> Iterator[ocp.Checkpointer]:
    with unreadable(directory), ocp.Checkpointer(handler or ocp.PyTreeCheckpointHandler()) as checkpointer:
        yield checkpointer


def _found(checkpointer: ocp.Checkpointer, directory: Path, shapes: Shapes) -> tuple[tuple[str, ...], Params]:
    """Keys that lead to the parameters in what was saved, and the shapes they are to be read in.

    Raises:
        CheckpointError: they are not the parameters that ``shapes`` tells.
    """
    saved = checkpointer.metadata(for_orbax(directory)).item_metadata.tree
    path = _path_of_params(directory, saved)
    for name in path:
        saved = saved[name]
    abstract = shapes(jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(saved))))
    _check_shapes(directory, saved, abstract)
    return path, abstract


def _read(
    checkpointer: ocp.Checkpointer, directory: Path, path: tuple[str, ...], wanted: Params, how: Params
) -> Params:
    """Some of the parameters, as many as ``wanted`` has.

    Args:
        checkpointer: that reads.
        directory: where they are; Orbax takes absolute paths only.
        path: of `_found`.
        wanted: shapes and dtypes.
        how: Orbax's arguments for each of them.
    """
    for name in reversed(path):
        wanted, how = {name: wanted}, {name: how}
    arguments = ocp.args.PyTreeRestore(item=wanted, restore_args=how, partial_restore=True)
    restored = checkpointer.restore(for_orbax(directory), args=arguments)
    for name in path:
        restored = restored[name]
    return restored


def _path_of_params(directory: Path, saved: dict[str, Any]) -> tuple[str, ...]:
    """Keys that lead to the model's parameters in what was saved: in a state of SFT or of RL, or on their own."""
    if "trainable" in saved:
        return ("trainable", "actor") if "actor" in saved["trainable"] else ("trainable",)
    if "opt_state" in saved:
        run = directory.parents[2]
        raise CheckpointError(
            f"{directory.parent}: written by an older version of tl-jax, whose states have another layout; use that "
            f"version (named in {run / 'environment.json'}) for: tl-jax export --from {run} --to DIR, and then DIR"
        )
    return ()


def _placed(abstract: Params, mesh: Mesh | None) -> Params:
    """The same shapes with a sharding each."""
    if mesh is None:
        one = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: one, abstract)
    else:
        shardings = param_shardings(abstract, mesh)
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), abstract, shardings)


def _check_shapes(directory: Path, saved: Params, target: Params) -> None:
    stored, wanted = flatten_dict(saved, sep="."), flatten_dict(target, sep=".")
    for problem, names in (("missing", wanted.keys() - stored.keys()), ("unexpected", stored.keys() - wanted.keys())):
        if names:
            raise CheckpointError(f"{directory}: {problem} parameter {', '.join(sorted(names))}, going by config.json")
    for name, leaf in wanted.items():
        if tuple(stored[name].shape) != leaf.shape:
            raise CheckpointError(
                f"{directory}: parameter {name} has shape {list(stored[name].shape)}, "
                f"config.json makes it {list(leaf.shape)}"
            )
