"""Losses at numbers that others published or compute, against each other, and in their corners."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench.checks.loss_inputs import draw_inputs
from lossbench.components.samples import CLASSES, ROWS, Draw
from lossbench.errors import UsageError
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss

# --- published numbers ------------------------------------------------------------------------


def formula(
    name: str, prediction: Tensor, target: Tensor, reduction: str = "mean", **options: Any
) -> Tensor:
    heads = {head: options.pop(head) for head in loss[name].facts.heads}
    terms = loss_function(loss[name], options, "formula")(prediction, target, **heads)
    return reduce(terms, reduction)


def test_published_mse_and_l1() -> None:
    x, y = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([4.0, 5.0, 6.0, 7.0])
    assert formula("mse", x, y) == 9
    assert formula("l1", x, y) == 3
    assert formula("l1", x, y, reduction="sum") == 12
    assert formula("l1", x, y, reduction="none").tolist() == [3, 3, 3, 3]


def test_published_softmax_and_sigmoid_cross_entropy() -> None:
    """A true class believed with 1/10 and with 1/2 costs 2.3026 and 0.6931 nats."""
    believed = torch.tensor([[0.1, 0.9], [0.5, 0.5]])
    labels = torch.tensor([0, 0])
    expected = torch.tensor([2.3026, 0.6931])
    logits = {"none": torch.log(believed), "shifted": torch.log(believed) + 7}
    for x in logits.values():
        for target in (labels, F.one_hot(labels, 2).float()):
            values = formula("cross_entropy", x, target, reduction="none")
            torch.testing.assert_close(values, expected, rtol=0, atol=1e-4)
    sigmoid = formula(
        "bce_with_logits", torch.logit(believed[:, 0]), torch.ones(2), reduction="none"
    )
    torch.testing.assert_close(sigmoid, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(formula("cross_entropy", torch.zeros(3, 10), torch.arange(3)),
                               torch.tensor(math.log(10)))  # fmt: skip


# --- other libraries --------------------------------------------------------------------------


def test_against_scikit_learn() -> None:
    source = np.random.default_rng(0)
    scores, signs = source.normal(size=40) * 2, source.choice([-1, 1], 40)
    prediction, sign = torch.tensor(scores), torch.tensor(signs, dtype=torch.float64)
    assert formula("hinge", prediction, sign).item() == pytest.approx(
        sklearn.metrics.hinge_loss(signs, scores)
    )
    chance = 1 / (1 + np.exp(-scores))
    expected = sklearn.metrics.log_loss(signs, chance)
    assert formula("logistic", prediction, sign).item() == pytest.approx(expected)
    zero_one = (sign + 1) / 2
    assert formula("bce_with_logits", prediction, zero_one).item() == pytest.approx(expected)
    assert formula("bce", torch.tensor(chance), zero_one).item() == pytest.approx(expected)
    logits, labels = source.normal(size=(40, 5)), source.integers(0, 5, 40)
    weights = (0.2, 1.0, 3.0, 0.5, 2.0)
    assert formula(
        "cross_entropy", torch.tensor(logits), torch.tensor(labels), weight=weights
    ).item() == pytest.approx(
        sklearn.metrics.log_loss(
            labels, scipy.special.softmax(logits, axis=1), sample_weight=np.take(weights, labels)
        )
    )


def test_against_scipys_distributions() -> None:
    source = np.random.default_rng(1)
    x, y = source.normal(size=30), source.normal(size=30)
    variance = source.uniform(0.1, 4, 30)
    ours = formula(
        "gaussian_nll", torch.tensor(x), torch.tensor(y), "none",
        variance=torch.tensor(variance), full=True,
    )  # fmt: skip
    np.testing.assert_allclose(ours, -scipy.stats.norm.logpdf(y, x, np.sqrt(variance)))
    counts = source.poisson(3, 30).astype(float)
    # Stirling's approximation aside, which drops out of the difference of two predictions.
    for log_input in (True, False):
        at = [
            formula("poisson_nll", torch.tensor(np.log(mean) if log_input else mean),
                    torch.tensor(counts), log_input=log_input, reduction="none")
            for mean in (variance, np.full(30, 2.0))
        ]  # fmt: skip
        expected = scipy.stats.poisson.logpmf(counts, 2.0) - scipy.stats.poisson.logpmf(
            counts, variance
        )
        np.testing.assert_allclose(at[0] - at[1], expected, rtol=1e-6, atol=1e-6)
    p, q = (scipy.special.softmax(source.normal(size=(6, 4)), axis=1) for _ in range(2))
    for log_target, target in ((False, p), (True, np.log(p))):
        ours = formula("kl_div", torch.tensor(np.log(q)), torch.tensor(target),
                       log_target=log_target, reduction="batchmean")  # fmt: skip
        assert ours.item() == pytest.approx(scipy.stats.entropy(p, q, axis=1).mean())


# --- identities -------------------------------------------------------------------------------

values = st.lists(st.floats(-30, 30), min_size=5, max_size=5).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.float64)
)


@settings(max_examples=60, deadline=None)
@given(x=values, y=values, size=st.floats(1e-2, 10))
def test_identities_between_losses(x: Tensor, y: Tensor, size: float) -> None:
    def same(one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one, other, rtol=1e-9, atol=1e-9)

    assert same(formula("huber", x, y, delta=size), size * formula("smooth_l1", x, y, beta=size))
    assert same(formula("smooth_l1", x, y, beta=0.0), formula("l1", x, y))
    sign = torch.where(y > 0, 1.0, -1.0).double()
    zero_one = (sign + 1) / 2
    logistic = formula("logistic", x, sign, reduction="none")
    assert same(logistic, formula("bce_with_logits", x, zero_one, reduction="none"))
    two = torch.stack([torch.zeros_like(x), x], 1)
    assert same(logistic, formula("cross_entropy", two, zero_one.long(), reduction="none"))
    assert same(logistic, torch.log1p(formula("exponential", x, sign, reduction="none")))
    assert same(
        formula("multilabel_soft_margin", x[None], zero_one[None]),
        formula("bce_with_logits", x[None], zero_one[None]),
    )
    logits = torch.stack([x, y, x - y])[None].squeeze(0).T
    labels = torch.tensor([0, 1, 2, 1, 0])
    assert same(
        formula("cross_entropy", logits, labels),
        formula("nll", logits.log_softmax(1), labels),
    )
    # smoothing an index is the smoothed distribution
    soft = 0.9 * F.one_hot(labels, 3).double() + 0.1 / 3
    assert same(
        formula("cross_entropy", logits, labels, label_smoothing=0.1),
        formula("cross_entropy", logits, soft),
    )


# --- corners ----------------------------------------------------------------------------------


def test_logistic_does_not_overflow_where_torchs_kernel_does() -> None:
    x = torch.tensor([-1e4, 1e4], requires_grad=True)
    y = torch.tensor([1.0, 1.0])
    assert torch.isinf(F.soft_margin_loss(x, y, reduction="none")[0])
    values = loss_function(loss["logistic"], {})(x, y).values  # "auto" prefers the formula
    assert values.tolist() == [1e4, 0]
    assert torch.autograd.grad(values.sum(), x)[0].tolist() == [-1, 0]


def test_variance_below_the_bound_still_learns() -> None:
    variance = torch.tensor([1e-9], requires_grad=True)
    value = formula("gaussian_nll", torch.tensor([1.0]), torch.tensor([0.0]), variance=variance)
    assert value.item() == pytest.approx(0.5 * (math.log(1e-6) + 1e6))
    assert torch.autograd.grad(value, variance)[0].item() == pytest.approx(-0.5e12, rel=1e-5)


@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS,)], ids=str)
def test_one_variance_per_sample(shape: tuple[int, ...]) -> None:
    draw = Draw()
    x, y, variance = draw.normal(ROWS, 3), draw.normal(ROWS, 3), draw.uniform(*shape) + 0.1
    expected = F.gaussian_nll_loss(x, y, variance)
    torch.testing.assert_close(formula("gaussian_nll", x, y, variance=variance), expected)


def test_list_of_labels_ends_at_the_first_minus_one() -> None:
    x = Draw().normal(1, 5)
    for listed in ([3, 0, -1, 1, -1], [-1, 2, 3, 0, 1], [2, 2, 1, -1, 0], [4, 3, 2, 1, 0]):
        y = torch.tensor([listed])
        expected = F.multilabel_margin_loss(x, y)
        torch.testing.assert_close(formula("multilabel_margin", x, y), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "multi_margin", "multilabel_margin"])
def test_a_single_sample_without_batch(name: str) -> None:
    entry = loss[name]
    x = Draw().normal(1, CLASSES).log_softmax(1)
    y = Draw(seed=7).target(entry.facts.encodings[0], (1, CLASSES))
    one = loss_function(entry, {}, "formula")(x[0], y[0]).total()
    torch.testing.assert_close(one, loss_function(entry, {}, "formula")(x, y).total())


def test_all_samples_ignored_has_no_mean() -> None:
    x, y = torch.randn(2, 3), torch.tensor([1, 1])
    assert F.cross_entropy(x, y, ignore_index=1).isnan()
    for impl in ("formula", "kernel"):
        terms = loss_function(loss["cross_entropy"], {"ignore_index": 1}, impl)(x, y)
        assert terms.total() == 0
        assert terms.mean().isnan()


@pytest.mark.parametrize("impl", ["formula", "kernel"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll", "multi_margin", "multilabel_soft_margin"])
def test_class_weights_that_do_not_fit(name: str, impl: str) -> None:
    entry = loss[name]
    inputs = draw_inputs(entry, {}, entry.facts.encodings[0], torch.float32)
    with pytest.raises(UsageError, match=f"weight has 2 values, but there are {CLASSES} classes"):
        loss_function(entry, {"weight": (1.0, 2.0)}, impl)(*inputs.values())


@pytest.mark.parametrize("impl", ["formula", "kernel"])
def test_ignoring_an_index_of_a_distribution_is_refused(impl: str) -> None:
    x = torch.randn(2, 3)
    call = loss_function(loss["cross_entropy"], {"ignore_index": 1}, impl)
    with pytest.raises(UsageError, match="ignore_index = 1 has no meaning"):
        call(x, x.softmax(1))


@pytest.mark.parametrize("spelling", ["zero_one", "zero_one_loss", "ZeroOneLoss"])
def test_zero_one_is_refused_with_the_reason(spelling: str) -> None:
    with pytest.raises(UsageError, match="derivative is 0 almost everywhere"):
        loss.find(spelling)
    assert "zero_one" not in loss.names()


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("nn.CrossEntropyLoss", "cross_entropy"),
        ("softmax_loss", "cross_entropy"),
        ("nn.NLLLoss2d", "nll"),
        ("BCELoss", "bce"),
        ("nn.BCEWithLogitsLoss", "bce_with_logits"),
        ("nn.KLDivLoss", "kl_div"),
        ("PoissonNLLLoss", "poisson_nll"),
        ("GaussianNLLLoss", "gaussian_nll"),
        ("nn.SoftMarginLoss", "logistic"),
        ("soft_margin", "logistic"),
        ("MultiLabelSoftMarginLoss", "multilabel_soft_margin"),
        ("nn.MultiLabelMarginLoss", "multilabel_margin"),
        ("nn.MultiMarginLoss", "multi_margin"),
        ("nn.HingeEmbeddingLoss", "hinge_embedding"),
        ("nn.SmoothL1Loss", "smooth_l1"),
        ("L1Loss", "l1"),
        ("mae", "l1"),
        ("l2", "mse"),
    ],
)
def test_torchs_spellings(spelling: str, name: str) -> None:
    assert loss.find(spelling).name == name


def test_what_poisson_wants_from_the_network_depends_on_a_knob() -> None:
    facts = loss["poisson_nll"].facts
    assert facts.prediction_with({"log_input": True, "full": False, "eps": 1e-8}) == "log"
    assert facts.prediction_with({"log_input": False, "full": False, "eps": 1e-8}) == "positive"
