"""torch's losses of pairs, triplets, sequences and large vocabularies: by hand, against torch."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench import losses
from lossbench.components.distances.vectors import cosine_distance
from lossbench.errors import UsageError
from lossbench.evaluate.losses import prepare
from lossbench.kernels import reduce
from lossbench.registry import loss


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def real(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=source(seed), dtype=torch.float64)


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- pairs and triplets -----------------------------------------------------------------------


def test_cosine_embedding_by_hand() -> None:
    one, other = float64([[3.0, 4.0]] * 3), float64([[6.0, 8.0], [-4.0, 3.0], [3.0, 4.0]])
    signs = float64([1, 1, -1])
    values = losses.cosine_embedding(one, other, signs, margin=0.25, reduction="none")
    assert values.tolist() == pytest.approx([0, 1, 0.75])


def test_triplet_margin_by_hand_and_swapped() -> None:
    anchor, positive, negative = float64([[0.0, 0.0]]), float64([[3.0, 4.0]]), float64([[5.0, 4.0]])
    near, far, between = 5.0, math.sqrt(41), 2.0
    knobs = {"eps": 1e-12, "impl": "formula"}
    plain = losses.triplet_margin(anchor, positive, negative, margin=2.0, **knobs)
    assert float(plain) == pytest.approx(2 + near - far)
    swapped = losses.triplet_margin(anchor, positive, negative, margin=2.0, swap=True, **knobs)
    assert float(swapped) == pytest.approx(2 + near - between)


@pytest.mark.parametrize("swap", [False, True])
def test_triplet_with_a_distance_by_function_and_by_name(swap: bool) -> None:
    three = [real(6, 4, seed=seed) for seed in range(3)]
    expected = F.triplet_margin_with_distance_loss(
        *three, distance_function=lambda a, b: 1 - F.cosine_similarity(a, b), swap=swap
    )
    by_function = losses.triplet_margin_with_distance(
        *three, distance_function=cosine_distance, swap=swap, impl="formula"
    )
    torch.testing.assert_close(by_function, expected)
    named = prepare(
        loss["triplet_margin_with_distance"],
        {"distance_function": "cosine_distance", "swap": swap},
        dict(zip(("anchor", "positive", "negative"), (x.tolist() for x in three), strict=True)),
    )
    torch.testing.assert_close(reduce(named.terms(), "mean"), expected)


# --- sequences --------------------------------------------------------------------------------


def every_alignment(log_p: Tensor, labels: list[int], blank: int) -> float:
    """-ln of the sum over all C^T paths that collapse to the labels: the definition itself."""
    steps, classes = log_p.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c != blank] == labels:
            total += math.exp(sum(float(log_p[t, c]) for t, c in enumerate(path)))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_is_the_sum_over_all_alignments(blank: int) -> None:
    log_p = real(6, 5, 3).log_softmax(2)
    a, b = (c for c in range(3) if c != blank)
    target = [[a, b, a], [a, a, b], [b, 0, 0], [a, b, b], [0, 0, 0]]
    steps, lengths = [6, 5, 4, 6, 3], [3, 3, 1, 3, 0]
    values = losses.ctc(
        log_p, torch.tensor(target), torch.tensor(steps), torch.tensor(lengths),
        blank=blank, reduction="none",
    )  # fmt: skip
    expected = [
        every_alignment(log_p[: steps[n], n], target[n][: lengths[n]], blank) for n in range(5)
    ]
    assert values.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("impl", ["formula", "kernel"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_ctc_reduces_as_torch_also_through_a_softmax(impl: str, reduction: str) -> None:
    logits = real(12, 4, 5).requires_grad_()
    target = torch.randint(1, 5, (4, 4), generator=source(1))
    steps, lengths = torch.tensor([12, 11, 10, 12]), torch.tensor([4, 3, 1, 2])
    expected = F.ctc_loss(logits.log_softmax(2), target, steps, lengths, reduction=reduction)
    got = losses.ctc(logits.log_softmax(2), target, steps, lengths, impl=impl, reduction=reduction)
    torch.testing.assert_close(got, expected)
    pulls = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (got, expected)]
    torch.testing.assert_close(*pulls)


def test_ctc_of_what_cannot_be_aligned_is_infinite_or_left_out() -> None:
    """Two equal labels need a blank between them: two steps are too few."""
    log_p = real(2, 1, 3).log_softmax(2).requires_grad_()
    target, steps, lengths = torch.tensor([[1, 1]]), torch.tensor([2]), torch.tensor([2])
    assert losses.ctc(log_p, target, steps, lengths).item() == math.inf
    nothing = losses.ctc(log_p, target, steps, lengths, zero_infinity=True)
    (pull,) = torch.autograd.grad(nothing, log_p)
    assert nothing.item() == 0
    assert bool((pull == 0).all())


def test_the_value_of_a_sequence_does_not_depend_on_the_others() -> None:
    log_p = real(9, 4, 5).log_softmax(2)
    target = torch.randint(1, 5, (4, 3), generator=source(1))
    steps, lengths = torch.tensor([9, 8, 9, 7]), torch.tensor([3, 2, 1, 3])
    whole = losses.ctc(log_p, target, steps, lengths, reduction="none")
    for n in range(4):
        one = slice(n, n + 1)
        alone = losses.ctc(log_p[:, one], target[one], steps[one], lengths[one], reduction="none")
        torch.testing.assert_close(alone, whole[one])


# --- large vocabularies -----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="torch 2.13 has it")
@pytest.mark.parametrize("knobs", [{}, {"label_smoothing": 0.2}, {"weight": (0.5, 2.0, 1.0, 3.0)}])
def test_linear_cross_entropy_is_torchs(knobs: dict) -> None:
    x, w = real(8, 5).requires_grad_(), real(4, 5, seed=1).requires_grad_()
    y = torch.randint(4, (8,), generator=source(2))
    y[3] = -100
    torchs = {k: float64(v) if k == "weight" else v for k, v in knobs.items()}
    expected = F.linear_cross_entropy(x, w, y, **torchs)
    got = losses.linear_cross_entropy(x, y, linear_weight=w, **knobs)
    torch.testing.assert_close(got, expected)
    for ours, other in zip(
        torch.autograd.grad(got, (x, w)), torch.autograd.grad(expected, (x, w)), strict=True
    ):
        torch.testing.assert_close(ours, other)


def test_linear_cross_entropy_refuses_weights_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="weight has 2 values, but there are 4 classes"):
        losses.linear_cross_entropy(
            real(3, 5), torch.tensor([0, 1, 2]), linear_weight=real(4, 5), weight=(1.0, 2.0)
        )


def test_adaptive_log_softmax_is_torchs_module() -> None:
    torch.manual_seed(0)
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, [4, 10], div_value=2.0).double()
    x = real(30, 16).requires_grad_()
    y = torch.randint(20, (30,), generator=source(1))
    parts = dict(module.named_parameters())
    narrow = torch.cat([parts["tail.0.0.weight"], parts["tail.1.0.weight"]])
    wide = torch.cat([parts["tail.0.1.weight"].flatten(), parts["tail.1.1.weight"].flatten()])
    own = {"head": parts["head.weight"], "narrow": narrow, "wide": wide}
    got = losses.adaptive_log_softmax(x, y, **own, cutoffs=(4, 10), div_value=2, reduction="none")
    output, mean = module(x, y)
    torch.testing.assert_close(got, -output)
    ours = torch.autograd.grad(got.mean(), (x, parts["head.weight"]), retain_graph=True)
    torchs = torch.autograd.grad(mean, (x, parts["head.weight"]))
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other)
    shapes = {
        name: declared.shape(16, 20, cutoffs=(4, 10), div_value=2)
        for name, declared in loss["adaptive_log_softmax"].facts.parameters.items()
        if declared.shape
    }
    assert shapes == {name: tuple(value.shape) for name, value in own.items()}


def test_adaptive_log_softmax_is_a_distribution_over_all_classes() -> None:
    knobs = {"cutoffs": (2, 5), "div_value": 2}
    facts = loss["adaptive_log_softmax"].facts.parameters
    own = {
        name: real(*declared.shape(8, 9, **knobs), seed=place)
        for place, (name, declared) in enumerate(facts.items())
        if declared.shape
    }
    x = real(1, 8, seed=9).expand(9, 8)
    surprise = losses.adaptive_log_softmax(x, torch.arange(9), **own, **knobs, reduction="none")
    assert float(torch.exp(-surprise).sum()) == pytest.approx(1)


@pytest.mark.parametrize("cutoffs", [(5, 2), (3, 3)])
def test_cutoffs_that_do_not_grow_are_refused(cutoffs: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="cutoffs must grow"):
        losses.adaptive_log_softmax(
            real(2, 4), torch.tensor([0, 1]), head=real(4, 4), narrow=real(2, 4), wide=real(9),
            cutoffs=cutoffs,
        )  # fmt: skip
