"""Schedules made of schedules: one after the other, or one upon the other."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from lossbench.components.schedules._clock import Number, double, schedules_in
from lossbench.components.vocabulary import Applied, Nested, NonNegativeInt
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import schedule

Line = tuple[Tensor, Tensor]
"""Slope and offset: what a schedule makes of the rate that another one left."""


def _line(part: Applied, base: Number, step: Tensor, total: Number | None) -> Line:
    """Return what torch's code for this schedule does at this step to the rate that it finds."""
    kind = part.facts.chained
    if kind == "absolute":
        rate = part(base, step, total)
        return torch.zeros_like(rate), rate
    if kind != "factor":
        slope, offset = kind(base, step, total, **part.knobs)
        return slope, offset
    # A factor is what the schedule does to a rate of 1, from the step before to this one.
    now = part(1.0, step, total)
    before = torch.where(step > 0, part(1.0, torch.clamp(step - 1, min=0), total), 1.0)
    slope = torch.where(before == 0, 1.0, now / before)
    return slope, torch.zeros_like(slope)


# --- one after the other ----------------------------------------------------------------------


def _check_sequence(knobs: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the number or the order of the milestones."""
    parts, milestones = len(knobs["schedules"]), list(knobs["milestones"])
    if len(milestones) != parts - 1:
        return f"{parts} schedules need {parts - 1} milestones, but there are {len(milestones)}"
    if milestones != sorted(milestones):
        return f"milestones must not fall: {milestones}"
    return None


def _pieces(
    schedules: Sequence[Applied], milestones: Sequence[int], total: Number | None
) -> list[tuple[Applied, float, Number | None]]:
    """Return each schedule with its first step and its length.

    Raises UsageError where the milestones do not fit.
    """
    parts = schedules_in(schedules, "sequential")
    wrong = _check_sequence({"schedules": parts, "milestones": milestones})
    if wrong is not None:
        raise UsageError(wrong)
    starts = [0, *milestones]
    spans = [after - start for start, after in zip(starts, milestones, strict=False)]
    # What follows the last milestone lasts as long as the run.
    last = None if total is None else torch.clamp(double(total) - starts[-1], min=1)
    return list(zip(parts, starts, [*(max(1, span) for span in spans), last], strict=True))


def _last_needs_total(knobs: Mapping[str, Any]) -> bool:
    """Tell whether the last schedule depends on its length; the others end at milestones."""
    last: Applied = knobs["schedules"][-1]
    return last.facts.needs_total(last.knobs)


def _any_needs_total(knobs: Mapping[str, Any]) -> bool:
    """Tell whether any of the schedules depends on the length of the run."""
    return any(part.facts.needs_total(part.knobs) for part in knobs["schedules"])


def _sequential_momentum(
    step: Number,
    total: Number | None = None,
    *,
    schedules: Sequence[Applied],
    milestones: Sequence[int],
) -> Tensor | None:
    """Return the momentum of the schedule in force; one that cycles none leaves it as it is."""
    time = double(step)
    value = None
    for part, start, span in _pieces(schedules, milestones, total):
        if part.facts.momentum is None:
            continue
        local = torch.clamp(time - start, min=0)
        if span is not None:  # after its last step the momentum stays
            local = torch.minimum(local, double(span) - 1)
        own = part.facts.momentum(local, span, **part.knobs)
        if own is not None:
            # Building it already sets the momentum, so it holds from the start of the run.
            value = own if value is None else torch.where(time >= start, own, value)
    return value


def _sequential_line(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    schedules: Sequence[Applied],
    milestones: Sequence[int],
) -> Line:
    """Return what the schedule in force does; where one begins it sets the rate anew."""
    time = double(step)
    slope = offset = torch.zeros_like(time)
    for part, start, span in _pieces(schedules, milestones, total):
        local = torch.clamp(time - start, min=0)
        own_slope, own_offset = _line(part, base, local, span)
        if start and not part.facts.continues:
            begins = local == 0
            own_slope = torch.where(begins, 0.0, own_slope)
            own_offset = torch.where(begins, part(base, 0, span), own_offset)
        slope = torch.where(time >= start, own_slope, slope)
        offset = torch.where(time >= start, own_offset, offset)
    return slope, offset


@schedule(
    kernel="torch.optim.lr_scheduler.SequentialLR",
    total=_last_needs_total,
    momentum=_sequential_momentum,
    chained=_sequential_line,
    check=_check_sequence,
)
def sequential(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    schedules: Annotated[Any, Nested("schedule", many=True)],
    milestones: tuple[NonNegativeInt, ...],
) -> Tensor:
    """Follow one schedule after the other, each from its own beginning.

    Formula:    schedule i at t - m_i, with m_i <= t < m_(i+1) and m_0 = 0
    Knobs:
        schedules: the schedules, in order.
        milestones: the epochs at which the second, the third, ... begins.
    Note:       All of them count what this one counts. Where one asks for the length of the run
                it gets the length of its own piece. `swa_lr` starts from the rate that it finds.
    Errors:     UsageError where the number of milestones is not one below that of the schedules,
                where they fall, and for a schedule that watches a metric.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.SequentialLR.
    """
    time = double(step)
    pieces = _pieces(schedules, milestones, total)
    rate = double(base) + torch.zeros_like(time)
    for number, (part, start, span) in enumerate(pieces):
        first: Number = base
        if part.facts.continues and start:
            earlier = {"schedules": schedules[:number], "milestones": milestones[: number - 1]}
            first = sequential(base, start - 1, start, **earlier)
        own = part(first, torch.clamp(time - start, min=0), span)
        rate = torch.where(time >= start, own, rate)
    return rate


# --- one upon the other -----------------------------------------------------------------------


def _chain_line(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    schedules: Sequence[Applied],
) -> Line:
    """Return what the whole chain does to the rate at one step: line after line."""
    time = double(step)
    slope, offset = torch.ones_like(time), torch.zeros_like(time)
    for part in schedules_in(schedules, "chained"):
        own_slope, own_offset = _line(part, base, time, total)
        slope, offset = own_slope * slope, own_slope * offset + own_offset
    return slope, offset


def _chained_momentum(
    step: Number, total: Number | None = None, *, schedules: Sequence[Applied]
) -> Tensor | None:
    """Return the momentum of the last schedule that cycles it."""
    found = None
    for part in schedules_in(schedules, "chained"):
        if part.facts.momentum is not None:
            own = part.facts.momentum(step, total, **part.knobs)
            found = found if own is None else own
    return found


@schedule(
    kernel="torch.optim.lr_scheduler.ChainedScheduler",
    total=_any_needs_total,
    momentum=_chained_momentum,
    chained=_chain_line,
)
def chained(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    schedules: Annotated[Any, Nested("schedule", many=True)],
) -> Tensor:
    """Let several schedules work upon the same rate at once: their factors multiply.

    Formula:    b f_1(t) f_2(t) ..., with f_i(t) what schedule i makes of a rate of 1
    Knobs:
        schedules: the schedules, in order.
    Note:       As in torch, a schedule that says the rate and not a factor (one_cycle, cyclic,
                cosine_warm_restarts, cosine_with_warmup) overwrites what those before it did; each
                one behind it then adds its change of this one epoch. All of them count what this
                one counts.
    Errors:     UsageError for no schedule at all, and for one that watches a metric.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.ChainedScheduler.
    """
    parts = schedules_in(schedules, "chained")
    time = double(step)
    kinds = [part.facts.chained for part in parts]
    if "absolute" in kinds:
        # What came before is overwritten at this very step.
        last = len(kinds) - 1 - kinds[::-1].index("absolute")
        _, rate = _chain_line(base, time, total, schedules=parts[last:])
        return rate
    if all(kind == "factor" for kind in kinds):
        rate = double(base)
        for part in parts:
            rate = rate * part(1.0, time, total)
        return rate
    return _followed(base, time, total, parts)


def _followed(base: Number, time: Tensor, total: Number | None, parts: list[Applied]) -> Tensor:
    """Return the rate by following the chain from the start, epoch by epoch.

    Straight lines through 0 multiply; others (a cosine with a lowest rate above 0) do not, and
    their chain has no formula but torch's own recursion.
    """
    last = int(time.max()) if time.numel() else 0
    epochs = torch.arange(last + 1, dtype=torch.float64, device=time.device)
    start = double(base)[..., None]
    slope, offset = _chain_line(start, epochs, total, schedules=parts)
    rate = start[..., 0]
    path = []
    for epoch in range(last + 1):
        rate = slope[..., epoch] * rate + offset[..., epoch]
        path.append(rate)
    rates = torch.stack(path, dim=-1)
    shape = torch.broadcast_shapes(rates.shape[:-1], time.shape)
    place = time.long().expand(shape)[..., None]
    return torch.take_along_dim(rates.expand(*shape, last + 1), place, dim=-1)[..., 0]
