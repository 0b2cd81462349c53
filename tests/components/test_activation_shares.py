"""Activations that share out 1 among scores: softmax and its sparse, heavy-tailed, drawn relatives.

Their equations are solved again here by bisection, their Jacobians written down by hand.
"""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev, vmap

from lossbench.components.noise import uniform
from lossbench.components.samples import CLASSES, Draw
from lossbench.kernels import activation_function
from lossbench.registry import activation
from lossbench.training.model import ActivationMaker

numbers = st.lists(
    st.floats(-60, 60, allow_subnormal=False), min_size=CLASSES, max_size=CLASSES
).map(lambda values: torch.tensor([values], dtype=torch.float64))


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def formula(name: str, x: Tensor, **knobs: Any) -> Tensor:
    return activation[name].function(x, **knobs)


@settings(max_examples=60, deadline=None)
@given(x=numbers, shift=st.floats(-1e3, 1e3))
def test_softmax_is_a_distribution_that_ignores_a_shift(x: Tensor, shift: float) -> None:
    probabilities = formula("softmax", x)
    assert close(probabilities.sum(-1), torch.ones(1, dtype=torch.float64))
    assert torch.allclose(formula("softmax", x + shift), probabilities, rtol=1e-8, atol=1e-12)
    assert close(formula("softmin", x), formula("softmax", -x))
    assert close(formula("log_softmax", x).exp(), probabilities)


def test_jacobian_of_softmax() -> None:
    x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    p = formula("softmax", x)
    expected = torch.diag(p) - torch.outer(p, p)  # p_i ([i = j] - p_j)
    assert close(jacrev(activation["softmax"].function)(x), expected)
    assert close(jacrev(activation["softmin"].function)(-x), -expected)


# --- sums of 1 -----------------------------------------------------------------------------------


def by_bisection(share: Any, x: Tensor) -> Tensor:
    """Return the shares whose sum is 1, for shares that fall with their second argument."""
    low, high = x.max() - 50, x.max() + 50
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if share(x, middle).sum() > 1 else (low, middle)
    return share(x, (low + high) / 2)


@settings(max_examples=60, deadline=None)
@given(x=numbers)
def test_sparsemax_and_entmax_solve_their_equations(x: Tensor) -> None:
    for scores in (x[0] / 10, x[0] / 60):
        sparse = by_bisection(lambda x, tau: (x - tau).clamp(min=0), scores)
        assert torch.allclose(formula("sparsemax", scores), sparse, atol=1e-12)
        half = by_bisection(lambda x, tau: (x / 2 - tau).clamp(min=0) ** 2, scores)
        assert torch.allclose(formula("entmax15", scores), half, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(x=numbers, t=st.floats(1.02, 4.0))
def test_tempered_softmax_solves_its_equation(x: Tensor, t: float) -> None:
    def share(x: Tensor, norm: Tensor) -> Tensor:
        return (1 + (1 - t) * (x - norm)).clamp(min=1e-300) ** (1 / (1 - t))

    scores = x[0] / 20
    wanted = by_bisection(lambda x, norm: share(x, torch.maximum(norm, x.max())), scores)
    got = formula("tempered_softmax", scores, t=t, num_iters=5)
    assert torch.allclose(got, wanted, atol=2e-3)
    exact = formula("tempered_softmax", scores, t=t, num_iters=400)
    assert torch.allclose(exact, wanted, atol=1e-7)


@pytest.mark.parametrize("t", [1.0, 1.2, 1.7, 3.0])
def test_the_gradient_of_tempered_softmax_is_that_of_its_equation(t: float) -> None:
    x = Draw(dtype=torch.float64, seed=4).normal(3, 4).requires_grad_()
    call = activation_function(activation["tempered_softmax"], {"t": t, "num_iters": 200})
    assert torch.autograd.gradcheck(call, x)
    for row in x.detach():
        p = call(row)
        escort = p**t / (p**t).sum()
        expected = torch.diag(p**t) - torch.outer(p**t, escort)
        assert torch.allclose(jacrev(call)(row), expected, atol=1e-9)


def test_jacobians_of_sparse_shares() -> None:
    x = torch.tensor([1.1, 0.2, 0.9, -3.0], dtype=torch.float64)
    p = formula("sparsemax", x)
    support = (p > 0).double()
    assert support.tolist() == [1, 0, 1, 0] or support.tolist() == [1, 1, 1, 0]
    expected = torch.diag(support) - torch.outer(support, support) / support.sum()
    assert close(jacrev(activation["sparsemax"].function)(x), expected)
    u = formula("entmax15", x).sqrt()
    expected = torch.diag(u) - torch.outer(u, u) / u.sum()
    assert close(jacrev(activation["entmax15"].function)(x), expected)


@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_sparse_shares_of_infinite_and_missing_scores(name: str) -> None:
    infinity, nan = math.inf, math.nan
    x = torch.tensor([[0.0, -infinity, 0.0], [0.0, -infinity, -infinity]], requires_grad=True)
    y = formula(name, x)
    torch.testing.assert_close(y, torch.tensor([[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]))
    assert torch.equal(y == 0, x == -infinity)
    assert torch.autograd.grad(y[:, 0].sum(), x)[0].isfinite().all()
    for row in ([0.0, nan, 0.0], [0.0, infinity, 0.0], [-infinity] * 3):
        assert formula(name, torch.tensor(row)).isnan().all()


def test_softmax2d_is_a_distribution_at_each_position() -> None:
    x = Draw().normal(2, 3, 4, 5)
    torch.testing.assert_close(formula("softmax2d", x), torch.nn.Softmax2d()(x))


# --- Gumbel softmax ------------------------------------------------------------------------------


def test_the_winner_is_drawn_with_its_softmax_probability() -> None:
    scores = torch.tensor([0.5, -1.0, 1.5, 0.0])
    drawn = uniform(torch.tensor([3, 1]), 0, 4 * 50_000).view(50_000, 4)
    assert drawn.min() > 0
    assert drawn.max() < 1
    for tau in (0.5, 2.0):
        chosen = formula(
            "gumbel_softmax", scores.expand(50_000, 4), uniform=drawn, tau=tau, hard=True
        )
        assert torch.equal(chosen.sum(1), torch.ones(50_000))
        p = scores.softmax(0)
        deviations = (chosen.mean(0) - p) / torch.sqrt(p * (1 - p) / 50_000)
        assert float(deviations.abs().max()) < 4


def test_a_hard_choice_has_the_gradient_of_the_soft_one() -> None:
    x, drawn = Draw().normal(3, 4).requires_grad_(), Draw(seed=1).uniform(3, 4, low=0.01)
    weights = Draw(seed=2).normal(3, 4)
    soft, hard = (
        formula("gumbel_softmax", x, uniform=drawn, tau=0.7, hard=hard) for hard in (False, True)
    )
    torch.testing.assert_close(hard.sum(-1), torch.ones(3))
    assert torch.equal(hard.detach().round(), torch.nn.functional.one_hot(soft.argmax(-1), 4))
    one, other = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (soft, hard))
    assert torch.equal(one, other)


def test_gumbel_softmax_in_a_network_draws_from_its_key_in_training_only() -> None:
    module, behind = ActivationMaker(
        activation["gumbel_softmax"], {**activation["gumbel_softmax"].defaults(), "tau": 0.5}
    )((4,))
    x = Draw().normal(6, 4)
    assert behind == (4,)
    module.noise_key.copy_(torch.tensor([1, 1]))
    once = module(x)
    assert torch.equal(module(x), once)
    module.noise_key.copy_(torch.tensor([1, 2]))
    assert not torch.equal(module(x), once)
    torch.testing.assert_close(module.eval()(x), torch.softmax(x / 0.5, -1))
    assert not module.state_dict()

    keys = torch.tensor([[1, 1], [7, 3]])
    module.train()
    together = vmap(
        lambda key: torch.func.functional_call(module, {"noise_key": key}, (x,))
    )(keys)  # fmt: skip
    torch.testing.assert_close(together[0], once)
    assert not torch.equal(together[0], together[1])
