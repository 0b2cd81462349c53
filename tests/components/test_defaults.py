"""A component that torch has too has torch's knobs and torch's defaults, unless stated here."""

import inspect
from typing import Any

import pytest
from torch import nn

from lossbench import registry

NO_SIGNATURE = {  # functions written in C++: their modules say what they take
    ("activation", "gelu"): nn.GELU,
    ("activation", "hardshrink"): nn.Hardshrink,
    ("activation", "log_sigmoid"): nn.LogSigmoid,
    ("activation", "prelu"): nn.PReLU,
    ("activation", "sigmoid"): nn.Sigmoid,
    ("activation", "softplus"): nn.Softplus,
    ("activation", "softshrink"): nn.Softshrink,
    ("activation", "tanh"): nn.Tanh,
}
OTHER_DEFAULTS = {
    # torch guesses the dimension, with a warning; the last one is what everybody means.
    ("activation", "softmax", "dim"): -1,
    ("activation", "softmin", "dim"): -1,
    ("activation", "log_softmax", "dim"): -1,
    # A preset of sgd.
    ("optimizer", "momentum", "lr"): 0.01,
    ("optimizer", "momentum", "momentum"): 0.6,
    # The length of the run, or the optimizer's own rate, where torch wants a number.
    ("schedule", "cosine_annealing", "T_max"): None,
    ("schedule", "cyclic", "base_lr"): None,
    ("schedule", "one_cycle", "max_lr"): None,
}
OWN_KNOBS = {
    ("activation", "prelu", "per"),
    ("optimizer", "muon", "rest"),
    ("schedule", "chained", "schedules"),
    ("schedule", "sequential", "schedules"),
}


def kernels() -> list[Any]:
    return [
        pytest.param(kind, name, id=f"{kind}-{name}")
        for kind in ("activation", "loss", "optimizer", "schedule")
        for name, entry in registry.KINDS[kind].items()
        if entry.kernel is not None
    ]


@pytest.mark.parametrize(("kind", "name"), kernels())
def test_knobs_and_defaults_are_those_of_torch(kind: str, name: str) -> None:
    entry = registry.KINDS[kind].find(name)
    known = NO_SIGNATURE.get((kind, name)) or entry.load_kernel()
    assert known is not None
    takes = inspect.signature(known).parameters
    for knob in entry.knobs:
        place = (kind, name, knob.name)
        if place in OWN_KNOBS:
            continue
        assert knob.name in takes, place
        default = takes[knob.name].default
        if knob.required:
            assert default is inspect.Parameter.empty, place
        else:
            assert knob.default == OTHER_DEFAULTS.get(place, default), place
