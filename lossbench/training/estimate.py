"""How long and how much memory a run would take, from a few steps that leave nothing behind."""

import time
from typing import Any

from lossbench.training.job import Job

TIMED_STEPS = 5


def estimate(job: Job) -> dict[str, Any]:
    """Make a few steps and put everything back; returns seconds and bytes.

    `seconds_per_step` is the fastest of the timed steps: what others take of the machine is not
    the run's. Memory counts weights, gradients, optimizer state, the data and the activations of
    one batch; what Python and torch themselves take is not in it.
    """
    state = job.step.state()
    seconds = []
    batches = next(job.order.epoch(1))
    for number in range(1, TIMED_STEPS + 1):
        started = time.perf_counter()
        step = min(number, job.total_steps)
        job.step.train(batches, step, job.rates.at(step), None).cpu()
        seconds.append(time.perf_counter() - started)
    job.step.load(state)
    element = job.dtype.itemsize
    data = sum(
        tensor.numel() * tensor.element_size()
        for split in job.splits.values()
        for tensor in (split.inputs, split.target)
    )
    # Weights, gradients, two states of the optimizer, and the best weights.
    weights = 5 * job.facts["parameters"] * element
    # What the forward pass keeps for the backward pass is about twice its largest activations.
    activations = 2 * job.facts["activations"] * element
    return {
        "seconds_per_step": min(seconds),
        "seconds": min(seconds) * job.total_steps,
        "bytes": data + job.step.trials * (weights + activations),
    }
