"""Losses for wrong labels and for rare classes: published numbers, second derivations, limits."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench import losses
from lossbench.components.losses.robust import tempered_log_softmax
from lossbench.errors import UsageError
from lossbench.kernels import loss_function
from lossbench.registry import loss


def logits(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def labels(*shape: int, classes: int, seed: int = 1) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- wrong labels -----------------------------------------------------------------------------


def test_bounded_losses_are_their_formulas_on_probabilities() -> None:
    x, y = logits(30, 5), labels(30, classes=5)
    p = x.softmax(1)
    own = p.gather(1, y[:, None])[:, 0]
    hot = F.one_hot(y, 5).double()
    expected = {
        "mae_classification": (hot - p).abs().sum(1),
        "generalized_cross_entropy": (1 - own**0.7) / 0.7,
        "taylor_cross_entropy": (1 - own) + (1 - own) ** 2 / 2,
        "symmetric_cross_entropy": -0.1 * own.log() + 4 * (1 - own),
        "normalized_cross_entropy": own.log() / p.log().sum(1) + 4 * (1 - own),
    }
    for name, values in expected.items():
        got = getattr(losses, name)(x, y, reduction="none")
        torch.testing.assert_close(got, values, msg=lambda text, name=name: f"{name}: {text}")


def test_reverse_cross_entropy_is_cross_entropy_with_the_sides_exchanged() -> None:
    """-sum_c p_c ln q_c with ln 0 := -4, written out."""
    x, y = logits(10, 4), labels(10, classes=4)
    log_q = torch.where(F.one_hot(y, 4) > 0, 0.0, -4.0).double()
    reverse = -(x.softmax(1) * log_q).sum(1).mean()
    torch.testing.assert_close(losses.symmetric_cross_entropy(x, y, alpha=0), reverse)


def test_bounded_losses_approach_cross_entropy() -> None:
    x, y = logits(30, 5), labels(30, classes=5)
    plain = losses.cross_entropy(x, y)
    near = losses.generalized_cross_entropy(x, y, q=1e-6)
    torch.testing.assert_close(near, plain, rtol=1e-5, atol=0)
    soft = logits(30, 5, scale=0.5)
    series = losses.taylor_cross_entropy(soft, y, t=400)
    torch.testing.assert_close(series, losses.cross_entropy(soft, y), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["mae_classification", "normalized_cross_entropy"])
def test_symmetric_losses_add_up_to_the_same_over_all_labels(name: str) -> None:
    """What makes them robust: sum_c loss(x, c) does not depend on x."""
    knobs = {"beta": 0.0} if name.startswith("normalized") else {}
    x = logits(6, 5)
    total = sum(
        getattr(losses, name)(x, torch.full((6,), c), reduction="none", **knobs) for c in range(5)
    )
    expected = 8.0 if not knobs else 1.0
    torch.testing.assert_close(total, torch.full((6,), expected, dtype=torch.float64))


def test_bi_tempered_at_the_numbers_of_the_authors() -> None:
    """The values in the test of google/bi-tempered-loss."""
    q = float64([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.8, 0.0]])
    x = float64([[-0.5, 0.1, 2.0], [0.1, 1.5, -5.0], [4.0, -3.0, -6.0]])
    got = losses.bi_tempered(x, q, t1=0.5, t2=1.5, reduction="none")
    assert got.tolist() == pytest.approx([0.02301914, 0.18972909, 0.93874922], abs=1e-4)


def test_tempered_softmax_adds_up_to_one_and_is_softmax_at_one() -> None:
    x = logits(20, 6, scale=3)
    for t2 in (1.0, 1.2, 2.0, 4.0):
        p = tempered_log_softmax(x, t2, 100).exp()
        torch.testing.assert_close(p.sum(1), torch.ones(20).double(), rtol=1e-7, atol=0)
    plain = tempered_log_softmax(x, 1.0, 5)
    torch.testing.assert_close(plain, x.log_softmax(1))


def test_bi_tempered_at_ones_is_the_divergence_to_the_target() -> None:
    x, y = logits(12, 4), labels(12, classes=4)
    q = logits(12, 4, seed=5).softmax(1)
    torch.testing.assert_close(losses.bi_tempered(x, y, t1=1, t2=1), losses.cross_entropy(x, y))
    divergence = losses.cross_entropy(x, q) - losses.entropy(q)
    torch.testing.assert_close(losses.bi_tempered(x, q, t1=1, t2=1), divergence)


def test_bi_tempered_by_powers_as_the_paper_writes_it() -> None:
    x, y = logits(12, 4), labels(12, classes=4)
    t1, t2, s = 0.4, 2.3, 0.1
    q = F.one_hot(y, 4) * (1 - 4 / 3 * s) + s / 3
    p = tempered_log_softmax(x, t2, 60).exp()

    def log_t(u: Tensor) -> Tensor:
        return (u ** (1 - t1) - 1) / (1 - t1)

    expected = q * (log_t(q) - log_t(p)) - (q ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
    got = losses.bi_tempered(x, y, t1=t1, t2=t2, num_iters=60, label_smoothing=s, reduction="none")
    torch.testing.assert_close(got, expected.sum(1))


@pytest.mark.parametrize(("t1", "t2"), [(0.5, 1.5), (0.2, 4.0), (1.0, 2.0), (0.7, 1.0)])
def test_the_gradient_of_bi_tempered_is_that_of_finite_differences_and_of_the_paper(
    t1: float, t2: float
) -> None:
    x, y = logits(4, 5).requires_grad_(), labels(4, classes=5)

    def call(at: Tensor) -> Tensor:
        return losses.bi_tempered(at, y, t1=t1, t2=t2, num_iters=200, reduction="none")

    assert torch.autograd.gradcheck(call, x)
    p = tempered_log_softmax(x.detach(), t2, 200).exp()
    g = (p - F.one_hot(y, 5)) * p ** (t2 - t1)
    escort = p**t2 / (p**t2).sum(1, keepdim=True)
    (got,) = torch.autograd.grad(call(x).sum(), x)
    torch.testing.assert_close(got, g - escort * g.sum(1, keepdim=True))


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.9), st.floats(1.1, 4), st.floats(1, 1e6))
def test_bi_tempered_is_bounded(t1: float, t2: float, size: float) -> None:
    """One wrong sample costs at most 1 / (1 - t1) + ..., however certain the network is."""
    x = float64([[size, 0.0, -size]])
    value = float(losses.bi_tempered(x, torch.tensor([2]), t1=t1, t2=t2))
    assert value <= 1 / (1 - t1) + 1e-3


def test_loss_correction_of_clean_labels_is_cross_entropy_and_its_mean_undoes_the_noise() -> None:
    x, y = logits(9, 3), labels(9, classes=3)
    clean = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    noise = ((0.7, 0.2, 0.1), (0.0, 0.9, 0.1), (0.3, 0.1, 0.6))
    for kind in ("forward", "backward"):
        got = losses.loss_correction(x, y, matrix=clean, kind=kind)
        torch.testing.assert_close(got, losses.cross_entropy(x, y))
    # Unbiased: the backward loss, averaged over the noisy labels of a class, is the clean loss.
    for true in range(3):
        shares = float64(noise[true])
        each = [
            losses.loss_correction(
                x, torch.full((9,), seen), matrix=noise, kind="backward", reduction="none"
            )
            for seen in range(3)
        ]
        mean = (torch.stack(each) * shares[:, None]).sum(0)
        plain = losses.cross_entropy(x, torch.full((9,), true), reduction="none")
        torch.testing.assert_close(mean, plain)
    seen = (x.softmax(1) @ float64(noise)).log()
    torch.testing.assert_close(losses.loss_correction(x, y, matrix=noise), F.nll_loss(seen, y))


def test_loss_correction_refuses_what_is_no_noise() -> None:
    x, y = logits(9, 2), labels(9, classes=2)
    with pytest.raises(UsageError, match="row 1 of the noise matrix has 2 shares that add up to 2"):
        losses.loss_correction(x, y, matrix=((1.0, 0.0), (1.0, 1.0)))


# --- rare classes -----------------------------------------------------------------------------


def test_class_balanced_weights_by_the_paper() -> None:
    """(1 - b) / (1 - b^n), scaled to sum C, for b = 0.9999 and counts over four decades."""
    counts, beta = (5000.0, 500.0, 50.0, 1.0), 0.9999
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    weight = float64(raw) * 4 / sum(raw)
    x, y = logits(20, 4), labels(20, classes=4)
    plain = losses.cross_entropy(x, y, reduction="none")
    got = losses.class_balanced(x, y, class_counts=counts)
    torch.testing.assert_close(got, (weight[y] * plain).mean())
    single = losses.class_balanced(x.float(), y, class_counts=counts)
    torch.testing.assert_close(single.double(), got, rtol=1e-6, atol=0)
    hot = F.one_hot(y, 4).double()
    binary = F.binary_cross_entropy_with_logits(x, hot, reduction="none").sum(1)
    torch.testing.assert_close(
        losses.class_balanced(x, y, class_counts=counts, base="bce"), (weight[y] * binary).mean()
    )
    torch.testing.assert_close(
        losses.class_balanced(x, y, class_counts=counts, base="focal", gamma=0),
        losses.class_balanced(x, y, class_counts=counts, base="bce"),
    )


def test_ldam_gives_the_rarest_class_the_whole_margin() -> None:
    x = torch.zeros(2, 2, dtype=torch.float64)
    values = losses.ldam(
        x, torch.tensor([0, 1]), class_counts=(160.0, 10.0), s=1.0, reduction="none"
    )
    expected = [math.log1p(math.exp(0.25)), math.log1p(math.exp(0.5))]  # 16^(-1/4) = 1/2
    assert values.tolist() == pytest.approx(expected)


def test_logit_adjusted_is_bayes_rule() -> None:
    """The softmax of the changed scores is the posterior under the training prior."""
    x, y, counts = logits(15, 3), labels(15, classes=3), (70.0, 20.0, 10.0)
    joint = x.softmax(1) * float64(counts)
    posterior = joint / joint.sum(1, keepdim=True)
    expected = F.nll_loss(posterior.log(), y)
    torch.testing.assert_close(losses.logit_adjusted(x, y, class_counts=counts), expected)


def test_counts_that_are_not_one_per_class_are_refused() -> None:
    for name in ("class_balanced", "ldam", "logit_adjusted"):
        with pytest.raises(UsageError, match="class_counts has 2 values, but there are 3 classes"):
            getattr(losses, name)(logits(4, 3), labels(4, classes=3), class_counts=(1.0, 2.0))


def test_seesaw_on_a_batch_worked_out_by_hand() -> None:
    """Labels 0, 0, 0, 1: class 1 is three times rarer, class 2 was never seen (counts as 1)."""
    x = torch.zeros(4, 3, dtype=torch.float64)
    y = torch.tensor([0, 0, 0, 1])
    terms = loss_function(loss["seesaw"], {})(x, y, seen=torch.zeros(3, dtype=torch.float64))
    spared = (1 / 3) ** 0.8
    common, rare = math.log(1 + 2 * spared), math.log(3)
    assert terms.values.tolist() == pytest.approx([common] * 3 + [rare])
    assert terms.state is not None
    assert terms.state["seen"].tolist() == [3, 1, 0]


def test_seesaw_pushes_down_what_is_believed_more_than_the_truth() -> None:
    p = float64([[0.2, 0.5, 0.3]])
    seen = torch.full((3,), 7.0, dtype=torch.float64)
    apply = loss_function(loss["seesaw"], {"p": 0.0})
    value = apply(p.log(), torch.tensor([0]), seen=seen).values
    expected = -math.log(0.2 / (0.2 + 0.5 * 2.5**2 + 0.3 * 1.5**2))
    assert float(value) == pytest.approx(expected)


def test_topk_keeps_the_hardest() -> None:
    x, y = logits(10, 3), labels(10, classes=3)
    plain = F.cross_entropy(x, y, reduction="none")
    for knobs, kept in (({}, 7), ({"ratio": 0.05}, 1), ({"k": 3}, 3), ({"k": 99}, 10)):
        expected = plain.topk(kept).values.mean()
        torch.testing.assert_close(losses.topk_cross_entropy(x, y, **knobs), expected)
    pixels, truth = logits(2, 3, 4, 4), labels(2, 4, 4, classes=3)
    values = F.cross_entropy(pixels, truth, reduction="none").flatten().topk(22).values
    torch.testing.assert_close(losses.topk_cross_entropy(pixels, truth), values.mean())
