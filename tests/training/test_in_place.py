"""Kernels that update in place: the formula's numbers, and the same wherever a trial lies."""

from dataclasses import replace

import pytest
import torch

from lossbench import registry
from lossbench.components.vocabulary import Applied
from lossbench.training.kernel_rule import KernelPiece
from lossbench.training.stack import Layout
from lossbench.training.update import Optimizer, Updater

IN_PLACE = [name for name, entry in registry.optimizer.items() if entry.facts.in_place]

KNOBS = [
    {},
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"maximize": True, "betas": (0.5, 0.9), "eps": 1e-3},
]

STEPS = 20


def rule(name: str, *, kernel: bool = True, **knobs) -> Applied:
    entry = registry.optimizer[name]
    torchs = entry.load_kernel() if kernel else None
    return Applied(name, entry.function, entry.facts, {**entry.defaults(), **knobs}, torchs)


def updater(applied: Applied, weights: torch.Tensor) -> Updater:
    layout = Layout(("weight",), ((weights.shape[1],),))
    optimizer = Optimizer(applied, frozenset({"weight"}))
    return Updater([optimizer] * len(weights), layout, weights)


def gradients(step: int, weights: torch.Tensor) -> torch.Tensor:
    return torch.randn(weights.shape, generator=torch.Generator().manual_seed(step))


def test_there_are_kernels_to_test():
    assert {"adam", "adamw"} <= set(IN_PLACE)


@pytest.mark.parametrize("count", [1, 15, 16, 31, 100])
@pytest.mark.parametrize("knobs", KNOBS)
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_kernel_gives_what_the_formula_and_torch_optim_give(name, knobs, count):
    start = torch.randn(3, count)
    ours, theirs = start.clone(), start.clone()
    fast = updater(rule(name, **knobs), ours)
    slow = updater(rule(name, kernel=False, **knobs), theirs)
    assert [type(piece) is KernelPiece for piece in (*fast._pieces, *slow._pieces)] == [True, False]
    parameter = start.clone().requires_grad_()
    kernel = registry.optimizer[name].load_kernel()(
        [parameter], lr=0.01, **(knobs or {"weight_decay": rule(name).knobs["weight_decay"]})
    )
    for step in range(1, STEPS + 1):
        grads = gradients(step, start)
        fast.step(grads, step, 0.01)
        slow.step(grads, step, 0.01)
        parameter.grad = grads
        kernel.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours, parameter.detach(), rtol=1e-6, atol=1e-6)
    for one, other in zip(fast.state(), slow.state(), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [1, 7, 31, 32, 50])
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_row_is_updated_bit_for_bit_as_it_would_be_alone(name, count):
    start = torch.randn(9, count)
    group = start.clone()
    together = updater(rule(name), group)
    alone = [row.clone()[None] for row in start]
    each = [updater(rule(name), row) for row in alone]
    for step in range(1, STEPS + 1):
        grads = gradients(step, start)
        together.step(grads, step, 0.01)
        for number, one in enumerate(each):
            one.step(grads[number : number + 1], step, 0.01)
    assert torch.equal(group, torch.cat(alone))


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_saved_state_continues_bit_for_bit_and_a_column_of_rates_in_between_is_taken(name):
    start = torch.randn(3, 21)
    whole, part = start.clone(), start.clone()
    rates = torch.tensor([[0.01], [0.02], [0.03]])
    one, other = updater(rule(name), whole), updater(rule(name), part)
    for step in range(1, STEPS + 1):
        rate = rates if step % 3 == 0 else 0.01
        one.step(gradients(step, start), step, rate)
        other.step(gradients(step, start), step, rate)
        fresh = updater(rule(name), part)
        fresh.load(other.state())
        other = fresh
    assert torch.equal(whole, part)


def test_a_decay_of_some_weights_only_and_an_asked_for_formula_need_the_formula():
    layout = Layout(("weight", "bias"), ((4,), (2,)))
    half = Optimizer(rule("adamw", weight_decay=0.1), frozenset({"weight"}))
    weights = torch.randn(2, 6)
    for optimizer in (half, replace(half, applied=rule("adam", kernel=False))):
        pieces = Updater([optimizer] * 2, layout, weights)._pieces
        assert not any(isinstance(piece, KernelPiece) for piece in pieces)
