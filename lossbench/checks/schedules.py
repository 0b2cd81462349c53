"""What every schedule promises: torch's own rates, the same for all steps at once, per trial."""

from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.knobs import floats_of, is_float
from lossbench.checks.numbers import number, require_close, require_finite
from lossbench.checks.schedule_runs import (
    BASE,
    METRICS,
    MOMENTUM,
    Knobs,
    Schedule,
    clock,
    examples,
    rates,
    said,
    torch_course,
)
from lossbench.lazy import Tensor, torch

TOTALS = (24, 7)
"""Lengths of runs to try; some knobs reach beyond the shorter one."""

BEYOND = 60
"""Steps to look at where nothing must happen behind the end of a run."""

TRIALS = 3


def _by_the_clock(entry: Schedule) -> None:
    if entry.facts.state is not None:
        raise SkippedError("watches a metric, not the clock")


# --- against torch ----------------------------------------------------------------------------


@contract("schedule")
def kernel(entry: Schedule) -> None:
    """Rate and momentum are those that torch's own scheduler sets, at every step."""
    if not entry.kernel:
        raise SkippedError("torch ships no kernel")
    for knobs in examples(entry):
        if entry.facts.state is not None:
            _same_watching(entry, knobs)
            continue
        for total in TOTALS:
            _same_course(entry, knobs, total)


def _same_course(entry: Schedule, knobs: Knobs, total: int) -> None:
    # Some of torch's refuse to go on behind the last step that they were told.
    count = min(total, knobs.get("total_steps") or total)
    try:
        theirs, momenta = torch_course(entry, knobs, count, total)
    except ZeroDivisionError:
        return  # torch divides by a factor of 0, or by a phase without length
    about = f", a run of {total}{said(knobs, entry)}"
    # torch multiplies its way from step to step and gathers errors; the formula does not.
    largest = float(theirs.abs().max())
    ours = rates(entry, knobs, clock(count), total)
    require_close(ours, theirs, f"the rate{about}", rtol=1e-6, atol=1e-7 * largest)
    cycled = entry.facts.momentum and entry.facts.momentum(clock(count), total, **knobs)
    if cycled is None:
        cycled = torch.tensor(MOMENTUM, dtype=torch.float64)
    require_close(cycled.expand(count), momenta, f"the momentum{about}", rtol=1e-6, atol=1e-9)


def _same_watching(entry: Schedule, knobs: Knobs) -> None:
    make = entry.load_kernel()
    if make is None:
        raise SkippedError(f"this torch ({torch.__version__}) has no {entry.kernel}")
    leaf = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([leaf], lr=BASE)
    theirs = make(optimizer, **knobs)
    expected = []
    for metric in METRICS:
        theirs.step(metric)
        expected.append(float(optimizer.param_groups[0]["lr"]))
    found = _watched(entry, knobs, torch.tensor(METRICS, dtype=torch.float64))
    wanted = torch.tensor(expected, dtype=torch.float64)
    require_close(found, wanted, f"the rate{said(knobs, entry)}", rtol=1e-12)


def _watched(entry: Schedule, knobs: Knobs, metrics: Tensor, base: Any = BASE) -> Tensor:
    """Return the rate after each metric."""
    assert entry.facts.state is not None
    state, seen = entry.facts.state(), []
    for metric in metrics:
        rate, state = entry.function(base, state, metric, **knobs)
        seen.append(rate)
    return torch.stack(seen)


# --- what training relies on ------------------------------------------------------------------


@contract("schedule")
def positive(entry: Schedule) -> None:
    """Rates are finite and never negative, also behind the end of the run."""
    for knobs in examples(entry):
        if entry.facts.state is not None:
            courses = [_watched(entry, knobs, torch.tensor(METRICS, dtype=torch.float64))]
        else:
            courses = [rates(entry, knobs, clock(BEYOND), total) for total in (1, *TOTALS)]
        for course in courses:
            require_finite(course, course, f"a rate{said(knobs, entry)}")
            if bool((course < 0).any()):
                step = int((course < 0).nonzero()[0])
                raise BrokenError(
                    f"the rate of step {step} is {number(course[step])}{said(knobs, entry)}"
                )


@contract("schedule")
def steps(entry: Schedule) -> None:
    """Many steps at once are the steps one by one."""
    _by_the_clock(entry)
    total = TOTALS[0]
    for knobs in examples(entry):
        about = said(knobs, entry)
        together = rates(entry, knobs, clock(total), total).expand(total)
        for step in range(total):
            alone = rates(entry, knobs, step, total)
            words = f"the rate of step {step} alone{about}"
            require_close(alone.reshape(()), together[step], words, rtol=1e-12, atol=1e-15)
        square = rates(entry, knobs, clock(total).reshape(4, -1), total)
        words = f"the rates of steps in rows{about}"
        require_close(square.expand(4, total // 4), together.reshape(4, -1), words)
        if entry.facts.momentum is not None:
            cycled = entry.facts.momentum(clock(total), total, **knobs)
            if cycled is not None:
                one = entry.facts.momentum(5, total, **knobs)
                require_close(one, cycled.expand(total)[5], f"the momentum of step 5 alone{about}")


@contract("schedule")
def trials(entry: Schedule) -> None:
    """With a base rate, and a value of each float knob, of its own, a trial is as alone."""
    first = next(examples(entry))
    bases = BASE * torch.linspace(0.5, 1.5, TRIALS, dtype=torch.float64)
    _same_as_alone(entry, first, {}, bases)
    for knob in filter(is_float, entry.knobs):
        values = (floats_of(knob) * TRIALS)[:TRIALS]
        _same_as_alone(entry, first, {knob.name: torch.tensor(values, dtype=torch.float64)}, bases)


def _same_as_alone(entry: Schedule, knobs: Knobs, own: dict[str, Tensor], bases: Tensor) -> None:
    watching = entry.facts.state is not None
    metrics = torch.tensor(METRICS, dtype=torch.float64)
    count = len(METRICS) if watching else TOTALS[0]

    def course(base: Any, more: Knobs) -> Tensor:
        if watching:
            return _watched(entry, {**knobs, **more}, metrics, base)
        return rates(entry, {**knobs, **more}, clock(count), count, base)

    if watching:  # a row for each metric, a column for each trial
        found = course(bases, own).T
    else:
        found = course(bases[:, None], {name: each[:, None] for name, each in own.items()})
    found = found.expand(TRIALS, count)
    about = "".join(f" and {name}" for name in own)
    for trial in range(TRIALS):
        more = {name: float(values[trial]) for name, values in own.items()}
        alone = course(float(bases[trial]), more).expand(count)
        words = f"trial {trial} of {TRIALS}, each with its own base rate{about}"
        require_close(found[trial], alone, words, rtol=1e-9, atol=1e-12)


# --- what it declares of itself ---------------------------------------------------------------


@contract("schedule")
def length(entry: Schedule) -> None:
    """It is declared to depend on the length of the run where it does, and only there."""
    _by_the_clock(entry)
    told = changed = False
    for knobs in examples(entry):
        short, long = (rates(entry, knobs, clock(BEYOND), total) for total in (20, BEYOND))
        differs = not torch.equal(short, long)
        needs = entry.facts.needs_total(knobs)
        about = said(knobs, entry)
        if differs and not needs:
            raise BrokenError(f"it depends on the length of the run{about}: declare total")
        if not needs:
            unknown = rates(entry, knobs, clock(BEYOND), None)
            require_close(unknown, short, f"the rate where no length is known{about}")
        told, changed = told or needs, changed or differs
    if told and not changed:
        raise BrokenError("it does not depend on the length of the run: declare total=False")
