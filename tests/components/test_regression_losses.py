"""Losses of residuals, likelihoods and margins, at numbers that others publish or compute."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.linear_model
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence

from lossbench import losses
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss

numbers = st.lists(st.floats(-50, 50), min_size=6, max_size=6).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)
positive = st.floats(0.05, 20)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed: int, count: int = 40) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    source = np.random.default_rng(seed)
    return source.normal(size=count) * 2, source.normal(size=count)


def close(got: Tensor, expected: Any, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(got.detach().numpy(), np.asarray(expected), rtol=rtol, atol=atol)


def slope(name: str, residual: float, **knobs: Any) -> float:
    x = vector(residual).requires_grad_()
    value = getattr(losses, name)(x, torch.zeros_like(x), reduction="sum", **knobs)
    return float(torch.autograd.grad(value, x)[0])


# --- numbers that other projects publish ------------------------------------------------------


def test_kerass_tests() -> None:
    """Numbers of keras/src/losses/losses_test.py."""
    y, x = vector(1, 9, 2, -5, -2, 6), vector(4, 8, 12, 8, 1, 3)
    close(losses.mse(x, y), 49.5)
    close(losses.l1(x, y), 5.5)
    close(losses.mape(x, y), 211.8518, atol=1e-3)
    close(losses.msle(x, y), 1.4370, atol=1e-3)
    sign, score = vector(-1, 1, -1, -1), vector(0.6, 0.4, 0.4, 0.6)
    close(losses.hinge(score, sign), 1.3)


def test_margins_and_log_cosh_by_their_definitions() -> None:
    y, x = vector(1, 9, 2, 5, 2, 6), vector(4, 8, 12, 8, 1, 3)
    close(losses.log_cosh(x, y), np.log(np.cosh((x - y).numpy())).mean())
    sign, score = vector(-1, 1, -1, 1, 1, -1), vector(0.3, 0.2, -0.1, 0.6, -0.25, -1)
    hinge = np.maximum(0, 1 - (sign * score).numpy())
    close(losses.hinge(score, sign), hinge.mean())
    close(losses.squared_hinge(score, sign), (hinge**2).mean())


def test_optaxs_tests() -> None:
    """Numbers of optax/losses/_regression_test.py; those of log-cosh are from TensorFlow 2.4."""
    x, y = vector(-2, 0.5, 0, 0.5, 2, 4, 132), vector(0, -0.5, 0, 1, 1, 2, 0.3)
    close(losses.huber(x, y, reduction="none"), [1.5, 0.5, 0, 0.125, 0.5, 1.5, 131.2])
    x, y = vector(-2, -1, 0.5, 1), vector(-1.5, 0, -1, 1)
    close(losses.half_mse(x, y, reduction="none"), [0.125, 0.5, 1.125, 0])
    x, y = vector(500, -2, -1, 0.5, 1), vector(-200, -1.5, 0, -1, 1)
    expected = [699.3068, 0.12011445, 0.4337809, 0.85544014, 0]
    close(losses.log_cosh(x, y, reduction="none"), expected, atol=1e-4)
    alone = [499.30685, 1.3250027, 0.4337809, 0.12011451, 0.43378082]
    close(losses.log_cosh(x, torch.zeros(5).double(), reduction="none"), alone, atol=1e-5)


def test_margins_at_their_corners() -> None:
    assert losses.perceptron(vector(0.5), vector(1)) == 0
    assert losses.perceptron(vector(-2.0), vector(1)) == 2
    close(losses.sparsemax(vector(1.5, 0.5, 0, -0.5, -1.5), torch.ones(5), reduction="none"),
          [0, 0.0625, 0.25, 0.5625, 1.5])  # fmt: skip


def test_wing_at_the_numbers_of_its_paper() -> None:
    """Twenty pixels off with w = 10 and eps = 2: C = w - w ln(1 + w / eps)."""
    constant = 10 - 10 * math.log(6)
    close(losses.wing(vector(20.0, -3.0), vector(0, 0), reduction="none"),
          [20 - constant, 10 * math.log(2.5)])  # fmt: skip


def test_balanced_l1_promotes_inliers_by_the_numbers_of_its_paper() -> None:
    """With alpha 0.5 and gamma 1.5 the gradient at |r| is alpha ln(b |r| + 1), b = e^3 - 1."""
    b = math.e**3 - 1
    close(losses.balanced_l1(vector(2.0), vector(0.0)), 3 + 1.5 / b - 0.5)
    assert slope("balanced_l1", 0.3) == pytest.approx(0.5 * math.log(0.3 * b + 1))
    assert slope("balanced_l1", -3.0) == -1.5


# --- scikit-learn -----------------------------------------------------------------------------


def test_against_scikit_learns_regression_scores() -> None:
    x, y = drawn(0)
    prediction, target = torch.tensor(x), torch.tensor(y)
    for q in (0.1, 0.5, 0.9):
        expected = sklearn.metrics.mean_pinball_loss(y, x, alpha=q)
        close(losses.quantile(prediction, target, quantile=q), expected)
    up, true = np.exp(x), np.exp(y)
    above, positives = torch.tensor(up), torch.tensor(true)
    close(losses.msle(above, positives), sklearn.metrics.mean_squared_log_error(true, up))
    expected = 100 * sklearn.metrics.mean_absolute_percentage_error(true, up)
    close(losses.mape(above, positives), expected)
    expected = sklearn.metrics.root_mean_squared_error(y, x)
    close(losses.rmse(prediction, target, eps=1e-15), expected)


@pytest.mark.parametrize("power", [1.0, 1.3, 1.5, 1.9, 2.0])
def test_tweedie_is_half_the_deviance_less_that_of_the_truth(power: float) -> None:
    x, y = drawn(1)
    mean, true = np.exp(x), np.exp(y)
    target = torch.tensor(true)
    at, best = (
        losses.tweedie(torch.tensor(log), target, power=power) for log in (x, y)
    )  # fmt: skip
    expected = sklearn.metrics.mean_tweedie_deviance(true, mean, power=power) / 2
    close(at - best, expected, rtol=1e-8)


def test_gamma_and_poisson_against_scikit_learns_deviances() -> None:
    x, y = drawn(2)
    mean, true = torch.tensor(np.exp(x)), torch.tensor(np.exp(y))
    half = sklearn.metrics.mean_gamma_deviance(true, mean) / 2
    close(losses.gamma_nll(torch.tensor(x), true) - losses.gamma_nll(true.log(), true), half)
    by_mean = losses.gamma_nll(mean, true, log_input=False)
    close(by_mean - losses.gamma_nll(true, true, log_input=False), half, rtol=1e-6)
    half = sklearn.metrics.mean_poisson_deviance(true, mean) / 2
    close(losses.poisson_nll(torch.tensor(x), true) - losses.poisson_nll(true.log(), true), half)


def test_tweedies_gradient_passes_over_into_its_limits() -> None:
    x, y = (torch.tensor(part) for part in drawn(3))
    for near, limit in ((1 + 1e-9, 1.0), (2 - 1e-9, 2.0)):
        slopes = []
        for power in (near, limit):
            leaf = x.clone().requires_grad_()
            value = losses.tweedie(leaf, y.abs(), power=power, reduction="sum")
            slopes.append(torch.autograd.grad(value, leaf)[0])
        torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-5)


def test_tube_and_huberised_margins_against_scikit_learns_sgd() -> None:
    """The values that scikit-learn's linear models minimise, from their own loss objects."""
    functions = sklearn.linear_model.SGDClassifier.loss_functions
    regressions = sklearn.linear_model.SGDRegressor.loss_functions
    scores, targets = drawn(4, 12)

    def theirs(made: tuple[Any, ...], y: np.ndarray[Any, Any]) -> list[float]:
        one = made[0](*made[1:])
        return [one.py_loss(p, t) for p, t in zip(scores, y, strict=True)]

    signs = np.where(targets > 0, 1.0, -1.0)
    x, sign, target = torch.tensor(scores), torch.tensor(signs), torch.tensor(targets)
    for name, key in (("modified_huber", "modified_huber"), ("perceptron", "perceptron"),
                      ("squared_hinge", "squared_hinge"), ("hinge", "hinge")):  # fmt: skip
        ours = getattr(losses, name)(x, sign, reduction="none")
        close(ours, theirs(functions[key], signs), atol=1e-9)
    for squared, key in ((False, "epsilon_insensitive"), (True, "squared_epsilon_insensitive")):
        ours = losses.epsilon_insensitive(x, target, squared=squared, reduction="none")
        close(ours, theirs(regressions[key], targets), atol=1e-9)


# --- distributions ----------------------------------------------------------------------------


def test_likelihoods_against_scipys_distributions() -> None:
    x, y = drawn(5)
    scale = np.random.default_rng(6).uniform(0.1, 3, len(x))
    prediction, target = torch.tensor(x), torch.tensor(y)
    ours = losses.laplace_nll(prediction, target, torch.tensor(scale), reduction="none")
    close(ours, -scipy.stats.laplace.logpdf(y, x, scale))
    for df, width in ((1.0, 0.5), (3.0, 1.0), (30.0, 2.0)):
        ours = losses.student_t_nll(prediction, target, df=df, scale=width, reduction="none")
        close(ours, -scipy.stats.t.logpdf(y, df, x, width))
    ours = losses.student_t_nll(prediction, target, df=1e7)
    close(ours, -scipy.stats.norm.logpdf(y, x).mean(), rtol=1e-5)
    # For one shape, likelihoods differ as gamma_nll says, times the shape.
    true, log_mean, shape = np.exp(y), x, 1.7
    mine = losses.gamma_nll(torch.tensor(log_mean), torch.tensor(true), reduction="none")
    theirs = -scipy.stats.gamma.logpdf(true, shape, scale=np.exp(log_mean) / shape)
    close(shape * (mine - mine[0]), (theirs - theirs[0]) - _without_mean(true, shape))


def _without_mean(y: np.ndarray[Any, Any], shape: float) -> np.ndarray[Any, Any]:
    """Return the part of a gamma's likelihood that does not depend on its mean."""
    return -(shape - 1) * (np.log(y) - np.log(y[0]))


def test_mixture_against_torchs_distributions() -> None:
    source = torch.Generator().manual_seed(0)
    weight, mean, scale = torch.randn(3, 7, 4, 2, generator=source, dtype=torch.float64)
    scale, target = scale.exp(), torch.randn(7, 2, generator=source, dtype=torch.float64)
    flat = [part.reshape(7, 8) for part in (weight, mean, scale)]
    ours = losses.mdn(flat[0], target, flat[1], flat[2], components=4, reduction="none")
    last = [part.movedim(1, -1) for part in (weight, mean, scale)]
    mixture = MixtureSameFamily(Categorical(logits=last[0]), Normal(last[1], last[2]))
    torch.testing.assert_close(ours, -mixture.log_prob(target))
    shown = loss["mdn"].facts.show
    assert shown is not None
    raw = torch.cat([flat[0], flat[1], flat[2]], 1)
    torch.testing.assert_close(shown(raw, components=4, eps=1e-3)["values"], mixture.mean)


def test_a_mixture_of_one_bell_is_the_gaussian_likelihood() -> None:
    x, y = (torch.tensor(part)[:, None] for part in drawn(7))
    scale = torch.rand(40, 1, dtype=torch.float64) + 0.1
    ours = losses.mdn(torch.randn(40, 1).double(), y, x, scale, components=1)
    close(ours, losses.gaussian_nll(x, y, scale**2, full=True))


def test_latent_code_against_torchs_divergence() -> None:
    mean, log_variance = (torch.tensor(part) for part in drawn(8))
    ours = losses.elbo_gaussian_kl(mean, log_variance, reduction="none")
    bells = Normal(mean, torch.exp(log_variance / 2)), Normal(torch.zeros(40).double(), 1.0)
    torch.testing.assert_close(ours, kl_divergence(*bells))
    close(losses.elbo_gaussian_kl(mean, log_variance, beta=4.0), 4 * ours.mean())


def test_balanced_mse_is_a_cross_entropy_over_the_batch() -> None:
    x, y = (torch.tensor(part).reshape(20, 2) for part in drawn(9))
    for sigma in (0.5, 1.0, 3.0):
        logits = -torch.cdist(x, y).square() / (2 * sigma**2)
        expected = torch.nn.functional.cross_entropy(logits, torch.arange(20))
        close(losses.balanced_mse(x, y, sigma=sigma), expected)
    order = torch.randperm(20)
    shuffled = losses.balanced_mse(x[order], y[order], reduction="none")
    close(shuffled, losses.balanced_mse(x, y, reduction="none")[order])


# --- relations --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(x=numbers, y=numbers, size=positive)
def test_relations_between_residual_losses(x: Tensor, y: Tensor, size: float) -> None:
    def same(one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one, other, rtol=1e-8, atol=1e-8)

    assert same(losses.asl1(x, y, mu=size), losses.charbonnier(x, y, eps=size) - size)
    assert same(losses.pseudo_huber(x, y, delta=size), size * losses.asl1(x, y, mu=size))
    assert same(
        losses.barron_adaptive(x, y, alpha=1.0, c=size),
        torch.sqrt(((x - y) / size) ** 2 + 1).mean() - 1,
    )
    assert same(losses.barron_adaptive(x, y, alpha=2.0, c=size), losses.half_mse(x, y) / size**2)
    assert same(losses.xsigmoid(x, y), 2 * losses.xtanh(x / 2, y / 2))
    assert same(losses.huber(x, y, delta=size), size * losses.smooth_l1(x, y, beta=size))
    gap = losses.quantile(x, y, quantile=0.9) + losses.quantile(x, y, quantile=0.1)
    assert same(gap, losses.l1(x, y))
    assert same(losses.expectile(x, y, q=0.2), losses.expectile(y, x, q=0.8))
    assert same(losses.rmse(x, y) ** 2, losses.mse(x, y) + 1e-8)


@settings(max_examples=40, deadline=None)
@given(x=numbers, y=numbers, shift=st.floats(-30, 30))
def test_residual_losses_see_the_residual_alone(x: Tensor, y: Tensor, shift: float) -> None:
    for name in RESIDUALS:
        here, there = (
            getattr(losses, name)(x + move, y + move, reduction="none") for move in (0, shift)
        )
        assert torch.allclose(here, there, rtol=1e-6, atol=1e-6), name


RESIDUALS = (
    "l1", "mse", "half_mse", "smooth_l1", "huber", "log_cosh", "pseudo_huber", "charbonnier",
    "asl1", "cauchy", "geman_mcclure", "welsch", "tukey_biweight", "barron_adaptive", "wing",
    "balanced_l1", "xtanh", "xsigmoid", "quantile_huber", "berhu", "student_t_nll",
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(alpha=st.floats(-30, 4), residual=st.floats(-20, 20))
def test_barrons_family_is_continuous_and_ordered_by_alpha(alpha: float, residual: float) -> None:
    x, y = vector(residual), vector(0.0)
    here = losses.barron_adaptive(x, y, alpha=alpha)
    assert torch.allclose(here, losses.barron_adaptive(x, y, alpha=alpha + 1e-9), rtol=1e-6)
    assert here <= losses.barron_adaptive(x, y, alpha=alpha + 0.5) + 1e-12
    assert losses.welsch(x, y) <= here + 1e-12


def test_barrons_limits_are_limits() -> None:
    x, y = (torch.tensor(part) for part in drawn(10))
    for near, limit in ((1e-7, 0.0), (2 - 1e-9, 2.0), (2 + 1e-9, 2.0), (-1e9, "-inf")):
        close(losses.barron_adaptive(x, y, alpha=near),
              losses.barron_adaptive(x, y, alpha=limit), rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "knobs", "best"),
    [
        ("quantile", {"quantile": 0.3}, lambda y: np.quantile(y, 0.3, method="inverted_cdf")),
        ("quantile", {"quantile": 0.85}, lambda y: np.quantile(y, 0.85, method="inverted_cdf")),
        ("expectile", {"q": 0.7}, lambda y: scipy.stats.expectile(y, 0.7)),
        ("expectile", {"q": 0.5}, np.mean),
        ("l1", {}, np.median),
        ("mse", {}, np.mean),
    ],
)
def test_the_best_constant_is_the_statistic(name: str, knobs: dict[str, Any], best: Any) -> None:
    y = np.random.default_rng(11).gamma(2.0, size=101)
    target, centre = torch.tensor(y), float(best(y))
    costs = [
        float(getattr(losses, name)(torch.full_like(target, centre + step), target, **knobs))
        for step in (-0.01, 0.0, 0.01)
    ]
    assert costs[1] <= min(costs)


@pytest.mark.parametrize(
    ("name", "turn"),
    [("cauchy", math.sqrt(2)), ("geman_mcclure", 2 / math.sqrt(3)), ("welsch", 1.0)],
)
def test_outliers_pull_less_beyond_the_turning_point(name: str, turn: float) -> None:
    slopes = [slope(name, 2 * turn * factor, c=2.0) for factor in (0.99, 1.0, 1.01, 50)]
    assert slopes[1] > max(slopes[0], slopes[2]) > slopes[3] > 0 or (
        name == "welsch" and slopes[3] < 1e-100
    )


def test_beyond_its_width_tukeys_loss_is_deaf() -> None:
    assert slope("tukey_biweight", 4.7) == 0
    assert slope("tukey_biweight", 4.6) > 0
    assert float(losses.tukey_biweight(vector(9.0), vector(0.0))) == pytest.approx(4.685**2 / 6)


def test_berhus_border_is_a_fifth_of_the_largest_error() -> None:
    residual = vector(0.5, -1.0, 3.0, -10.0)
    values = losses.berhu(residual, torch.zeros(4).double(), reduction="none")
    close(values, [0.5, 1.0, (9 + 4) / 4, (100 + 4) / 4])
    assert losses.berhu(residual, residual) == 0


def test_adaptive_wing_is_continuous_where_it_turns_straight() -> None:
    for y in (0.0, 0.4, 1.0):
        x = (torch.tensor([0.5 - 1e-9, 0.5 + 1e-9]).double() + y).requires_grad_()
        values = losses.adaptive_wing(x, torch.full((2,), y).double(), reduction="none")
        slopes = torch.autograd.grad(values.sum(), x)[0]
        assert values[0].item() == pytest.approx(values[1].item(), abs=1e-6)
        assert slopes[0].item() == pytest.approx(slopes[1].item(), abs=1e-6)
    background = losses.adaptive_wing(vector(0.3), vector(0.0))
    close(background, 14 * math.log1p(0.3**2.1))


# --- relative errors --------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(x=numbers, y=numbers, factor=positive)
def test_relative_errors_know_no_units(x: Tensor, y: Tensor, factor: float) -> None:
    x, y = x.abs() + 0.1, y.abs() + 0.1
    for name in ("mape", "smape"):
        here, there = (getattr(losses, name)(k * x, k * y) for k in (1.0, factor))
        assert torch.allclose(here, there, rtol=1e-5), name
    here = losses.scale_invariant_log(x, y, lam=1.0)
    assert torch.allclose(here, losses.scale_invariant_log(factor * x, y, lam=1.0), atol=1e-9)
    apart = np.log(x.numpy()) - np.log(y.numpy())
    close(here, apart.var(), rtol=1e-7, atol=1e-9)
    plain = losses.scale_invariant_log(x, y, lam=0.0)
    close(plain, (apart**2).mean(), atol=1e-12)


def test_smape_costs_nothing_for_nothing_and_200_at_most() -> None:
    values = losses.smape(vector(0, 1, -1, 3), vector(0, 0, 1, 1), reduction="none")
    close(values, [0, 200, 200, 100], rtol=1e-7)


# --- harmonized gradients ---------------------------------------------------------------------


def by_hand(residual: np.ndarray[Any, Any], mu: float, bins: int) -> np.ndarray[Any, Any]:
    """Weigh each residual by a loop over the bins."""
    slopes = np.abs(residual) / np.sqrt(residual**2 + mu**2)
    weights, filled = np.zeros_like(residual), 0
    for low in range(bins):
        high = (low + 1) / bins + (1e-6 if low == bins - 1 else 0)
        within = (slopes >= low / bins) & (slopes < high)
        if within.any():
            filled += 1
            weights[within] = len(residual) / within.sum()
    return weights / filled * (np.sqrt(residual**2 + mu**2) - mu)


def test_ghm_r_against_a_loop() -> None:
    x, _ = drawn(12)
    residual = torch.tensor(x * 0.05)
    for bins, mu in ((10, 0.02), (3, 0.1), (30, 0.02)):
        values = losses.ghm_r(
            residual, torch.zeros(40).double(), running_counts=torch.zeros(bins), mu=mu, bins=bins,
            reduction="none",
        )  # fmt: skip
        close(values, by_hand(residual.numpy(), mu, bins), rtol=1e-6)


def test_ghm_r_remembers_with_momentum() -> None:
    apply = loss_function(loss["ghm_r"], {"momentum": 0.75})
    residual, counts = vector(0.001, 0.5, 0.6, 0.7), torch.zeros(10)
    for step in range(1, 4):
        terms = apply(residual, torch.zeros(4).double(), running_counts=counts)
        assert terms.state is not None
        counts = terms.state["running_counts"]
        kept = 1 - 0.75**step
        close(counts[[0, 9]], [kept, 3 * kept], rtol=1e-6)
    assert reduce(terms, "mean") > 0


# --- margins ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(x=numbers, y=numbers)
def test_relations_between_margin_losses(x: Tensor, y: Tensor) -> None:
    sign = torch.where(y > 0, 1.0, -1.0).double()
    chance = torch.sigmoid(-sign * x)
    close(losses.savage(x, sign, reduction="none"), chance**2)
    hinge = losses.hinge(x, sign, reduction="none")
    close(losses.squared_hinge(x, sign, reduction="none"), hinge**2)
    huberised = losses.modified_huber(x, sign, reduction="none")
    assert bool((huberised <= hinge**2 + 1e-9).all())
    # A sparsemax loss is a modified Huber loss of half the width, at a quarter of the price.
    close(losses.sparsemax(x, sign, reduction="none"), huberised / 4, atol=1e-9)
    # All of them bound the errors that they stand for, up to their scale.
    errors = (sign * x <= 0).double()
    for name, least in (("hinge", 1.0), ("squared_hinge", 1.0), ("modified_huber", 1.0),
                        ("exponential", 1.0), ("logistic", math.log(2)), ("savage", 0.25),
                        ("sparsemax", 0.25), ("tangent", 1.0)):  # fmt: skip
        values = getattr(losses, name)(x, sign, reduction="none")
        assert bool((values >= least * errors - 1e-9).all()), name


def test_tangent_loss_is_least_at_its_own_margin() -> None:
    best = vector(math.tan(0.5)).requires_grad_()
    value = losses.tangent(best, vector(1.0))
    assert value.item() < 1e-30
    assert abs(float(torch.autograd.grad(value, best)[0])) < 1e-12
    assert float(losses.tangent(vector(-1e9), vector(1.0))) == pytest.approx((1 + math.pi) ** 2)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("pinball_loss", "quantile"),
        ("LogCosh", "log_cosh"),
        ("tukey", "tukey_biweight"),
        ("barron", "barron_adaptive"),
        ("barron_adaptive_loss", "barron_adaptive"),
        ("reverse_huber", "berhu"),
        ("ghmr_loss", "ghm_r"),
        ("rmse_loss", "rmse"),
        ("mdn_loss", "mdn"),
        ("mean_squared_logarithmic_error", "msle"),
    ],
)
def test_other_spellings(spelling: str, name: str) -> None:
    assert loss.find(spelling).name == name
