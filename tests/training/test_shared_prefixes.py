"""Rows in which a beginning stands once: the loss and the gradient of rows in which it stands before every example."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import optax
import pytest

from tests.data.test_prefixes import LENGTH, STEP, example, planned, rows_of
from tests.training.helpers import TINY, assert_same_avals, assert_trees_close
from tests.training.single_turns import loss_and_gradient
from tl_jax.data.batch import Batch
from tl_jax.data.packing import collate, plan_rows
from tl_jax.errors import UserError
from tl_jax.model.llama import abstract_params, make_graphdef
from tl_jax.training.losses import Loss, weighted_cross_entropy
from tl_jax.training.state import init_state
from tl_jax.training.step import make_eval_step, make_train_step

EXAMPLES = [
    *(example(f"{i}", [5 + k % 70 for k in range(2 * STEP + 9)], 20 + i, context=i) for i in range(5)),
    *(example(f"{i}", [k * k % 70 + 3 for k in range(STEP)], 30, context=3 * i) for i in range(5, 8)),
    example("9", [8], 50),
]
APART = collate(rows_of(EXAMPLES, plan_rows([len(one.tokens) for one in EXAMPLES], LENGTH)))
SHARED = collate(rows_of(EXAMPLES, planned(EXAMPLES)))


@pytest.mark.slow
def test_loss_and_gradient_are_those_of_rows_that_share_nothing() -> None:
    assert SHARED.tokens.size < 0.7 * APART.tokens.size
    of_a_model = loss_and_gradient(replace(TINY, num_layers=1))
    (gradient, loss), (wanted, expected) = of_a_model(SHARED), of_a_model(APART)
    assert_trees_close(gradient, wanted, rtol=1e-5)
    assert_trees_close(loss, expected, rtol=1e-5)  # with what else is summed up


def test_a_loss_that_leaves_branches_out_is_told() -> None:
    """Its examples would see each other."""

    def careless(model: Any, batch: Batch) -> Loss:
        hidden = model.hidden(batch.tokens, batch.positions, batch.segment_ids)
        return Loss(hidden.sum(), batch.turns.sum(), {})

    def traced(loss: Any, batch: Batch) -> None:
        jax.eval_shape(make_eval_step(make_graphdef(TINY), loss), abstract_params(TINY), batch)

    traced(careless, APART)
    traced(weighted_cross_entropy, SHARED)
    with pytest.raises(UserError, match=r"model\.hidden\(\*batch\.inputs\)"):
        traced(careless, SHARED)


@pytest.mark.slow
def test_a_step_takes_them_in_micro_batches() -> None:
    rows = SHARED.tokens.shape[0] // 2 * 2
    batch = jax.tree.map(lambda x: x[:rows], SHARED)
    optimizer = optax.sgd(1.0)
    step = make_train_step(make_graphdef(TINY), weighted_cross_entropy, optimizer, optax.constant_schedule(1.0), 2)
    state = jax.eval_shape(partial(init_state, optimizer=optimizer, seed=0), abstract_params(TINY))
    assert rows
    assert_same_avals(step, state, batch)
