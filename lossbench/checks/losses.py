"""What every loss promises of itself: its gradient, its range, and whatever it declares."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.knobs import (
    each_knob_varied,
    first_knobs,
    floats_of,
    is_float,
    said,
    with_tensors,
)
from lossbench.checks.loss_inputs import (
    Inputs,
    Loss,
    argument_of,
    collected,
    draw_inputs,
    each_case,
    encodings_of,
    leaves_of,
    players_of,
    rows_of,
    terms_of,
    value_and_gradients,
    what,
)
from lossbench.checks.numbers import number, require_close, require_gradients
from lossbench.components.samples import CLASSES, SORTS, Sort
from lossbench.kernels import first_state, loss_function, reduce
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

# --- derivatives ------------------------------------------------------------------------------


@contract("loss")
def finite(entry: Loss) -> None:
    """Value and gradient are finite for finite input."""
    for knobs, encoding, part in each_case(entry):
        for sort in SORTS:
            inputs = draw_inputs(entry, knobs, encoding, torch.float32, sort) | part
            for name, tensor in value_and_gradients(entry, knobs, inputs).items():
                _require_finite(tensor, inputs, f"{what(name)}{said(knobs, entry)}", sort)


def _require_finite(tensor: Tensor, inputs: Inputs, words: str, sort: str) -> None:
    """Make sure that all is finite; says for which prediction and target it is not."""
    wrong = ~torch.isfinite(tensor)
    if not bool(wrong.any()):
        return
    place = tuple(int(i) for i in wrong.nonzero()[0])
    value = "NaN" if bool(tensor[place].isnan()) else "infinite"
    pair = [inputs.get(name) for name in ("prediction", "target")]
    if all(isinstance(x, torch.Tensor) and x.shape == tensor.shape for x in pair):
        x, y = (float(part[place]) for part in pair if part is not None)
        where = f"prediction = {number(x)} and target = {number(y)} (r = {number(x - y)})"
        raise BrokenError(f"{words} is {value} at {where}")
    raise BrokenError(f"{words} is {value} for {sort} inputs")


@contract("loss")
def gradient(entry: Loss) -> None:
    """The gradient is the one that finite differences give, but for parts that carry none."""
    require_gradients(_each_call(entry), entry.facts.detached)


def _each_call(entry: Loss) -> Iterator[tuple[Callable[..., Tensor], list[Tensor], str]]:
    """Give the loss as a function of its leaves, and those, for all that is to be tried."""
    for knobs, encoding, part in each_case(entry):
        inputs = draw_inputs(entry, knobs, encoding, torch.float64) | part
        names = leaves_of(entry, inputs)

        def call(*leaves: Tensor, names=names, inputs=inputs, knobs=knobs) -> Tensor:  # type: ignore[no-untyped-def]
            given = {**inputs, **dict(zip(names, leaves, strict=True))}
            return terms_of(entry, knobs, given).values

        yield call, [inputs[name] for name in names], said(knobs, entry)


@contract("loss")
def derivative(entry: Loss) -> None:
    """The declared derivative is the gradient, also at the kinks."""
    declared = entry.facts.derivative
    if declared is None:
        raise SkippedError("declares none: it is not elementwise in a residual or a margin")
    for knobs, encoding, _ in each_case(entry):
        for sort in SORTS:
            inputs = draw_inputs(entry, knobs, encoding, torch.float64, sort)
            found = value_and_gradients(entry, knobs, inputs)["prediction"]
            wanted = declared(**inputs, **with_tensors(entry, knobs, torch.float64))
            words = f"the gradient, {sort} inputs{said(knobs, entry)}"
            require_close(found, wanted.expand(found.shape).to(found.dtype), words, rtol=1e-7)


# --- what it declares of itself ---------------------------------------------------------------


@contract("loss")
def bounds(entry: Loss) -> None:
    """The values keep to the range that the docstring gives."""
    text = entry.doc.sections.get("Range", "")
    found = re.match(r"[\[(](-?[\w.]+), (-?[\w.]+)[\])]", text)
    if not found:
        raise BrokenError(f"the range is not an interval such as [0, inf): {text!r}")
    lowest, highest = float(found[1]), float(found[2])
    for knobs, encoding, part in each_case(entry):
        for sort in SORTS:
            inputs = draw_inputs(entry, knobs, encoding, torch.float64, sort) | part
            values = terms_of(entry, knobs, inputs).values
            least, most = float(values.min()), float(values.max())
            # The last bits of a sum may fall outside; nothing else may.
            slack = 1e-12 * max(1.0, abs(least), abs(most))
            if least < lowest - slack or most > highest + slack:
                raise BrokenError(
                    f"values from {number(least)} to {number(most)}, {sort} inputs"
                    f"{said(knobs, entry)}; the docstring says {text.splitlines()[0]}"
                )


def _twins(entry: Loss) -> bool:
    """Tell whether prediction and target are alike, so that they can be exchanged."""
    alike = (("real", "real"), ("boxes", "boxes"), ("image", "image"))
    facts = entry.facts
    pair = (facts.prediction, facts.encodings[0] if facts.encodings else None)
    return pair in alike and not facts.heads and not facts.inputs and "target" in entry.inputs


@contract("loss")
def symmetry(entry: Loss) -> None:
    """It is declared symmetric where exchanging prediction and target changes nothing."""
    if not _twins(entry):
        raise SkippedError("prediction and target are of different kinds")
    changed = False
    for knobs in each_knob_varied(entry):
        for sort in ("random", "boundary"):
            inputs = draw_inputs(entry, knobs, entry.facts.encodings[0], torch.float64, sort)
            turned = {**inputs, "prediction": inputs["target"], "target": inputs["prediction"]}
            one, other = (terms_of(entry, knobs, given).values for given in (inputs, turned))
            same = torch.allclose(one, other, rtol=1e-12, atol=1e-14)
            if entry.facts.symmetric and not same:
                raise BrokenError(f"declared symmetric, and is not{said(knobs, entry)}")
            changed |= not same
    if not changed and not entry.facts.symmetric:
        raise BrokenError("exchanging prediction and target changes nothing: declare symmetric")


@contract("loss")
def perfection(entry: Loss) -> None:
    """It is declared zero at the target where a perfect prediction costs nothing."""
    if not _twins(entry):
        raise SkippedError("prediction and target are of different kinds")
    # What keeps denominators from 0 also keeps a perfect value from being exact.
    exact = {"eps": 1e-15} if "eps" in first_knobs(entry) else {}
    for knobs in ({**each, **exact} for each in each_knob_varied(entry)):
        for sort in SORTS:
            target = draw_inputs(entry, knobs, entry.facts.encodings[0], torch.float64, sort)
            perfect = {**target, "prediction": target["target"]}
            values = terms_of(entry, knobs, perfect).values
            zero = bool((values.abs() < 1e-7).all())
            if entry.facts.zero_at_target and not zero:
                raise BrokenError(
                    f"a perfect prediction costs {number(values.abs().max())}{said(knobs, entry)}"
                )
            if not entry.facts.zero_at_target and knobs == first_knobs(entry) | exact and not zero:
                return
    if not entry.facts.zero_at_target:
        raise BrokenError("a perfect prediction costs nothing: declare zero_at_target")


@contract("loss")
def descent(entry: Loss) -> None:
    """No prediction costs less than a perfect one, with the default knobs."""
    facts, knobs = entry.facts, first_knobs(entry)
    undeclared = facts.prediction == "raw" and "real" in facts.encodings
    if not ((facts.zero_at_target and _twins(entry)) or undeclared) or facts.whole_batch:
        raise SkippedError("a perfect prediction is not known to be the best")
    for sort in ("random", "boundary"):
        encoding = "real" if undeclared else facts.encodings[0]
        inputs = draw_inputs(entry, knobs, encoding, torch.float64, sort)
        perfect = {**inputs, "prediction": inputs["target"]}
        best, other = (terms_of(entry, knobs, given).values for given in (perfect, inputs))
        lower = other < best - 1e-6
        if bool(lower.any()):
            place = tuple(int(i) for i in lower.nonzero()[0])
            raise BrokenError(
                f"a prediction costs {number(other[place])}, and a perfect one "
                f"{number(best[place])}: is the sign turned round?"
            )


@contract("loss")
def independence(entry: Loss) -> None:
    """The value of a sample depends on that sample alone, unless it is declared otherwise."""
    facts = entry.facts
    if facts.whole_batch or not facts.independent:
        raise SkippedError(
            "one value for the whole batch" if facts.whole_batch else "declared not to"
        )
    for knobs, encoding, part in each_case(entry):
        inputs = draw_inputs(entry, knobs, encoding, torch.float64) | part
        whole = terms_of(entry, knobs, inputs).values
        rows = rows_of(entry, inputs)
        first = {name: value[:2] if name in rows else value for name, value in inputs.items()}
        alone = terms_of(entry, knobs, first).values
        require_close(alone, whole[:2], f"two samples alone{said(knobs, entry)}", rtol=1e-9)


@contract("loss")
def order(entry: Loss) -> None:
    """The order of the samples changes nothing, unless it is declared otherwise."""
    if entry.facts.ordered:
        raise SkippedError(entry.facts.ordered)
    for knobs, encoding, part in each_case(entry):
        inputs = draw_inputs(entry, knobs, encoding, torch.float64) | part
        rows = rows_of(entry, inputs)
        if {len(inputs[name]) for name in rows} != {count := len(inputs[rows[0]])}:
            raise SkippedError("its samples do not all lie along the first dimension")
        turn = torch.arange(count).roll(2)  # and not merely turned in a circle:
        turn[:2] = turn[:2].flip(0)
        turned = {name: value[turn] if name in rows else value for name, value in inputs.items()}
        one, other = (reduce(terms_of(entry, knobs, given), "mean") for given in (inputs, turned))
        require_close(other, one, f"samples in another order{said(knobs, entry)}", rtol=1e-9)


@contract("loss")
def identities(entry: Loss) -> None:
    """It is the other loss that it claims to be, for the knobs of the claim."""
    if not entry.facts.identities:
        raise SkippedError("claims none")
    for claim in entry.facts.identities:
        other = loss.find(claim.other)
        mine = {**first_knobs(entry), **claim.when}
        theirs = {**first_knobs(other), **claim.knobs}
        for encoding, part in itertools.product(encodings_of(entry), players_of(entry)):
            for sort in SORTS:
                inputs = draw_inputs(entry, mine, encoding, torch.float64, sort) | part
                leaves = leaves_of(entry, inputs)
                # On the boundary the two may lie on either side of a kink.
                names = leaves if sort != "boundary" else []
                found = _mean_and_gradients(entry, mine, inputs, names)
                wanted = _mean_and_gradients(other, theirs, _for(other, theirs, inputs), names)
                for name, expected in wanted.items():
                    words = f"{what(name)}, compared with {claim.other}, {sort} inputs"
                    words += said(claim.when, entry)
                    rtol, atol = (1e-7, 1e-8) if name else (1e-8, 1e-9)
                    require_close(found[name], claim.times * expected, words, rtol=rtol, atol=atol)


def _mean_and_gradients(
    entry: Loss, knobs: Mapping[str, Any], inputs: Inputs, names: list[str]
) -> dict[str, Tensor]:
    """Return the mean, and its derivatives by those of the named inputs that it takes."""
    leaves = {name: inputs[name].clone().requires_grad_() for name in names if name in inputs}
    mean = reduce(terms_of(entry, knobs, {**inputs, **leaves}), "mean")
    if not leaves:
        return {"": mean}
    grads = torch.autograd.grad(
        mean, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return {"": mean.detach(), **dict(zip(leaves, grads, strict=True))}


def _for(entry: Loss, knobs: Mapping[str, Any], inputs: Inputs) -> Inputs:
    """Return what a loss takes of the inputs of another, and its own first state."""
    taken = {*entry.inputs, *entry.facts.heads, *entry.facts.parameters}
    kept = {name: value for name, value in inputs.items() if argument_of(name) in taken}
    kept |= {name: made.double() for name, made in first_state(entry, knobs, CLASSES).items()}
    return kept | ({"part": inputs["part"]} if entry.facts.parts else {})


# --- trials, types ----------------------------------------------------------------------------


@contract("loss")
def trials(entry: Loss) -> None:
    """Under `vmap`, with a value of its own for each float knob, a trial is as alone."""
    for encoding, part in itertools.product(encodings_of(entry), players_of(entry)):
        base = first_knobs(entry)
        sorts: tuple[Sort, ...] = ("random", "constant", "boundary")
        each = [draw_inputs(entry, base, encoding, torch.float32, sort) | part for sort in sorts]
        stacked = {
            name: torch.stack([inputs[name] for inputs in each])
            for name, value in each[0].items()
            if isinstance(value, torch.Tensor)
        }
        fixed = {name: value for name, value in each[0].items() if name not in stacked}
        _same_as_alone(entry, base, stacked, fixed, {})
        for knob in filter(is_float, entry.knobs):
            values = (floats_of(knob) * 3)[: len(each)]
            _same_as_alone(entry, base, stacked, fixed, {knob.name: torch.tensor(values)})


def _same_as_alone(
    entry: Loss, base: dict[str, Any], stacked: Inputs, fixed: Inputs, knobs: dict[str, Tensor]
) -> None:
    names = leaves_of(entry, stacked)

    def step(inputs: Inputs, own: dict[str, Any]) -> Any:
        rest = {name: value for name, value in inputs.items() if name not in names} | fixed

        def total(leaves: Inputs) -> tuple[Tensor, Tensor]:
            given = collected(rest | leaves)
            named = [given.pop(name) for name in entry.inputs]
            terms = loss_function(entry, {**base, **own})(*named, **given)
            weight = torch.as_tensor(terms.weight_sum(), dtype=terms.values.dtype)
            return terms.total(), weight

        leaves = {name: inputs[name] for name in names}
        gradient, weight = torch.func.grad(total, has_aux=True)(leaves)
        return gradient, total(leaves)[0], weight

    count = len(next(iter(stacked.values())))
    together = torch.vmap(step)(stacked, knobs)
    for trial in range(count):
        own = {name: float(values[trial]) for name, values in knobs.items()}
        alone = step({name: value[trial] for name, value in stacked.items()}, own)
        about = f"trial {trial} under vmap" + "".join(f" with {name} of its own" for name in knobs)
        for name in names:
            words = f"{what(name)}, {about}"
            require_close(together[0][name][trial], alone[0][name], words, rtol=1e-4, atol=1e-5)
        for got, wanted in zip(together[1:], alone[1:], strict=True):
            require_close(got[trial], wanted, f"the sum, {about}", rtol=1e-4, atol=1e-5)


@contract("loss")
def dtype(entry: Loss) -> None:
    """It keeps the dtype of the prediction, half precision included."""
    for knobs, encoding, part in each_case(entry):
        for kind in (torch.float64, torch.float16, torch.bfloat16):
            inputs = draw_inputs(entry, knobs, encoding, torch.float32) | part
            lowered = {
                name: value.to(kind)
                if isinstance(value, torch.Tensor) and value.is_floating_point()
                else value
                for name, value in inputs.items()
            }
            terms = terms_of(entry, knobs, lowered)
            for tensor in (terms.values, *([] if terms.weight is None else [terms.weight])):
                if tensor.dtype != kind:
                    raise BrokenError(f"{kind} inputs give {tensor.dtype}{said(knobs, entry)}")


@contract("loss")
def nan(entry: Loss) -> None:
    """A prediction that is not a number stays visible in the value."""
    knobs = first_knobs(entry)
    for encoding, part in itertools.product(encodings_of(entry), players_of(entry)):
        inputs = draw_inputs(entry, knobs, encoding, torch.float32) | part
        # A player may not look at what the other one sees: its fakes it always sees.
        name = "d_fake" if part and "d_fake" in inputs else leaves_of(entry, inputs)[0]
        broken = {**inputs, name: torch.full_like(inputs[name], math.nan)}
        total = terms_of(entry, knobs, broken).total()
        if not bool(total.isnan()):
            raise BrokenError(f"NaN as {name} becomes {number(total)}")
