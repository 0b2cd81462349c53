"""What every loss promises: its kernel, its gradient, its range, and what it declares of itself."""

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.knobs import (
    all_combinations,
    each_knob_varied,
    first_knobs,
    floats_of,
    is_float,
    said,
    with_tensors,
)
from lossbench.checks.loss_inputs import (
    SHAPES,
    Inputs,
    Loss,
    argument_of,
    collected,
    draw_inputs,
    each_case,
    encodings_of,
    leaves_of,
    players_of,
    suits,
    terms_of,
    value_and_gradients,
)
from lossbench.checks.numbers import number, require_close, require_gradients, tolerance
from lossbench.components.samples import CLASSES, SORTS, Sort
from lossbench.kernels import loss_function, reduce
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _what(name: str) -> str:
    return f"the gradient by {name}" if name else "the value"


# --- against torch ----------------------------------------------------------------------------


def _require_kernel(entry: Loss) -> Callable[..., Any]:
    if not entry.kernel:
        raise SkippedError("torch ships no kernel")
    shipped = entry.load_kernel()
    if shipped is None:
        raise SkippedError(f"this torch ({torch.__version__}) has no {entry.kernel}")
    if entry.facts.kernel_only:
        raise SkippedError(entry.facts.kernel_only)
    return shipped


@contract("loss")
def kernel(entry: Loss) -> None:
    """Formula and kernel agree in value and gradient, in float32 and float64."""
    _require_kernel(entry)
    for dtype in (torch.float32, torch.float64):
        rtol, atol = tolerance(dtype)
        for knobs, encoding, part in each_case(entry):
            for sort in SORTS:
                inputs = draw_inputs(entry, knobs, encoding, dtype, sort) | part
                ours = value_and_gradients(entry, knobs, inputs)
                torchs = value_and_gradients(entry, knobs, inputs, "kernel")
                certain = _certain(entry, inputs)
                for name, other in torchs.items():
                    sound = torch.isfinite(other)
                    if name and certain is not None:
                        sound &= ~certain
                    if not bool(sound.any()):
                        continue
                    scale = atol * max(1.0, float(other[sound].abs().max()))
                    words = f"{_what(name)}, {sort} inputs{said(knobs, entry)}"
                    require_close(ours[name][sound], other[sound], words, rtol=rtol, atol=scale)


def _certain(entry: Loss, inputs: Inputs) -> Tensor | None:
    """Return where torch's gradient is not that of its value (+-1e12): at probabilities 0 and 1."""
    if entry.facts.prediction != "probabilities" or "prediction" not in inputs:
        return None
    prediction = inputs["prediction"]
    return (prediction <= 0) | (prediction >= 1)


@contract("loss")
def reductions(entry: Loss) -> None:
    """Mean and sum are torch's, for every combination of knobs: weights, ignored labels, ..."""
    shipped = _require_kernel(entry)
    for encoding in encodings_of(entry):
        for knobs in filter(lambda knobs: suits(knobs, encoding), all_combinations(entry)):
            for shape in SHAPES:
                if len(shape) > 2 and (entry.facts.inputs or encoding == "labels"):
                    continue
                inputs = draw_inputs(entry, knobs, encoding, torch.float64, "random", shape)
                _same_reductions(entry, knobs, inputs, shipped, shape)


def _same_reductions(
    entry: Loss, knobs: dict[str, Any], inputs: Inputs, shipped: Any, shape: tuple[int, ...]
) -> None:
    given = with_tensors(entry, knobs, torch.float64)
    given |= {name: value for name, value in inputs.items() if name not in entry.inputs}
    renamed = entry.facts.kernel_knobs(given) if entry.facts.kernel_knobs else given
    plain = [inputs[name] for name in entry.inputs]
    try:
        expected = {r: shipped(*plain, **renamed, reduction=r) for r in ("mean", "sum")}
    except RuntimeError:
        if len(shape) == 2:
            raise
        return  # torch's own limits: [N, C] only, or weights of the last dimension
    for impl in ("formula", "kernel"):
        terms = terms_of(entry, knobs, inputs, impl)
        for reduction, value in expected.items():
            words = f"the {reduction} by the {impl}{said(knobs, entry)}"
            require_close(reduce(terms, reduction), value, words, rtol=1e-7, atol=1e-9)


# --- derivatives ------------------------------------------------------------------------------


@contract("loss")
def finite(entry: Loss) -> None:
    """Value and gradient are finite for finite input."""
    for knobs, encoding, part in each_case(entry):
        for sort in SORTS:
            inputs = draw_inputs(entry, knobs, encoding, torch.float32, sort) | part
            for name, tensor in value_and_gradients(entry, knobs, inputs).items():
                _require_finite(tensor, inputs, f"{_what(name)}{said(knobs, entry)}", sort)


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
        rows = [
            name
            for name, value in inputs.items()
            if argument_of(name) in (*entry.inputs, *facts.heads)
            and isinstance(value, torch.Tensor)
            and value.dim()
        ]
        first = {name: value[:2] if name in rows else value for name, value in inputs.items()}
        alone = terms_of(entry, knobs, first).values
        require_close(alone, whole[:2], f"two samples alone{said(knobs, entry)}", rtol=1e-9)


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
                shared = {n: v for n, v in inputs.items() if n not in entry.facts.state}
                got = reduce(terms_of(entry, mine, inputs), "mean")
                wanted = reduce(terms_of(other, theirs, _for(other, shared)), "mean")
                words = f"compared with {claim.other}, {sort} inputs{said(claim.when, entry)}"
                require_close(got, claim.times * wanted, words, rtol=1e-8, atol=1e-9)


def _for(entry: Loss, inputs: Inputs) -> Inputs:
    """Return what a loss takes of some inputs, and its state."""
    taken = {*entry.inputs, *entry.facts.heads, *entry.facts.parameters}
    kept = {name: value for name, value in inputs.items() if argument_of(name) in taken}
    for name, value in entry.facts.state.items():
        kept[name] = value(CLASSES) if callable(value) else torch.tensor(float(value)).double()
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
            words = f"{_what(name)}, {about}"
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
