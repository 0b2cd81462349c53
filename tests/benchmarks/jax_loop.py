"""The same training in JAX: `jit(vmap(scan))` over trials and steps, compiled to one program.

Import it only after `os.sched_setaffinity` has left one core, so that XLA starts one thread.
"""

import os
import time
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

LEARNING_RATE, BETA1, BETA2, EPSILON = 0.01, 0.9, 0.999, 1e-8


def _forward(params: list[Any], x: Any) -> Any:
    """A multi-layer perceptron with ReLU; `params` are weight, bias, weight, bias, ..."""
    for weight, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
        x = jax.nn.relu(x @ weight.T + bias)
    return x @ params[-2].T + params[-1]


def mean_square(params: list[Any], x: Any, y: Any) -> Any:
    return jnp.mean((_forward(params, x) - y) ** 2)


def cross_entropy(params: list[Any], x: Any, y: Any) -> Any:
    scores = jax.nn.log_softmax(_forward(params, x))
    return -jnp.mean(jnp.take_along_axis(scores, y[:, None], axis=1))


class JaxTrainer:
    """Trains all trials at once: weights [trials, ...], rows of the data [trials, steps, batch]."""

    def __init__(self, loss: Any, inputs: Any, targets: Any) -> None:
        inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)
        value_and_grad = jax.value_and_grad(loss)

        def step(carry: Any, rows: Any) -> Any:
            params, first, second, count = carry
            value, grads = value_and_grad(params, inputs[rows], targets[rows])
            count = count + 1
            first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, grads)
            second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)
            one, two = 1 - BETA1**count, 1 - BETA2**count
            params = jax.tree.map(
                lambda p, m, v: p - LEARNING_RATE * (m / one) / (jnp.sqrt(v / two) + EPSILON),
                params,
                first,
                second,
            )
            return (params, first, second, count), value

        def trial(params: Any, rows: Any) -> Any:
            zeros = jax.tree.map(jnp.zeros_like, params)
            return jax.lax.scan(step, (params, zeros, zeros, 0.0), rows)[1]

        self._run = jax.jit(jax.vmap(trial))

    def __call__(self, params: list[Any], rows: Any) -> tuple[float, Any]:
        """Return the seconds that the training took, and the losses [trials, steps]."""
        arguments = jax.device_put(([np.asarray(p) for p in params], np.asarray(rows, np.int32)))
        jax.block_until_ready(arguments)
        begun = time.perf_counter()
        losses = jax.block_until_ready(self._run(*arguments))
        return time.perf_counter() - begun, np.asarray(losses)
