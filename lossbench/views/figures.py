"""Pictures of runs, as plain data: what is drawn of one run, and of several over one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lossbench.analysis.curves import Curves, Series, best, thin, trend, wants_log
from lossbench.views.shapes import Figure, Line, Mark, Panel


@dataclass(frozen=True, eq=False)
class Shown:
    """A run as a picture needs it: its curves and how to name them.

    best_step is where the kept weights are from; `lower_is_better` tells it of every metric; `test`
    is what those weights reached on test data.
    """

    label: str
    curves: Curves
    loss: str = ""
    best_step: int | None = None
    lower_is_better: Mapping[str, bool | None] = field(default_factory=dict)
    test: Mapping[str, float | None] = field(default_factory=dict)


def runs_figure(runs: Sequence[Shown]) -> Figure:
    """Draw one run in full, or several over one another."""
    return _one_run(runs[0]) if len(runs) == 1 else _many_runs(runs)


def _one_run(run: Shown) -> Figure:
    """Training loss, validation loss and the best step in one panel, each metric in its own."""
    validation = run.curves.evaluations.get("validation", {})
    metrics = [name for name in validation if name != "loss"]
    loss_lines = [*_training(run.curves.steps, 0, "training (smoothed)", raw="training, per batch")]
    marks: tuple[Mark, ...] = ()
    if "loss" in validation:
        loss_lines.append(_evaluations(validation["loss"], 1, "validation", by="steps"))
        marks = _best_mark(run, validation["loss"], 1, by="steps")
    panels = [
        Panel(
            "optimizer step",
            _loss_label([run]),
            tuple(loss_lines),
            marks=marks,
            log_y=wants_log(*(line.y for line in loss_lines if line.role != "raw")),
        )
    ]
    panels += [
        Panel(
            "epoch",
            _words(name),
            (_evaluations(validation[name], 1, "validation", by="epochs"),),
            marks=_best_mark(run, validation[name], 1, by="epochs", label=""),
            log_y=_error_over_decades(run, name, [validation[name]]),
        )
        for name in metrics
    ]
    return Figure(tuple(panels), title=run.label, note=_outcome(run))


def _many_runs(runs: Sequence[Shown]) -> Figure:
    """Training loss, validation loss and every metric, a colour and dash pattern for each run."""
    training = tuple(
        line
        for hue, run in enumerate(runs)
        for line in _training(run.curves.steps, hue, run.label, raw=None)
    )
    panels = [
        Panel(
            "optimizer step",
            f"training {_loss_label(runs)}",
            training,
            log_y=wants_log(*(line.y for line in training)),
        )
    ]
    names = dict.fromkeys(
        name for run in runs for name in run.curves.evaluations.get("validation", {})
    )
    panels += [_overlaid(runs, name) for name in names]
    return Figure(tuple(panels))


def _overlaid(runs: Sequence[Shown], name: str) -> Panel:
    """Return the panel of one validation metric, with every run that has it."""
    held = [
        (hue, run, run.curves.evaluations["validation"][name])
        for hue, run in enumerate(runs)
        if name in run.curves.evaluations.get("validation", {})
    ]
    curves = [curve for _, _, curve in held]
    return Panel(
        "epoch",
        f"validation {_loss_label(runs) if name == 'loss' else _words(name)}",
        tuple(_evaluations(curve, hue, run.label, by="epochs") for hue, run, curve in held),
        marks=tuple(
            mark
            for hue, run, curve in held
            for mark in _best_mark(run, curve, hue, "epochs", "best weights", upright=False)
        ),
        log_y=_error_over_decades(held[0][1], name, curves),
    )


def _training(steps: Series, hue: int, label: str, raw: str | None) -> list[Line]:
    """Return the loss of the batches (where wanted) and its course."""
    if len(steps) == 0:
        return []
    lines = []
    if raw is not None:
        x, y = thin(steps.steps, steps.values)
        lines.append(Line(_floats(x), _floats(y), raw, hue, "raw"))
    course = trend(steps)
    lines.append(Line(_floats(course.steps), _floats(course.values), label, hue, "trend"))
    return lines


def _evaluations(curve: Series, hue: int, label: str, by: Literal["steps", "epochs"]) -> Line:
    x = curve.steps if by == "steps" else curve.epochs
    return Line(_floats(x), _floats(curve.values), label, hue, "evaluations")


def _best_mark(
    run: Shown,
    curve: Series,
    hue: int,
    by: Literal["steps", "epochs"],
    label: str | None = None,
    upright: bool = True,
) -> tuple[Mark, ...]:
    """Mark a curve where the kept weights are from."""
    if run.best_step is None:
        return ()
    found = [place for place, step in enumerate(curve.steps) if step == run.best_step]
    if not found:
        return ()
    x = (curve.steps if by == "steps" else curve.epochs)[found[0]]
    text = f"best weights (step {run.best_step})" if label is None else label
    return (Mark(float(x), float(curve.values[found[0]]), text, hue, upright),)


def _error_over_decades(run: Shown, name: str, curves: Sequence[Series]) -> bool:
    """Losses and errors may need a logarithmic axis; scores near 1 never do."""
    lower = run.lower_is_better.get(name, name == "loss")
    return bool(lower) and wants_log(*(curve.values for curve in curves))


def _outcome(run: Shown) -> str:
    """Say in one line what the test data showed, or what validation showed at its best."""
    shown = [f"{_words(name)} {value:.4g}" for name, value in run.test.items() if value is not None]
    if shown:
        return "test: " + ", ".join(shown)
    validation = run.curves.evaluations.get("validation", {})
    said = []
    for name, curve in validation.items():
        lower = run.lower_is_better.get(name, name == "loss")
        if lower is None:  # no value is better than another
            continue
        place = best(curve.values, lower_is_better=lower)
        if place is not None:
            said.append(f"{_words(name)} {curve.values[place]:.4g}")
    return "best validation: " + ", ".join(said) if said else ""


def _loss_label(runs: Sequence[Shown]) -> str:
    """Name the loss where all runs share it."""
    names = {run.loss for run in runs}
    name = names.pop() if len(names) == 1 else ""
    return f"loss ({_words(name)})" if name else "loss"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _floats(values: object) -> tuple[float, ...]:
    return tuple(float(value) for value in values)  # type: ignore[attr-defined]
