"""The sinusoid's meta-update in JAX: the gradient of vmap of grad, Adam's step, all in one jit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from torch import nn

from fewshot_cli.data.task import TaskBatch

META_LR, BETA1, BETA2, EPS = 0.003, 0.9, 0.999, 1e-8

Weights = list[Any]  # of each linear layer its weight [O, I] and its bias [O]


def maml(
    net: nn.Module, tasks: TaskBatch, lr: float, steps: int, first_order: bool, updates: int | None
) -> Callable[[], Weights]:
    """A meta-update from the weights of `net`, linear layers with ReLU between them.

    Args:
        updates: so many in one call by `lax.scan`; None: one, without.

    Returns:
        What makes a call's meta-updates, waits for them and gives the weights.
    """

    def array(of: Any) -> Any:
        return jnp.asarray(np.asarray(of.detach()))

    def outputs(weights: Weights, x: Any) -> Any:
        for at in range(0, len(weights), 2):
            x = (jax.nn.relu(x) if at else x) @ weights[at].T + weights[at + 1]
        return x[..., 0]

    def loss(weights: Weights, x: Any, y: Any) -> Any:
        return jnp.mean((outputs(weights, x) - y) ** 2)

    def after_adaptation(weights: Weights, *task: Any) -> Any:
        support_x, support_y, query_x, query_y = task
        for _ in range(steps):
            gradient = jax.grad(loss)(weights, support_x, support_y)
            if first_order:
                gradient = jax.lax.stop_gradient(gradient)
            weights = [old - lr * part for old, part in zip(weights, gradient, strict=True)]
        return loss(weights, query_x, query_y)

    def whole(weights: Weights, batch: Any) -> Any:
        return jnp.mean(jax.vmap(after_adaptation, (None, 0, 0, 0, 0))(weights, *batch))

    def update(state: Any, batch: Any) -> Any:
        weights, means, squares, step = state
        value, gradient = jax.value_and_grad(whole)(weights, batch)
        step = step + 1
        means = [BETA1 * m + (1 - BETA1) * g for m, g in zip(means, gradient, strict=True)]
        squares = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(squares, gradient, strict=True)]
        size, scale = META_LR / (1 - BETA1**step), jnp.sqrt(1 - BETA2**step)
        weights = [
            w - size * m / (jnp.sqrt(v) / scale + EPS)
            for w, m, v in zip(weights, means, squares, strict=True)
        ]
        return (weights, means, squares, step), value

    weights = [array(weight) for weight in net.parameters()]
    zeros = [jnp.zeros_like(weight) for weight in weights]
    state = weights, zeros, zeros, jnp.zeros(())
    batch = tuple(map(array, tasks.fields()))
    if updates is None:
        compiled = jax.jit(update)
    else:
        batch = tuple(jnp.broadcast_to(each, (updates, *each.shape)) for each in batch)
        compiled = jax.jit(lambda state, batches: jax.lax.scan(update, state, batches))

    def call() -> Weights:
        nonlocal state
        state, values = compiled(state, batch)
        values.block_until_ready()
        after: Weights = state[0]
        return after

    return call
