"""What somebody else adds to tl_jax without touching it: a record of each kind, and the functions they name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_jax.config.estimators import Estimator
from tl_jax.config.losses import NamedLoss
from tl_jax.tooluse.readers import Format, Place, each_row, has
from tl_jax.tooluse.rewards.table import RewardTable
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

if TYPE_CHECKING:
    import jax

    from tl_jax.data.batch import Batch
    from tl_jax.model.families import Family
    from tl_jax.model.llama import Llama
    from tl_jax.rl.estimators import EstimatorInputs
    from tl_jax.training.losses import Loss


def questions(row: Any, place: Place) -> Iterator[Trajectory]:
    """``{"ask": text, "call": name, "with": arguments}``."""
    call = Call(row["call"], row["with"])
    messages = (Message("user", row["ask"]), Message("assistant", tool_calls=(call,)))
    schema = {"type": "object", "properties": {name: {} for name in call.arguments}}
    yield Trajectory(place.name, (Tool(call.name, "", schema),), messages)


FORMAT = Format(
    name="questions",
    description="`ask`, `call` and `with`, one question a row",
    recognises=has("ask", "call", "with"),
    trajectories=each_row(questions),
)

PROFILE = RewardTable("strict", wrong_value=-1.0, description="a wrong value costs more", pairing="in_order")

ESTIMATOR = Estimator(
    name="signs",
    compute="tests.outside:signs",
    advantage="1 where the return is above its group's mean, else -1",
    source="https://example.org/signs",
    average="tokens",
    needs_groups=True,
)


def signs(inputs: EstimatorInputs) -> jax.Array:
    import jax.numpy as jnp

    groups = inputs.returns.reshape(-1, inputs.group_size)
    return jnp.where(groups > groups.mean(axis=1, keepdims=True), 1.0, -1.0).reshape(-1)


LOSS = NamedLoss(
    "squared",
    "tests.outside:squared",
    "`scale (1 - p)^2`",
    "https://example.org/squared",
    "`scale`: of the loss",
)


def squared(model: Llama, batch: Batch, *, scale: float) -> Loss:
    import jax.numpy as jnp

    from tl_jax.training.losses import weighted_loss

    return weighted_loss(model, batch, lambda scores: scale * (1.0 - jnp.exp(scores.log_probs)) ** 2)


def family() -> Family:
    """A Llama with a bias and a norm on its queries: declared, never computed anywhere else."""
    from tl_jax.model.families import Family
    from tl_jax.model.parameters import bias, norm

    axes = ("layers", "heads", "head_dim")
    return Family(
        name="qlama",
        hf_class="QlamaForCausalLM",
        parameters=(
            bias("layers.q_bias", axes, "model.layers.{}.self_attn.q_proj.bias", ("heads*head_dim",)),
            norm("layers.q_norm", ("layers", "head_dim"), "model.layers.{}.self_attn.q_norm.weight"),
        ),
        source="https://example.org/qlama",
    )


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
