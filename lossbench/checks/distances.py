"""What every distance promises: its kernel, its gradient, its range, and what it declares."""

from collections.abc import Mapping
from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.knobs import each_knob_varied, first_knobs, is_float, said, values_of
from lossbench.checks.numbers import (
    number,
    require_close,
    require_finite,
    require_gradients,
    tolerance,
)
from lossbench.components.declarations import DistanceFacts
from lossbench.components.samples import SORTS, Draw, Sort
from lossbench.kernels import distance_function
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, distance

Distance = Entry[DistanceFacts]


def points(entry: Distance, dtype: Any, sort: Sort = "random") -> list[Tensor]:
    """Return what is compared, in order: pairs of points, or whatever the distance asks for."""
    if entry.facts.sample is not None:
        return [*entry.facts.sample(Draw(sort, dtype)).values()]
    seeds = range(len(entry.inputs))
    return [Draw(sort, dtype, seed=seed).slot(entry.facts.slot) for seed in seeds]


def value_and_gradients(
    entry: Distance, knobs: Mapping[str, Any], given: list[Tensor], impl: str = "formula"
) -> list[Tensor]:
    """Return the values, and the derivatives of their sum by each input of floats."""
    leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in given]
    values = distance_function(entry, knobs, impl)(*leaves)
    learn = [leaf for leaf in leaves if leaf.requires_grad]
    if not values.requires_grad:
        return [values]
    grads = torch.autograd.grad(values.sum(), learn, allow_unused=True)
    zeros = [torch.zeros_like(leaf) for leaf in learn]
    return [values.detach(), *(z if g is None else g for g, z in zip(grads, zeros, strict=True))]


@contract("distance")
def kernel(entry: Distance) -> None:
    """Formula and kernel agree in value and gradient, in float32 and float64."""
    if not entry.kernel:
        raise SkippedError("torch ships no kernel")
    for dtype in (torch.float32, torch.float64):
        rtol, atol = tolerance(dtype)
        for knobs in each_knob_varied(entry):
            for sort in SORTS:
                given = points(entry, dtype, sort)
                ours = value_and_gradients(entry, knobs, given)
                torchs = value_and_gradients(entry, knobs, given, "kernel")
                # Where the squares of tiny numbers vanish in torch, so does its gradient.
                if dtype == torch.float32 and bool(((torchs[0] == 0) & (ours[0] != 0)).any()):
                    torchs = torchs[:1]
                for what, got, wanted in zip(
                    ("the value", "the gradient", "the gradient"), ours, torchs, strict=False
                ):
                    words = f"{what}, {sort} inputs{said(knobs, entry)}"
                    sound = torch.isfinite(wanted)
                    # A gradient is a sum over pairs: its digits are those of the largest.
                    scale = max(1.0, float(wanted[sound].abs().max())) if sound.any() else 1.0
                    require_close(got[sound], wanted[sound], words, rtol=rtol, atol=atol * scale)


@contract("distance")
def finite(entry: Distance) -> None:
    """Value and gradient are finite for finite input, equal points included."""
    for knobs in each_knob_varied(entry):
        for sort in SORTS:
            given = points(entry, torch.float32, sort)
            for equal in (given, _equal(given)):
                found = value_and_gradients(entry, knobs, equal)
                for what, tensor in zip(("value", "gradient"), found, strict=False):
                    require_finite(tensor, equal[0], f"the {what}{said(knobs, entry)}")


def _equal(given: list[Tensor]) -> list[Tensor]:
    """Put the first point in the place of the second, where it compares two of a kind."""
    alike = len(given) > 1 and given[0].shape == given[1].shape
    return [given[0], given[0], *given[2:]] if alike else given


@contract("distance")
def gradient(entry: Distance) -> None:
    """The gradient is the one that finite differences give, but for parts that carry none."""
    if not all(x.is_floating_point() for x in points(entry, torch.float64)):
        raise SkippedError("counts, and has no gradient")
    cases = (
        (
            distance_function(entry, knobs, "formula"),
            points(entry, torch.float64),
            said(knobs, entry),
        )
        for knobs in each_knob_varied(entry)
    )
    require_gradients(cases, entry.facts.detached)


@contract("distance")
def bounds(entry: Distance) -> None:
    """The values keep to the declared range."""
    lowest, highest = entry.facts.range
    for knobs in each_knob_varied(entry):
        for sort in SORTS:
            values = value_and_gradients(entry, knobs, points(entry, torch.float64, sort))[0]
            least, most = float(values.min()), float(values.max())
            slack = 1e-9 * max(1.0, abs(least), abs(most))
            if least < lowest - slack or most > highest + slack:
                raise BrokenError(
                    f"values from {number(least)} to {number(most)}, {sort} inputs"
                    f"{said(knobs, entry)}, declared are {lowest} to {highest}"
                )


@contract("distance")
def symmetry(entry: Distance) -> None:
    """It is declared symmetric where exchanging the points changes nothing."""
    same = True
    for knobs in each_knob_varied(entry):
        given = points(entry, torch.float64)
        if len(given) < 2 or given[0].shape != given[1].shape:
            raise SkippedError("it does not compare two of a kind")
        x1, x2, *more = given
        call = distance_function(entry, knobs, "formula")
        one, other = call(x1, x2, *more), call(x2, x1, *more)
        other = other.transpose(-1, -2) if entry.facts.matrix and other.dim() > 1 else other
        same &= torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    if same != entry.facts.symmetric:
        raise BrokenError(f"declared {'' if entry.facts.symmetric else 'not '}symmetric")


@contract("distance")
def identity_of_indiscernibles(entry: Distance) -> None:
    """It is declared zero for equal points where it is."""
    given = points(entry, torch.float64)
    if len(given) < 2 or given[0].shape != given[1].shape or entry.facts.matrix:
        raise SkippedError("it does not compare two of a kind")
    knobs = first_knobs(entry)
    largest = distance_function(entry, knobs, "formula")(*_equal(given)).double().abs().max()
    # pairwise_distance adds its eps to every difference: nearly zero counts as zero.
    if bool(largest < 1e-4) != entry.facts.zero_at_equal:
        raise BrokenError(f"equal points are {number(largest)} apart")


@contract("distance")
def matrix(entry: Distance) -> None:
    """The full matrix holds the distances of all pairs."""
    if entry.facts.sets or entry.facts.matrix:
        raise SkippedError("there are no aligned pairs")
    for knobs in each_knob_varied(entry):
        x1, x2, *more = points(entry, torch.float64)
        whole = distance_function(entry, knobs, pairwise=True)(x1, x2[:4], *more)
        # A pair has one dimension less than a batch of pairs: the coordinates lie in the last.
        last = {"dim": -1} if "dim" in knobs else {}
        call = distance_function(entry, {**knobs, **last}, "formula")
        each = [torch.stack([call(a, b, *more) for b in x2[:4]]) for a in x1]
        require_close(whole, torch.stack(each), f"the full matrix{said(knobs, entry)}")


@contract("distance")
def identities(entry: Distance) -> None:
    """It is the other distance that it claims to be, for the knobs of the claim."""
    if not entry.facts.identities:
        raise SkippedError("claims none")
    for claim in entry.facts.identities:
        other = distance.find(claim.other)
        for sort in SORTS:
            given = points(entry, torch.float64, sort)
            got = distance_function(entry, {**first_knobs(entry), **claim.when}, "formula")(*given)
            theirs = {**first_knobs(other), **claim.knobs}
            wanted = claim.times * distance_function(other, theirs, "formula")(*given)
            words = f"compared with {claim.other}, {sort} inputs{said(claim.when, entry)}"
            require_close(got, wanted, words, rtol=1e-8, atol=1e-9)


@contract("distance")
def trials(entry: Distance) -> None:
    """Under `vmap`, with a value of its own for each float knob, a trial is as alone."""
    base = first_knobs(entry)
    given = [torch.stack([x, x.flip(0), x]) for x in points(entry, torch.float32)]

    def trial(inputs: list[Tensor], own: dict[str, Any]) -> Tensor:
        return distance_function(entry, {**base, **own})(*inputs)

    for name in [None, *(knob.name for knob in entry.knobs if is_float(knob))]:
        values = [] if name is None else (values_of(entry.knob(name)) * 3)[:3]
        own = {} if name is None else {name: torch.tensor(values)}
        together = torch.vmap(trial)(given, own)
        for i in range(3):
            alone = trial([x[i] for x in given], {} if name is None else {name: values[i]})
            words = f"trial {i} under vmap" + (f" with {name} of its own" if name else "")
            require_close(together[i], alone, words, rtol=1e-5, atol=1e-6)
