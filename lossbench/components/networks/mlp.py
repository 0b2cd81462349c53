"""Networks of linear layers."""

from typing import Annotated, Literal

from annotated_types import MinLen

from lossbench.components.modules import MakeActivation, Shape
from lossbench.components.networks._parts import Initialization, Row, initialize
from lossbench.components.vocabulary import Decay, Positive, PositiveInt, is_off
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import layer, network


@network()
def mlp(
    inputs: Shape,
    outputs: int | Shape,
    activation: MakeActivation,
    *,
    hidden: Annotated[tuple[PositiveInt, ...], MinLen(1)] = (32,),
    norm: Literal["none", "batch", "layer"] = "none",
    dropout: Decay = 0.0,
    bias: bool = True,
    init: Initialization = "default",
    gain: Positive | None = None,
) -> "nn.Module":
    """Linear layers with an activation between them: the network every other one is measured by.

    Formula:    x -> activation(norm(A x + b)), dropout; once per hidden width; then A x + b
    Shapes:     any input, flattened -> (outputs,)
    Knobs:
        hidden: the widths of the hidden layers, in front of the activation.
        norm: what stands in front of each activation: nothing, batch_norm or layer_norm.
        dropout: the share of the values set to 0 behind each activation.
        bias: whether the linear layers have biases.
        init: how the weights are drawn; other than by default, biases start at 0.
        gain: the factor of the weights' deviation; by default sqrt(2) for kaiming, 1 for the rest.
    Note:       an activation that changes the width (glu halves it) is followed by what it leaves.
    Errors:     no hidden width: `linear` is that network.
    """
    if not hidden:
        raise UsageError("mlp: 'hidden' is empty", hint="give widths, or use the network 'linear'")
    row = Row(inputs)
    row.flatten()
    for number, width in enumerate(hidden, start=1):
        row.add(
            f"linear{number}", layer["linear"].function(row.shape, out_features=width, bias=bias)
        )
        if norm != "none":
            row.add(f"norm{number}", layer[f"{norm}_norm"].function(row.shape))
        row.add(f"activation{number}", activation(row.shape))
        if not is_off(dropout):
            row.add(f"dropout{number}", layer["dropout"].function(row.shape, p=dropout))
    return initialize(row.finish(outputs, bias=bias), init, gain)


@network()
def linear(
    inputs: Shape,
    outputs: int | Shape,
    activation: MakeActivation,  # noqa: ARG001 - the contract passes it
    *,
    bias: bool = True,
    init: Initialization = "default",
    gain: Positive | None = None,
) -> "nn.Module":
    """One linear layer: linear regression with a squared loss, logistic with a logistic one.

    Formula:    A x + b
    Shapes:     any input, flattened -> (outputs,)
    Knobs:
        bias: whether there is a b.
        init: how the weights are drawn; other than by default, biases start at 0.
        gain: the factor of the weights' deviation; by default sqrt(2) for kaiming, 1 for the rest.
    Note:       it has no place for an activation.
    """
    return initialize(Row(inputs).finish(outputs, bias=bias), init, gain)
