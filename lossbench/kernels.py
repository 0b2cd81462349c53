"""How a component is called with its knobs: through torch's own kernel, or by our formula.

Everything else calls a component by what these functions return, so that nobody has to know which
of the two it is, or how torch names an argument.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_args, get_origin

from lossbench.components.declarations import ActivationFacts, DistanceFacts, LossFacts
from lossbench.components.vocabulary import Terms
from lossbench.errors import UnknownNameError, UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, Knob

IMPLEMENTATIONS = ("auto", "formula", "kernel")
REDUCTIONS = ("none", "mean", "sum", "batchmean")


def activation_function(
    entry: Entry[ActivationFacts], knobs: Mapping[str, Any], impl: str = "auto"
) -> Callable[..., Tensor]:
    """Return the activation as a function of `(x, **learned_parameters)`.

    impl "auto" takes torch's kernel where there is one, else the formula. Where the activation
    draws random numbers (`facts.random`), the function also takes `training`, false by default.
    Raises UsageError for knobs or an `impl` that cannot be served.
    """
    filled = fill(entry, knobs)
    kernel = _choose(entry, filled, impl)
    if kernel is None:
        return partial(entry.function, **filled)
    renamed = entry.facts.kernel_knobs
    if renamed is None:
        return partial(kernel, **filled)
    if not entry.facts.parameters:
        return partial(kernel, **renamed(filled))

    def call(x: Tensor, **learned: Tensor) -> Tensor:
        return kernel(x, **renamed({**filled, **learned}))

    return call


def loss_function(
    entry: Entry[LossFacts], knobs: Mapping[str, Any], impl: str = "auto"
) -> Callable[..., Terms]:
    """Return the loss as a function of `(prediction, target, **heads_parameters_state)`.

    A loss that declares other inputs takes those by position, and one with players takes `part`.
    It gives Terms, whatever the component itself returns: unreduced values, an already reduced
    scalar, or Terms. impl "auto" takes torch's kernel where there is one that serves
    (`facts.prefer_formula`), else the formula.
    Raises UsageError for knobs or an `impl` that cannot be served.
    """
    filled = fill(entry, knobs)
    kernel = _choose(entry, filled, impl)
    vectors = {
        knob.name: vector
        for knob in entry.knobs
        if is_vector(knob) and (vector := _vector(filled[knob.name])) is not None
    }
    facts = entry.facts

    def arguments(inputs: Sequence[Any]) -> dict[str, Any]:
        like = _first_floats(inputs)
        # First the dtype, then the device: not every device knows float64.
        return {
            **filled,
            **{name: vector.to(like.dtype).to(like.device) for name, vector in vectors.items()},
        }

    def by_formula(*inputs: Any, **more: Any) -> Terms:
        return as_terms(entry, entry.function(*inputs, **arguments(inputs), **more))

    def by_kernel(*inputs: Any, **more: Any) -> Terms:
        assert kernel is not None
        given = arguments(inputs)
        weight = facts.weight(*inputs, **given) if facts.weight is not None else None
        lengths = facts.lengths(*inputs) if facts.lengths is not None else None
        given.update(more)
        renamed = facts.kernel_knobs(given) if facts.kernel_knobs is not None else given
        values = kernel(*inputs, **renamed, reduction="none")
        return Terms(values, weight, lengths=lengths)

    return by_formula if kernel is None else by_kernel


def first_state(
    entry: Entry[LossFacts], knobs: Mapping[str, Any], outputs: int
) -> dict[str, Tensor]:
    """Return what a loss keeps from batch to batch as it is before the first one, by name.

    `outputs` is the size of dimension 1 of the prediction: the classes, or the values.
    """
    return {
        name: value(outputs, **knobs) if callable(value) else torch.tensor(float(value))
        for name, value in entry.facts.state.items()
    }


def missing_state(
    entry: Entry[LossFacts], knobs: Mapping[str, Any], like: Tensor, given: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the first state in the place of what is not given, fit for a prediction `like`."""
    if not entry.facts.state:
        return {}
    found = {}
    for name, made in first_state(entry, knobs, like.shape[1] if like.dim() > 1 else 1).items():
        if given.get(name) is None:
            # Counts and means keep float32 beside predictions of half precision.
            wider = made.is_floating_point() and like.is_floating_point()
            kind = torch.promote_types(made.dtype, like.dtype) if wider else made.dtype
            found[name] = made.to(kind).to(like.device)
    return found


def distance_function(
    entry: Entry[DistanceFacts],
    knobs: Mapping[str, Any],
    impl: str = "auto",
    *,
    pairwise: bool = False,
) -> Callable[..., Tensor]:
    """Return the distance as a function of `(x1, x2)`: of aligned pairs, or all against all.

    Raises UsageError for knobs or an `impl` that cannot be served, and for a full matrix of what
    compares whole sets.
    """
    filled = fill(entry, knobs)
    if pairwise and entry.facts.sets:
        raise UsageError(
            f"{entry.name} compares two sets as wholes: there is no matrix of all pairs"
        )
    kernel = None if pairwise and impl == "auto" else _choose(entry, filled, impl)
    renamed = entry.facts.kernel_knobs
    if kernel is not None:
        return partial(kernel, **(filled if renamed is None else renamed(filled)))
    formula = partial(entry.function, **filled)
    if not pairwise or entry.facts.matrix:
        return formula
    # All against all leaves the coordinates in the last dimension, wherever they were.
    last = {"dim": -1} if "dim" in filled else {}
    return lambda x1, x2, *more: formula(x1.unsqueeze(-2), x2.unsqueeze(-3), *more, **last)


def _first_floats(inputs: Sequence[Any]) -> Tensor:
    """Return the first tensor of floats among some inputs, which says dtype and device."""
    flat = [part for given in inputs for part in (given if isinstance(given, list) else [given])]
    tensors = [part for part in flat if isinstance(part, torch.Tensor)]
    return next((part for part in tensors if part.is_floating_point()), tensors[0])


def reduce(terms: Terms, reduction: str) -> Tensor:
    """Reduce a loss to one number: mean (weighted, as torch), sum, batchmean; or to none.

    batchmean is the sum divided by the number of samples.
    Raises UnknownNameError for any other reduction.
    """
    if reduction == "mean":
        return terms.mean()
    if reduction == "sum":
        return terms.total()
    if reduction == "none":
        return terms.values
    if reduction == "batchmean":
        return terms.total() / (len(terms.values) if terms.values.dim() else 1)
    raise UnknownNameError("reduction", reduction, REDUCTIONS)


def as_terms(entry: Entry[LossFacts], result: Any) -> Terms:
    """Take what a loss returned, a user's own included, as Terms.

    Raises UsageError naming the loss's place where it returned neither a tensor nor Terms.
    """
    if isinstance(result, Terms):
        return result
    if isinstance(result, torch.Tensor):
        return Terms(result)
    place = f"{entry.file}:{entry.line}: " if entry.file is not None else ""
    raise UsageError(
        f"{place}the loss '{entry.name}' returned {type(result).__name__}",
        hint="return a tensor: one value per sample or element, or a single one for the batch",
    )


def fill(entry: Entry[Any], knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return every knob of a component: those given, and the defaults of the others.

    Raises UnknownNameError for a name that is no knob of it, UsageError for a required knob that
    is missing and for knobs that contradict each other.
    """
    for name in knobs:
        entry.knob(name)
    filled = {**entry.defaults(), **knobs}
    missing = [knob.name for knob in entry.knobs if knob.name not in filled]
    if missing:
        raise UsageError(
            f"the {entry.kind} '{entry.name}' needs {' and '.join(missing)}",
            hint=f"its knobs: {', '.join(knob.name for knob in entry.knobs)}",
        )
    check = getattr(entry.facts, "check", None)
    if check is not None and not varying(entry, filled):
        check(**filled)
    return filled


def varying(entry: Entry[Any], knobs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the knobs that are numbers but were given as tensors, so may differ by trial."""
    return tuple(
        knob.name
        for knob in entry.knobs
        if not is_vector(knob) and isinstance(knobs[knob.name], torch.Tensor)
    )


def is_vector(knob: Knob) -> bool:
    """Tell whether a knob is a list of any length (class weights): torch wants a tensor for it.

    Lists of whole numbers (cutoffs) stay what they are.
    """
    return any(
        get_origin(part) is tuple
        and get_args(part)[-1:] == (Ellipsis,)
        and int not in (get_args(part)[0], *get_args(get_args(part)[0]))
        for part in (knob.annotation, *get_args(knob.annotation))
    )


def is_matrix(knob: Knob) -> bool:
    """Tell whether a knob is a list of lists (a noise matrix)."""
    return is_vector(knob) and any(
        get_origin(part) is tuple and get_origin(get_args(part)[0]) is tuple
        for part in (knob.annotation, *get_args(knob.annotation))
    )


def _vector(value: Any) -> Tensor | None:
    """Return a list of numbers as a tensor, of float64 until it meets the prediction's dtype."""
    if value is None or isinstance(value, torch.Tensor):
        return value
    return torch.tensor(value, dtype=torch.float64)


def _choose(entry: Entry[Any], knobs: Mapping[str, Any], impl: str) -> Callable[..., Any] | None:
    """Return the kernel to call, none for the formula.

    Raises UsageError where what is asked for does not exist.
    """
    if impl not in IMPLEMENTATIONS:
        raise UnknownNameError("implementation", impl, IMPLEMENTATIONS)
    named = f"the {entry.kind} '{entry.name}'"
    only = entry.facts.kernel_only
    if impl == "formula":
        if only is not None:
            raise UsageError(f"{named} cannot use impl: formula", hint=only)
        return None
    changing = varying(entry, knobs)
    if impl == "auto" and only is None:
        # The kernels take plain numbers; a knob that differs between trials needs the formula.
        if changing or getattr(entry.facts, "prefer_formula", None) is not None:
            return None
        return entry.load_kernel()
    if changing:
        raise UsageError(
            f"{named}: torch's kernel cannot vary {', '.join(changing)} between trials",
            hint="use impl: formula" if only is None else only,
        )
    kernel = entry.load_kernel()
    if kernel is None:
        lacking = f"this torch ({torch.version.__version__}) has no {entry.kernel}"
        raise UsageError(
            f"{named} has no kernel: {lacking if entry.kernel else 'torch does not ship one'}",
            hint="use impl: formula" if only is None else only,
        )
    return kernel
