"""Weights that are no numbers, found before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tl_jax.model.directory import CheckpointError
from tl_jax.model.parameters import Parameter, Params
from tl_jax.model.stored import StoredArray, pieces


def check_finite(params: Params, records: Iterable[Parameter], path: Path) -> None:
    """All parameters are finite. Reads each once, where it lies; several processes come to the same result.

    Args:
        params: what is looked at.
        records: of them, in the order in which a bad one is told.
        path: where they are from.

    Raises:
        CheckpointError: one is NaN or infinite; it names the tensor, as a Hugging Face checkpoint calls it.
    """
    found = jax.device_get(_first_bad(flatten_dict(params, sep=".")))
    for parameter in records:
        if (layer := int(found.get(parameter.path, -1))) >= 0:
            raise _not_finite(parameter, layer, path)


def finite(params: Params, records: Iterable[Parameter], path: Path) -> Params:
    """A tree of `StoredArray` whose arrays are looked at, as `check_finite` does, whenever they or parts are read."""
    leaves: dict[str, StoredArray] = flatten_dict(params, sep=".")

    def check(parameter: Parameter, array: np.ndarray, start: int) -> np.ndarray:
        for first, part in pieces(array):
            if (bad := int(_first_bad({"": part})[""])) >= 0:
                raise _not_finite(parameter, start + first + bad, path)
        return array

    checked = {parameter.path: leaves[parameter.path].then(partial(check, parameter)) for parameter in records}
    return unflatten_dict(leaves | checked, sep=".")


def _not_finite(parameter: Parameter, layer: int, path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: {parameter.hf_name.format(layer)} holds NaN or infinity, so everything that is computed with "
        "it would; get the model anew (model.verify=false or --no-verify opens it all the same)"
    )


@jax.jit
def _first_bad(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """int32 scalar of each parameter: the first index of its first axis (the layer) where it is not finite; or -1."""
    found = {}
    for name, leaf in leaves.items():
        bad = ~jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
        found[name] = jnp.where(jnp.any(bad), jnp.argmax(bad), -1).astype(jnp.int32)
    return found
