"""Components as ordinary Python functions."""

import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossbench.checks.knobs import first_knobs
from lossbench.checks.loss_inputs import draw_inputs
from lossbench.errors import UnknownNameError, UsageError
from lossbench.functional import as_function, namespace
from lossbench.registry import activation, loss

activations, losses = namespace("activation"), namespace("losses")
X = torch.linspace(-2, 2, 12).reshape(3, 4)
Y = X.flip(0)


def test_dir_lists_the_catalogue() -> None:
    assert dir(losses) == loss.names()
    assert dir(activations) == activation.names()
    assert repr(losses) == f"<{len(loss)} losses>"


def test_activations() -> None:
    torch.testing.assert_close(activations.gelu(X), F.gelu(X))
    torch.testing.assert_close(
        activations.gelu(X, approximate="tanh"), F.gelu(X, approximate="tanh")
    )
    torch.testing.assert_close(activations.softmax(X, dim=0), X.softmax(0))
    torch.testing.assert_close(
        activations.threshold(X, threshold=0.5, value=-1.0), F.threshold(X, 0.5, -1.0)
    )


def test_learned_parameters_have_first_values() -> None:
    torch.testing.assert_close(activations.prelu(X), nn.PReLU()(X).detach())
    torch.testing.assert_close(activations.prelu(X, init=0.5), F.leaky_relu(X, 0.5))
    slope = torch.tensor(0.1, requires_grad=True)
    activations.prelu(X, slope=slope).sum().backward()
    assert slope.grad == X.clamp(max=0).sum()
    torch.testing.assert_close(activations.prelu(X, slope=0.3), F.leaky_relu(X, 0.3))


def test_training_is_an_argument_of_what_draws() -> None:
    torch.testing.assert_close(activations.rrelu(X), F.rrelu(X, training=False))
    torch.manual_seed(1)
    drawn = activations.rrelu(X, training=True)
    torch.manual_seed(1)
    assert torch.equal(drawn, F.rrelu(X, training=True))
    with pytest.raises(UnknownNameError):
        activations.relu(X, training=True)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses_reduce_like_torch(reduction: str) -> None:
    labels, weight = torch.tensor([0, 3, 1]), [1.0, 2.0, 0.5, 0.1]
    torch.testing.assert_close(
        losses.huber(X, Y, delta=0.5, reduction=reduction),
        F.huber_loss(X, Y, delta=0.5, reduction=reduction),
    )
    for given in (weight, tuple(weight), torch.tensor(weight)):
        for impl in ("auto", "formula", "kernel"):
            torch.testing.assert_close(
                losses.cross_entropy(X, labels, weight=given, reduction=reduction, impl=impl),
                F.cross_entropy(X, labels, weight=torch.tensor(weight), reduction=reduction),
            )


def test_mean_is_the_default_and_batchmean_is_offered() -> None:
    p = X.softmax(1)
    assert losses.mse(X, Y) == F.mse_loss(X, Y)
    torch.testing.assert_close(
        losses.kl_div(Y.log_softmax(1), p, reduction="batchmean"),
        F.kl_div(Y.log_softmax(1), p, reduction="batchmean"),
    )


def test_further_inputs_by_position_or_name() -> None:
    variance = X.square() + 1
    expected = F.gaussian_nll_loss(X, Y, variance)
    torch.testing.assert_close(losses.gaussian_nll(X, Y, variance), expected)
    torch.testing.assert_close(losses.gaussian_nll(X, Y, variance=variance), expected)
    torch.testing.assert_close(
        losses.gaussian_nll(target=Y, prediction=X, variance=variance), expected
    )


def test_other_spellings_and_identity() -> None:
    assert losses.MSELoss(X, Y) == losses.mse_loss(X, Y) == losses.l2(X, Y) == losses.mse(X, Y)
    assert losses.huber is losses.huber


def test_signature_and_documentation() -> None:
    signature = inspect.signature(losses.huber)
    assert list(signature.parameters) == ["prediction", "target", "delta", "impl", "reduction"]
    assert signature.parameters["delta"].default == 1.0
    assert losses.huber.__name__ == "huber"
    assert losses.huber.__doc__ == loss["huber"].function.__doc__
    assert "slope" in inspect.signature(activations.prelu).parameters


@pytest.mark.parametrize(
    ("space", "name", "words"),
    [
        (losses, "hubr", "did you mean huber"),
        (activations, "gelo", "did you mean gelu"),
        (losses, "zero_one", "derivative is 0 almost everywhere"),
        (losses, "__wrapped__", "__wrapped__"),
    ],
)
def test_unknown_names_are_attribute_errors(space: Any, name: str, words: str) -> None:
    assert not hasattr(space, name)
    with pytest.raises(AttributeError, match=words):
        getattr(space, name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.huber(X, Y, delta=-1.0), "delta must be a number greater than 0, got -1"),
        (lambda: losses.huber(X, Y, delta="1"), "delta must be a number"),
        (lambda: losses.huber(X, Y, dleta=1.0), "did you mean delta"),
        (lambda: losses.huber(X), "missing a required argument: 'target'"),
        (lambda: losses.huber(X, Y, X), "too many positional arguments"),
        (lambda: losses.mse(X, Y, reduction="men"), "did you mean mean"),
        (lambda: losses.mse(X, Y, impl="kernl"), "did you mean kernel"),
        (lambda: losses.cross_entropy(X, Y, weight=[-1.0, 1, 1, 1]), "weight must be "),
        (lambda: activations.gelu(X, approximate="tan"), "approximate must be .*none.* or .*tanh"),
        (lambda: activations.threshold(X), "missing a required argument: 'threshold'"),
        (lambda: activations.hardtanh(X, min_val=2.0), "min_val = 2.0 is not below"),
    ],
)
def test_wrong_arguments_are_explained(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def test_knobs_as_tensors_are_let_through() -> None:
    delta = torch.tensor(0.5, requires_grad=True)
    value = losses.huber(X, Y, delta=delta)
    torch.testing.assert_close(value.detach(), F.huber_loss(X, Y, delta=0.5))
    assert torch.autograd.grad(value, delta)[0] != 0


def test_a_loss_over_the_whole_batch_has_nothing_to_leave_unreduced() -> None:
    def spread(prediction: Any, target: Any) -> Any:
        """Variance of the residuals."""
        return (prediction - target).var()

    function = as_function(loss.entry(spread, target="real", whole_batch=True))
    torch.testing.assert_close(function(X, Y), (X - Y).var())
    with pytest.raises(UsageError, match="one value for the whole batch"):
        function(X, Y, reduction="none")


def test_unknown_kind() -> None:
    with pytest.raises(UnknownNameError, match="did you mean loss"):
        namespace("los")


def test_state_that_is_not_given_is_that_before_the_first_batch() -> None:
    """A loss with a memory is called like any other; its memory may be given as well."""
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 4]])
    moved = boxes + 0.25
    first = losses.wiou(boxes, moved)
    torch.testing.assert_close(losses.wiou(boxes, moved, iou_mean=torch.tensor(1.0)), first)
    assert losses.wiou(boxes, moved, iou_mean=torch.tensor(0.5)) != first

    views = X.double(), Y.double()
    found = losses.dino(*views)
    torch.testing.assert_close(found, losses.dino(*views, center=torch.zeros(4).double()))
    assert losses.dino(*views, center=torch.arange(4.0)) != found

    real, fake = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25])
    assert losses.began(real, fake, part="discriminator") == 1.5
    assert losses.began(real, fake, part="discriminator", k=torch.tensor(1.0)) == 1.5 - 0.375


@pytest.mark.parametrize("name", [name for name, entry in loss.items() if entry.facts.state])
def test_every_loss_with_state_is_an_ordinary_function(name: str) -> None:
    entry = loss[name]
    assert not {*entry.inputs} & {*entry.facts.state}  # by keyword: whoever calls may leave it out
    drawn = draw_inputs(entry, first_knobs(entry), (*entry.facts.encodings, None)[0], torch.float32)
    given = {key: value for key, value in drawn.items() if key not in entry.facts.state}
    expected = as_function(entry)(**drawn)
    torch.testing.assert_close(as_function(entry)(**given), expected)
    assert torch.isfinite(expected)
