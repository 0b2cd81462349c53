"""What schedules are tried with, and how their rates are found: by the formula, and by torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError
from lossbench.checks.knobs import values_of
from lossbench.components.rules import ScheduleFacts
from lossbench.components.vocabulary import Applied, Nested
from lossbench.config.annotations import mark
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, Knob, schedule

Schedule = Entry[ScheduleFacts]
Knobs = dict[str, Any]

BASE = 0.3
MOMENTUM = 0.77
"""Rate and momentum of the optimizer whose rate is scheduled."""

METRICS = (1.0, 0.5, 0.6, 0.6, 0.6, 0.4, 0.7, 0.8, 0.9, float("nan"), 0.4, 0.9, 0.9, 0.9, 0.3)
"""What one that watches a metric is shown: better, worse, equal, and not a number."""


def falling(epoch: int) -> float:
    """Return a factor for schedules that are a Python function of the epoch."""
    return 1 / (1 + epoch)


def applied(name: str, **knobs: Any) -> Applied:
    """Return a schedule with its knobs, as one that holds others receives it."""
    entry = schedule[name]
    return Applied(entry.name, entry.function, entry.facts, {**entry.defaults(), **knobs})


def _held() -> tuple[Applied, ...]:
    """Return schedules for one that holds others: a factor, a curve that adds, and a factor."""
    return (
        applied("linear", start_factor=0.5, total_iters=3),
        applied("cosine_annealing", T_max=5),
        applied("exponential", gamma=0.9),
    )


def choices(knob: Knob) -> list[Any]:
    """Return valid values of a knob, the default first: components and functions included."""
    if mark(knob.annotation, Nested) is not None:
        return [_held(), (*_held()[:2], applied("polynomial", total_iters=None))]
    return values_of(knob) or ([falling] if "Callable" in str(knob.annotation) else [])


def examples(entry: Schedule) -> Iterator[Knobs]:
    """Give the first values of all knobs, then every knob at each of its values."""
    base = {knob.name: choices(knob)[0] for knob in entry.knobs}
    yield base
    for knob in entry.knobs:
        for value in choices(knob)[1:]:
            knobs = {**base, knob.name: value}
            if entry.facts.check is None or entry.facts.check(knobs) is None:
                yield knobs


def said(knobs: Mapping[str, Any], entry: Schedule) -> str:
    """Say in words which knobs are not at their default."""
    changed = []
    for knob in entry.knobs:
        value = knobs[knob.name]
        if value is not knob.default and not callable(value):
            nested = mark(knob.annotation, Nested) is not None
            shown = [part.name for part in value] if nested else value
            changed.append(f"{knob.name} = {shown}")
    return f" with {', '.join(changed)}" if changed else ""


def rates(
    entry: Schedule, knobs: Mapping[str, Any], steps: Any, total: Any, base: Any = BASE
) -> Tensor:
    """Return the rates of a formula in float64.

    Raises BrokenError where it can say the rate of one step, but not of many at once.
    """
    try:
        found = entry.function(base, steps, total, **knobs)
    except (TypeError, ValueError, RuntimeError) as error:
        if not isinstance(steps, torch.Tensor):
            raise
        first = str(error).strip().partition("\n")[0]
        raise BrokenError(f"it cannot take many steps at once, as a tensor: {first}") from None
    return torch.as_tensor(found, dtype=torch.float64)


def clock(count: int) -> Tensor:
    """Return the steps 0, 1, 2, ... as training gives them to a schedule: all at once."""
    return torch.arange(count, dtype=torch.float64)


def torch_schedule(
    entry: Schedule, knobs: Mapping[str, Any], optimizer: Any, base: float, total: int
) -> Any:
    """Return torch's own scheduler with these knobs; what is none is taken from the run.

    What torch does not ship is its formula as a function of the step, as its origins make it.
    Raises SkippedError where this torch lacks one.
    """
    if not entry.kernel:

        def factor(step: int) -> float:
            return float(rates(entry, knobs, step, total, base)) / base

        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    arguments = dict(knobs)
    if isinstance(entry.facts.total, str) and arguments[entry.facts.total] is None:
        arguments[entry.facts.total] = total
    for peak in ("max_lr", "base_lr"):
        if peak in arguments and arguments[peak] is None:
            arguments[peak] = base
    if "schedules" in arguments:
        arguments |= _parts(arguments, optimizer, base, total)
        del arguments["schedules"]
    make = entry.load_kernel()
    if make is None:
        raise SkippedError(f"this torch ({torch.__version__}) has no {entry.kernel}")
    return make(optimizer=optimizer, **arguments)


def _parts(arguments: Knobs, optimizer: Any, base: float, total: int) -> Knobs:
    """Return the arguments of a scheduler of schedulers: each with the length of its own piece."""
    parts = arguments["schedules"]
    if "milestones" in arguments:
        starts = [0, *arguments["milestones"]]
        lengths = [end - start for start, end in zip(starts, [*starts[1:], total], strict=True)]
    else:
        lengths = [total] * len(parts)
    made = [
        torch_schedule(schedule[part.name], part.knobs, optimizer, base, max(1, span))
        for part, span in zip(parts, lengths, strict=True)
    ]
    given: Knobs = {"schedulers": made}
    return given | ({"milestones": starts[1:]} if "milestones" in arguments else {})


def torch_course(
    entry: Schedule, knobs: Mapping[str, Any], count: int, total: int, base: float = BASE
) -> tuple[Tensor, Tensor]:
    """Return the rates and the momenta that torch sets at each of so many steps."""
    leaf = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([leaf], lr=base, momentum=MOMENTUM)
    scheduler = torch_schedule(entry, knobs, optimizer, base, total)
    seen = []
    optimizer.step()  # a chain checks only its parts, and warns of each that steps too early
    for step in range(count):
        group = optimizer.param_groups[0]
        seen.append((float(group["lr"]), float(group["momentum"])))
        optimizer.step()
        if step < count - 1:
            scheduler.step()
    both = torch.tensor(seen, dtype=torch.float64)
    return both[:, 0], both[:, 1]
