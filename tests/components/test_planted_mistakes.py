"""Mistakes of every sort, planted into copies of components: a contract must see each of them.

A contract that cannot fail proves nothing; these are the ways in which a formula goes wrong.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lossbench.checks.all import check_contract
from lossbench.components.activations.rectifiers import relu
from lossbench.components.boxes import areas, centre_share, iou, size
from lossbench.components.losses.boxes_focused import focal_eiou
from lossbench.registry import KINDS, Entry


def huber_with_a_wrong_sign(prediction: Any, target: Any, *, delta: float = 1.0) -> Any:
    r = (prediction - target).abs()
    return torch.where(r <= delta, r * r / 2, delta * (r + delta / 2))


def half_mse_without_its_half(prediction: Any, target: Any) -> Any:
    return torch.square(prediction - target)


def charbonnier_without_eps(prediction: Any, target: Any, *, eps: float = 1e-3) -> Any:
    return torch.sqrt(torch.square(prediction - target) + 0 * eps)


def ciou_with_a_live_weight(prediction: Any, target: Any, *, eps: float = 1e-7) -> Any:
    overlap = iou(prediction, target, eps)
    (w, h), (w_t, h_t) = size(prediction), size(target)
    v = 4 / torch.pi**2 * torch.square(torch.atan(w_t / h_t) - torch.atan(w / h))
    return 1 - overlap + centre_share(prediction, target, eps) + v * v / (1 - overlap + v + eps)


def mse_in_float32(prediction: Any, target: Any) -> Any:
    return torch.square(prediction.float() - target.float())


def log_cosh_that_overflows(prediction: Any, target: Any) -> Any:
    return torch.log(torch.cosh(prediction - target))


def mse_that_looks_at_the_batch(prediction: Any, target: Any) -> Any:
    r = prediction - target
    return torch.square(r - r.mean(0))


def quantile_that_branches(prediction: Any, target: Any, *, quantile: float = 0.5) -> Any:
    if quantile > 0.4:
        quantile = quantile * 1.0
    d = target - prediction
    return torch.maximum(quantile * d, (quantile - 1) * d)


def mse_that_hides_nan(prediction: Any, target: Any) -> Any:
    return torch.nan_to_num(torch.square(prediction - target))


def cauchy_with_its_scale_forgotten(prediction: Any, target: Any, *, c: float = 1.0) -> Any:
    return torch.log1p(torch.square(prediction - target) / 2 + 0 * c)


def iou_without_its_union(prediction: Any, target: Any, *, form: str, eps: float) -> Any:
    inside, union = areas(prediction, target)
    return 1 - 2 * inside / (union + eps)


def rmse_that_counts_the_first_twice(prediction: Any, target: Any, *, eps: float = 1e-8) -> Any:
    square = torch.square(prediction - target)
    return torch.sqrt((square.mean() + square[0].mean()) / 2 + eps)


def focal_eiou_that_pulls_twice(prediction: Any, target: Any, **knobs: Any) -> Any:
    values = focal_eiou(prediction, target, **knobs)
    return 2 * values - values.detach()


def relu_that_leaks(x: Any) -> Any:
    return relu(x) + 0.01 * x


LOSSES: list[tuple[str, Callable[..., Any], str]] = [
    ("huber", huber_with_a_wrong_sign, "kernel"),
    ("half_mse", half_mse_without_its_half, "derivative"),
    ("charbonnier", charbonnier_without_eps, "finite"),
    ("ciou", ciou_with_a_live_weight, "gradient"),
    ("mse", mse_in_float32, "dtype"),
    ("log_cosh", log_cosh_that_overflows, "finite"),
    ("mse", mse_that_looks_at_the_batch, "independence"),
    ("quantile", quantile_that_branches, "trials"),
    ("mse", mse_that_hides_nan, "nan"),
    ("cauchy", cauchy_with_its_scale_forgotten, "derivative"),
    ("iou", iou_without_its_union, "bounds"),
    ("rmse", rmse_that_counts_the_first_twice, "order"),
    ("focal_eiou", focal_eiou_that_pulls_twice, "identities"),
]


@pytest.mark.parametrize(
    ("name", "wrong", "contract"), LOSSES, ids=[wrong.__name__ for _, wrong, _ in LOSSES]
)
def test_a_wrong_loss_is_seen(name: str, wrong: Callable[..., Any], contract: str) -> None:
    sound = KINDS["loss"][name]
    assert check_contract(sound, contract).verdict == "passed"
    assert check_contract(dataclasses.replace(sound, function=wrong), contract).verdict == "failed"


def _with_doc(entry: Entry[Any], section: str, text: str) -> Entry[Any]:
    doc = dataclasses.replace(entry.doc, sections={**entry.doc.sections, section: text})
    return dataclasses.replace(entry, doc=doc)


def test_a_wrong_range_is_seen() -> None:
    entry = _with_doc(KINDS["loss"]["cauchy"], "Range", "[0, 1]")
    assert "the docstring says [0, 1]" in check_contract(entry, "bounds").words


@pytest.mark.parametrize("contract", ["kernel", "derivative", "bounds"])
def test_a_wrong_activation_is_seen(contract: str) -> None:
    wrong = dataclasses.replace(KINDS["activation"]["relu"], function=relu_that_leaks)
    assert check_contract(wrong, contract).verdict == "failed"


def test_what_is_declared_to_be_held_fast_is_held_fast() -> None:
    """Also a declaration with nothing behind it is seen: it would switch a proof off."""
    mse = KINDS["loss"]["mse"]
    claim = dataclasses.replace(mse.facts, detached="the weight carries no gradient")
    finding = check_contract(dataclasses.replace(mse, facts=claim), "gradient")
    assert finding.verdict == "failed"
    assert "held fast" in finding.words
