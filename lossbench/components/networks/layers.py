"""The network that the user writes down layer by layer."""

from typing import Annotated, Any

from annotated_types import MinLen

from lossbench.components.modules import MakeActivation, Shape
from lossbench.components.networks._items import Item, check_layers, read_items
from lossbench.components.networks._parts import Initialization, Row, initialize
from lossbench.components.vocabulary import Positive
from lossbench.errors import ConfigError, UsageError
from lossbench.lazy import nn
from lossbench.registry import layer, network


def check(*, layers: tuple[Any, ...], **_: object) -> None:
    """Refuse a list in which something cannot be a layer.

    Raises ConfigError with all that is wrong.
    """
    problems = check_layers(layers)
    if problems:
        raise ConfigError(problems)


@network(check=check)
def layers(
    inputs: Shape,
    outputs: int | Shape,
    activation: MakeActivation,
    *,
    layers: Annotated[tuple[Any, ...], MinLen(1)],
    init: Initialization = "default",
    gain: Positive | None = None,
) -> "nn.Module":
    """Layers one behind the other, as a list in YAML; what arrives at each is worked out.

    Formula:    output(layer_n(... layer_2(layer_1(x))))
    Shapes:     any input that the first layer takes -> (outputs,); the output layer is added: a
                linear one, behind a flatten where no vector arrives
    Knobs:
        layers: a list of layers: a bare name (`batch_norm`), a name with the value of its first
            knob (`linear: 32`), or a name with its knobs (`conv2d: {out_channels: 8}`).
            `activation` is the one of the config; the name of any other may stand there, too.
        init: how the weights are drawn; other than by default, biases start at 0.
        gain: the factor of the weights' deviation; by default sqrt(2) for kaiming, 1 for the rest.
    Errors:     a name that is no layer, a knob that it does not have, a shape that it does not
                take: each with the number of the item, counted from 1.
    """
    items, problems = read_items(layers)
    if problems or not items:
        raise ConfigError(problems) if problems else UsageError("layers: the list is empty")
    row = Row(inputs)
    for item in items:
        try:
            made = _make(item, row.shape, activation)
        except UsageError as error:
            raise UsageError(f"{item}: {error.message}", hint=error.hint) from error
        row.add(f"{item.name}{item.number}", made)
    return initialize(row.finish(outputs), init, gain)


def _make(item: Item, shape: Shape, activation: MakeActivation) -> "tuple[nn.Module, Shape]":
    """Make the module of one item for the shape that arrives."""
    if item.role == "layer":
        return layer[item.name].function(shape, **item.knobs)
    if item.role == "activation":
        return activation(shape, item.name, item.knobs)
    return activation(shape)
