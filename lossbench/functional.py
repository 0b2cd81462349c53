"""Components as ordinary functions: `lossbench.losses.huber(x, y, delta=0.5, reduction="sum")`.

A namespace has one function per component, under its name and every other spelling that the
registry understands. The functions check their arguments and are called through `kernels`.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter as Argument
from typing import Any

from pydantic import ValidationError

from lossbench.components.declarations import DistanceFacts, LossFacts
from lossbench.config.annotations import adapter, describe, show
from lossbench.errors import UnknownNameError, UsageError
from lossbench.kernels import (
    activation_function,
    distance_function,
    fill,
    loss_function,
    missing_state,
    reduce,
)
from lossbench.lazy import torch
from lossbench.registry import REQUIRED, Entry, registry_of

Call = Callable[..., Any]


class Namespace:
    """All components of one kind as functions; made by `namespace`."""

    def __init__(self, kind: str) -> None:
        self._registry = registry_of(kind)

    def __getattr__(self, name: str) -> Call:
        """Return the component of that name, or of any spelling of it, as a function.

        Raises AttributeError naming the nearest ones.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            entry = self._registry.find(name)
        except UsageError as error:
            raise AttributeError(str(error)) from None
        function = as_function(entry)
        self.__dict__[name] = function
        return function

    def __dir__(self) -> list[str]:
        """List the components."""
        return self._registry.names()

    def __repr__(self) -> str:
        """Name the kind and the number of its components."""
        return f"<{len(self._registry)} {self._registry.package.rpartition('.')[2]}>"


def namespace(kind: str) -> Namespace:
    """Return an object whose attributes are the components of a kind, as functions."""
    return Namespace(kind)


def as_function(entry: Entry[Any]) -> Call:
    """Return a component as an ordinary function, with its signature and documentation.

    Activations take their input, losses a prediction and a target (and further network outputs)
    or the inputs that they declare, distances two points, then by keyword the knobs, learned
    parameters, `impl`, and, for a loss, `reduction`, for a distance, `pairwise`. What a loss keeps
    from batch to batch may be given too; otherwise the batch counts as the first one.
    """
    # A loss of a user's own may have any facts; what counts is the kind.
    extra: dict[str, Any] = {"impl": "auto", **_EXTRA.get(entry.kind, {})}
    if getattr(entry.facts, "random", False):
        extra["training"] = False
    if noise := getattr(entry.facts, "noise", None):
        extra[noise] = None
    if getattr(entry.facts, "parts", ()):
        extra["part"] = REQUIRED
    signature = _signature(entry, extra)
    apply = partial(_APPLY[entry.kind], entry)

    def function(*inputs: Any, **options: Any) -> Any:
        for name in options:
            if name not in signature.parameters:
                raise UnknownNameError(f"argument of {entry.name}", name, signature.parameters)
        try:
            given = signature.bind(*inputs, **options)
        except TypeError as error:
            raise UsageError(
                f"{entry.name}: {error}", hint=f"call it as {entry.name}{signature}"
            ) from None
        given.apply_defaults()
        knobs = {knob.name: given.arguments.pop(knob.name) for knob in entry.knobs}
        check_knobs(entry, knobs)
        return apply(given.arguments, fill(entry, knobs))

    function.__name__ = function.__qualname__ = entry.name
    function.__doc__ = entry.function.__doc__
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _signature(entry: Entry[Any], extra: Mapping[str, Any]) -> inspect.Signature:
    """Return the formula's signature, with its learned parameters and the extra arguments."""
    own = inspect.signature(entry.function).parameters.values()
    inputs = [argument for argument in own if argument.kind is not Argument.KEYWORD_ONLY]
    kept = getattr(entry.facts, "state", None) or () if entry.kind == "loss" else ()
    state = [Argument(name, Argument.KEYWORD_ONLY, default=None) for name in kept]
    learned = [
        # An activation's parameters have first values; a loss's depend on the network's outputs.
        Argument(name, Argument.KEYWORD_ONLY, default=_without_value(entry, name))
        for name in getattr(entry.facts, "parameters", ())
    ]
    knobs = [
        Argument(knob.name, Argument.KEYWORD_ONLY, default=knob.default, annotation=knob.annotation)
        for knob in entry.knobs
    ]
    last = [Argument(name, Argument.KEYWORD_ONLY, default=value) for name, value in extra.items()]
    return inspect.Signature([*inputs, *learned, *state, *knobs, *last])


def _without_value(entry: Entry[Any], name: str) -> Any:
    """Return what stands for a learned parameter that is not given, if anything may."""
    if entry.kind != "loss":
        return None
    return inspect.signature(entry.function).parameters[name].default


def _apply_activation(
    entry: Entry[Any], arguments: dict[str, Any], knobs: Mapping[str, Any]
) -> Any:
    """Call an activation; learned parameters that are not given have their first values."""
    apply = activation_function(entry, knobs, arguments.pop("impl"))
    x = arguments.pop(next(iter(arguments)))
    for name, declared in entry.facts.parameters.items():
        first = knobs[declared.value] if isinstance(declared.value, str) else declared.value
        value = first if arguments[name] is None else arguments[name]
        arguments[name] = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return apply(x, **arguments)


def _apply_loss(
    entry: Entry[LossFacts], arguments: dict[str, Any], knobs: Mapping[str, Any]
) -> Any:
    """Call a loss and reduce it.

    Raises UsageError for reduction "none" of a loss that is one value for the whole batch.
    """
    reduction = arguments.pop("reduction")
    if reduction == "none" and entry.facts.whole_batch:
        raise UsageError(
            f"{entry.name} is one value for the whole batch: there is nothing to leave unreduced",
            hint="use reduction: mean",
        )
    part = arguments.get("part")
    if part is not None and part not in entry.facts.parts:
        raise UnknownNameError(f"part of {entry.name}", part, entry.facts.parts)
    apply = loss_function(entry, knobs, arguments.pop("impl"))
    like = next(value for value in arguments.values() if isinstance(value, torch.Tensor))
    arguments |= missing_state(entry, knobs, like, arguments)
    inputs = [arguments.pop(name) for name in entry.inputs]
    return reduce(apply(*inputs, **arguments), reduction)


def _apply_distance(
    entry: Entry[DistanceFacts], arguments: dict[str, Any], knobs: Mapping[str, Any]
) -> Any:
    """Call a distance, on aligned pairs or on all."""
    impl, pairwise = arguments.pop("impl"), arguments.pop("pairwise")
    return distance_function(entry, knobs, impl, pairwise=pairwise)(*arguments.values())


_APPLY = {"activation": _apply_activation, "loss": _apply_loss, "distance": _apply_distance}
_EXTRA: dict[str, dict[str, Any]] = {"loss": {"reduction": "mean"}, "distance": {"pairwise": False}}


def check_knobs(entry: Entry[Any], knobs: Mapping[str, Any]) -> None:
    """Refuse knobs outside the range that their annotation declares.

    Tensors are let through: they stand for many values at once.
    Raises UsageError naming the knob and what is valid.
    """
    for knob in entry.knobs:
        value = knobs[knob.name]
        if isinstance(value, torch.Tensor) or value is knob.default:
            continue
        try:
            adapter(knob.annotation).validate_python(
                tuple(value) if isinstance(value, list) else value
            )
        except ValidationError:
            raise UsageError(
                f"{entry.name}: {knob.name} must be {describe(knob.annotation)}, got {show(value)}"
            ) from None
