"""A job takes over the traces of one that computes the same gradients, and of no other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.config.spec import RunSpec
from lossbench.training.build import build
from lossbench.training.fused import FusedStep
from lossbench.training.job import Job

NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noisy": {"network": ("mlp", {"hidden": (6,), "dropout": 0.3})},
    "running statistics": {"network": ("mlp", {"hidden": (6,), "norm": "batch"})},
    "accumulated": {"train_accumulate": 2},
}


@pytest.fixture
def make(spec, choice) -> Callable[..., RunSpec]:
    """A spec whose components may be a name with knobs."""

    def made(**parts: Any) -> RunSpec:
        return spec(
            **{
                kind: choice(kind, part[0], **part[1]) if isinstance(part, tuple) else part
                for kind, part in parts.items()
            }
        )

    return made


def graphs(job: Job) -> dict[int, Any]:
    assert isinstance(job.step, FusedStep)
    return job.step.graphs


def steps(job: Job) -> np.ndarray:
    """The losses of one epoch, and the weights behind it."""
    found = [
        job.step.train(batches, number, job.rates.at(number), None)
        for number, batches in enumerate(job.order.epoch(1), start=1)
    ]
    weights = [value.flatten() for value in job.step.weights(0).values()]
    return torch.cat([*found, *(value.double() for value in weights)]).numpy()


@pytest.mark.parametrize("case", NETWORKS)
def test_a_trace_taken_over_computes_what_an_own_one_does(make, case):
    parts = {"train_epochs": 30, **NETWORKS[case]}
    first = build([make(**parts)])
    other = make(optimizer=("adam", {"lr": 0.02}), **parts, train_seed=8)
    alone, sharing = build([other]), build([other], like=first)
    assert graphs(sharing) == graphs(first) != graphs(alone)
    np.testing.assert_array_equal(steps(sharing), steps(alone))


@pytest.mark.parametrize(
    "parts",
    [
        {"activation": "relu"},
        {"activation": ("elu", {"alpha": 0.5})},
        {"loss": "mae"},
        {"network": ("mlp", {"hidden": (7,)})},
        {"train_batch_size": 8},
        {"train_accumulate": 2},
    ],
)
def test_what_computes_something_else_is_traced_anew(make, parts):
    base = {"train_epochs": 30, "activation": ("elu", {"alpha": 1.0})}
    first, other = build([make(**base)]), make(**{**base, **parts})
    found = build([other], like=first)
    assert not set(graphs(found).values()) & set(graphs(first).values())
    np.testing.assert_array_equal(steps(found), steps(build([other])))


def test_a_plain_step_has_no_traces_to_share(spec):
    plain = build([spec(optimizer="lbfgs")])
    assert not isinstance(plain.step, FusedStep)
    assert build([spec()], like=plain).plan.step == "fused"
    assert build([spec(optimizer="lbfgs")], like=build([spec()])).plan.step == "plain"
