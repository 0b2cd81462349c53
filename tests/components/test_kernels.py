"""How components are called: which implementation, with which arguments, and what comes out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lossbench.components.samples import Draw
from lossbench.components.vocabulary import Terms
from lossbench.errors import UnknownNameError, UsageError
from lossbench.kernels import (
    activation_function,
    as_terms,
    fill,
    is_vector,
    loss_function,
    reduce,
)
from lossbench.registry import activation, loss

X = Draw().normal(6, 4)
LABELS = torch.tensor([0, 3, 1, 2, 2, 1])


def users_loss(function: Any) -> Any:
    """Describe a plain function of a user's own as a loss."""
    return loss.entry(function, target="real")


# --- which implementation -----------------------------------------------------------------------


def called(monkeypatch: pytest.MonkeyPatch, path: str, kind: Any, name: str, impl: str) -> bool:
    """Tell whether the kernel at `path` of torch.nn.functional is what computes."""
    calls: list[Any] = []
    original = getattr(F, path)
    monkeypatch.setattr(F, path, lambda *a, **k: calls.append(a) or original(*a, **k))
    if kind is activation:
        activation_function(kind[name], {}, impl)(X)
    else:
        loss_function(kind[name], {}, impl)(X, X.sign())
    return bool(calls)


@pytest.mark.parametrize(
    ("impl", "expected"), [("auto", True), ("kernel", True), ("formula", False)]
)
def test_auto_takes_the_kernel(monkeypatch: Any, impl: str, expected: bool) -> None:
    assert called(monkeypatch, "gelu", activation, "gelu", impl) is expected
    assert called(monkeypatch, "huber_loss", loss, "huber", impl) is expected


@pytest.mark.parametrize(
    ("impl", "expected"), [("auto", False), ("kernel", True), ("formula", False)]
)
def test_auto_takes_the_formula_where_it_is_declared_the_better_one(
    monkeypatch: Any, impl: str, expected: bool
) -> None:
    assert called(monkeypatch, "soft_margin_loss", loss, "logistic", impl) is expected


def test_auto_takes_the_formula_where_this_torch_lacks_the_kernel(monkeypatch: Any) -> None:
    expected = F.huber_loss(X, -X, reduction="none")
    monkeypatch.delattr(F, "huber_loss")
    torch.testing.assert_close(loss_function(loss["huber"], {})(X, -X).values, expected)
    with pytest.raises(UsageError, match=r"this torch .* has no torch.nn.functional.huber_loss"):
        loss_function(loss["huber"], {}, "kernel")


def test_a_number_given_as_a_tensor_takes_the_formula() -> None:
    delta = torch.tensor(0.3)
    values = loss_function(loss["huber"], {"delta": delta})(X, -X).values
    torch.testing.assert_close(values, F.huber_loss(X, -X, delta=0.3, reduction="none"))
    with pytest.raises(UsageError, match="cannot vary delta between trials"):
        loss_function(loss["huber"], {"delta": delta}, "kernel")


def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(UsageError, match="'hinge' has no kernel: torch does not ship one"):
        loss_function(loss["hinge"], {}, "kernel")
    with pytest.raises(UsageError, match="'rrelu' cannot use impl: formula"):
        activation_function(activation["rrelu"], {}, "formula")
    with pytest.raises(UsageError, match="cannot vary lower"):
        activation_function(activation["rrelu"], {"lower": torch.tensor(0.1)})
    with pytest.raises(UnknownNameError, match="did you mean formula"):
        loss_function(loss["mse"], {}, "formulas")


# --- knobs ------------------------------------------------------------------------------------


def test_knobs_are_completed_and_checked() -> None:
    entry = loss["gaussian_nll"]
    assert fill(entry, {"full": True}) == {"full": True, "eps": 1e-6}
    with pytest.raises(UnknownNameError, match="did you mean eps"):
        fill(entry, {"ep": 1.0})
    with pytest.raises(UsageError, match="'threshold' needs threshold and value"):
        activation_function(activation["threshold"], {})


def test_lists_of_any_length_are_vectors_and_fixed_ones_are_not() -> None:
    def function(
        prediction: Any,
        target: Any,
        *,
        weight: tuple[float, ...] | None = None,
        betas: tuple[float, float] = (0.9, 0.99),
        power: float = 1.0,
    ) -> Any:
        """Do nothing."""

    entry = users_loss(function)
    assert [knob.name for knob in entry.knobs if is_vector(knob)] == ["weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("impl", ["formula", "kernel"])
@pytest.mark.parametrize("given", [(1.0, 0.1, 3.0, 2.0), [1, 0.1, 3, 2]], ids=["tuple", "list"])
def test_class_weights_become_tensors_like_the_prediction(
    dtype: torch.dtype, impl: str, given: Any
) -> None:
    terms = loss_function(loss["cross_entropy"], {"weight": given}, impl)(X.to(dtype), LABELS)
    assert terms.weight is not None
    expected = torch.tensor(given, dtype=dtype)[LABELS]
    assert torch.equal(terms.weight, expected)
    assert terms.values.dtype == dtype


def test_class_weights_move_to_the_predictions_device() -> None:
    call = loss_function(loss["cross_entropy"], {"weight": (1.0, 1.0, 1.0, 1.0)}, "formula")
    terms = call(X.to("meta"), LABELS.to("meta"))
    assert terms.values.device.type == "meta"


def test_heads_reach_the_kernel_under_torchs_name() -> None:
    variance = X.square() + 0.1
    call = loss_function(loss["gaussian_nll"], {"full": True}, "kernel")
    values = call(X, -X, variance=variance).values
    expected = F.gaussian_nll_loss(X, -X, variance, full=True, reduction="none")
    assert torch.equal(values, expected)


# --- what comes out ---------------------------------------------------------------------------


def test_reductions() -> None:
    terms = Terms(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert reduce(terms, "none") is terms.values
    assert reduce(terms, "sum") == 12
    assert reduce(terms, "mean") == 3
    assert reduce(terms, "batchmean") == 6
    weighted = Terms(torch.tensor([2.0, 4.0]), weight=torch.tensor([1.0, 3.0]))
    assert reduce(weighted, "mean") == 1.5
    with pytest.raises(UnknownNameError, match="did you mean mean"):
        reduce(terms, "means")


def test_a_users_loss_may_return_values_a_scalar_or_terms() -> None:
    def unreduced(prediction: Any, target: Any, *, power: float = 2.0) -> Any:
        """Residual to a power."""
        return (prediction - target).abs() ** power

    def reduced(prediction: Any, target: Any) -> Any:
        """Mean already taken."""
        return (prediction - target).square().mean()

    def terms(prediction: Any, target: Any) -> Any:
        """Values and what the mean divides by."""
        return Terms((prediction - target).square(), weight=torch.full((2,), 12.0))

    expected = F.mse_loss(X, -X)
    for function in (unreduced, reduced, terms):
        result = loss_function(users_loss(function), {})(X, -X)
        torch.testing.assert_close(reduce(result, "mean"), expected)
    cubic = loss_function(users_loss(unreduced), {"power": 3.0})(X, -X)
    torch.testing.assert_close(cubic.values, (2 * X).abs() ** 3)
    scalar = loss_function(users_loss(reduced), {})(X, -X)
    assert reduce(scalar, "batchmean") == reduce(scalar, "sum") == reduce(scalar, "none")


def test_a_users_loss_that_returns_something_else_is_named_with_its_place() -> None:
    def wrong(prediction: Any, target: Any) -> Any:
        """Return a number, so that nothing can be learned."""
        return float((prediction - target).sum())

    entry = users_loss(wrong)
    with pytest.raises(UsageError, match=rf"test_kernels.py:{entry.line}: .*returned float"):
        loss_function(entry, {})(X, X)
    assert as_terms(entry, X).values is X


def test_a_users_activation_with_parameters() -> None:
    from lossbench.components.declarations import Parameter

    def scaled(x: Any, *, scale: Any, shift: float = 0.0) -> Any:
        """Multiply by what is learned."""
        return x * scale + shift

    entry = activation.entry(scaled, parameters={"scale": Parameter(2.0)})
    assert [knob.name for knob in entry.knobs] == ["shift"]
    y = activation_function(entry, {"shift": 1.0})(X, scale=torch.tensor(2.0))
    torch.testing.assert_close(y, 2 * X + 1)
