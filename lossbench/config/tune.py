"""The block `tune` of a comparison: which knobs are searched for every contender, and where.

tune: optimizer.lr
tune: {optimizer.lr: {log_uniform: [1e-4, 1]}, trials: 16, seeds: 3, metric: validation/loss}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lossbench import plugins
from lossbench.components.vocabulary import PositiveInt
from lossbench.config.annotations import describe, members, parts, show
from lossbench.config.axes import DATA
from lossbench.config.comparison import Cell, Tune
from lossbench.config.options import annotations_of, defaults_of, read_block, unknown_key
from lossbench.config.problems import Problems
from lossbench.config.protocol import (
    MOST_TRIALS,
    common_metrics,
    is_loss,
    named,
    recorded,
    rival_losses,
    shown,
)
from lossbench.config.spec import Choice, DatasetOptions, RunSpec, TrainSpec
from lossbench.config.values import INVALID, check
from lossbench.config.yaml import Node, parse
from lossbench.errors import ConfigError, LossbenchError, Place, nearest, suggest
from lossbench.registry import KINDS

LOG_UNIFORM = "log_uniform"
_EXAMPLE = f"{{{LOG_UNIFORM}: [1e-5, 1]}}"


@dataclass(frozen=True)
class TuneOptions:
    """The keys of `tune` that name no knob.

    trials: values tried for each contender, its own among them.
    seeds:  runs of each value, none with a seed of the comparison itself.
    metric: what decides: validation/ and the name of a metric; the loss where all have the same.
    """

    trials: PositiveInt = 16
    seeds: PositiveInt = 3
    metric: str | None = None


OPTIONS = tuple(defaults_of(TuneOptions))


@dataclass(frozen=True)
class Search:
    """A knob to tune, as written: where it stands, and the ends of its range where given."""

    key: str
    place: Place
    low: Node | None = None
    high: Node | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The key's parts."""
        return tuple(self.key.split("."))


@dataclass(frozen=True)
class Tuning:
    """The block `tune`, as written."""

    searches: tuple[Search, ...] = ()
    options: TuneOptions = field(default_factory=TuneOptions)
    metric_place: Place | None = None


# --- reading ----------------------------------------------------------------------------------


def with_arguments(node: Node | None, arguments: Sequence[str], problems: Problems) -> Node | None:
    """Let `KEY` or `KEY=LOW:HIGH` arguments replace the knobs of the file; its options stay."""
    given: dict[str, Node] = {}
    for text in arguments:
        found = _argument(text, problems)
        if found is not None:
            given[found[0]] = found[1]
    if not given:
        return node
    kept = {} if node is None or node.mapping is None else node.mapping
    options = {key: value for key, value in kept.items() if key in OPTIONS}
    return next(iter(given.values())).with_value({**given, **options})


def _argument(text: str, problems: Problems) -> tuple[str, Node] | None:
    argument = f"--tune {text}"
    key, equals, span = text.partition("=")
    ends = span.partition(":") if equals else ("null", "", "")
    place = Place(argument=argument)
    if not key.strip() or (equals and not all(end.strip() for end in ends)):
        hint = "write KEY or KEY=LOW:HIGH, such as optimizer.lr=1e-4:1"
        problems.add(place, "names no knob or no range", hint)
        return None
    try:
        node = parse(f"[{ends[0]}, {ends[2]}]" if equals else "null", argument=argument)
    except ConfigError as error:
        problems.add(place, error.problems[0].message, error.problems[0].hint)
        return None
    return key.strip(), node


def read_tuning(node: Node | None, problems: Problems) -> Tuning:
    """Read the block; what is wrong with it is noted and left out."""
    if node is None or node.value is None:
        return Tuning()
    if node.mapping is None:
        items = node.items if node.items is not None else (node,)
        given = {str(item.value): item.with_value(None) for item in items}
        if not items or not all(isinstance(item.value, str) for item in items):
            message = f"tune must name a knob, or be a block of knobs, got {show(node.plain())}"
            problems.add(node.place, message, f"write 'tune: {{optimizer.lr: {_EXAMPLE}}}'")
            return Tuning()
    else:
        given = dict(node.mapping)
    own = {key: given.pop(key) for key in OPTIONS if key in given}
    for key in [key for key in given if _is_option(key, given[key])]:
        problems.add(given[key].key, f"unknown key '{key}' in tune", _hint_for(key))
        del given[key]
        if not given:
            return Tuning()
    options = read_block(TuneOptions, node.with_value(own), "tune", problems)
    if not given:
        hint = f"add 'optimizer.lr: {_EXAMPLE}'"
        problems.add(node.key, "tune names no knob to search", hint)
    searches = [_search(key, value, problems) for key, value in given.items()]
    place = own["metric"].place if "metric" in own else None
    return Tuning(tuple(s for s in searches if s), options or TuneOptions(), place)


def _is_option(key: str, node: Node) -> bool:
    """Tell whether a key was meant as an option: knobs have a dot, and no plain value."""
    near = nearest(key, OPTIONS)
    return "." not in key and bool(near or not (node.value is None or node.items or node.mapping))


def _hint_for(key: str) -> str:
    if nearest(key, OPTIONS):
        return suggest(key, OPTIONS)
    return f"valid: {', '.join(OPTIONS)}, and knobs such as optimizer.lr"


def _search(key: str, node: Node, problems: Problems) -> Search | None:
    if node.value is None:
        return Search(key, node.key)
    ends = node
    if node.mapping:
        for inner, value in node.mapping.items():
            if inner != LOG_UNIFORM:
                hint = f"'{inner}' stands beside '{key}', not in it" if inner in OPTIONS else None
                unknown_key(inner, value, f"tune: {key}", [LOG_UNIFORM], problems, hint)
        if list(node.mapping) != [LOG_UNIFORM]:
            return None
        ends = node.mapping[LOG_UNIFORM]
    low_high = [check(float, end, f"tune: {key}", Problems()) for end in ends.items or ()]
    if len(low_high) != 2 or INVALID in low_high:
        message = f"tune: {key} must be {_EXAMPLE} with two numbers, got {show(node.plain())}"
        problems.add(node.place, message, "leave it empty to search the usual range")
        return None
    low, high = low_high
    if not 0 < low < high:
        got = f"{show(low)} to {show(high)}"
        message = f"tune: {key} is searched from above 0 up to a larger number, got {got}"
        problems.add(ends.place, message)
        return None
    first, second = ends.items or ()
    return Search(key, node.key, first, second)


# --- against the runs -------------------------------------------------------------------------


def tunes(
    tuning: Tuning, varied: Sequence[str], cells: Sequence[Cell], problems: Problems
) -> tuple[Tune, ...]:
    """Hold what is to be tuned against every contender; return it complete."""
    for search in tuning.searches:
        _check_key(search, varied, cells, problems)
    if not tuning.searches:
        return ()
    metric = _metric(tuning, cells, problems)
    _check_validation(tuning.searches[0], cells, problems)
    runs = len(cells) * tuning.options.trials * tuning.options.seeds
    if runs > MOST_TRIALS:
        message = f"tune takes {show(runs)} runs, at most {MOST_TRIALS}"
        problems.add(tuning.searches[0].place, message, "lower tune.trials or tune.seeds")
    rest = (tuning.options.trials, tuning.options.seeds, metric)
    return tuple(
        Tune(search.key, _number(search.low), _number(search.high), *rest)
        for search in tuning.searches
    )


def _number(node: Node | None) -> float | None:
    return None if node is None else float(node.value)  # type: ignore[arg-type]


def _check_key(
    search: Search, varied: Sequence[str], cells: Sequence[Cell], problems: Problems
) -> None:
    if search.key in varied:
        hint = "leave it to one of the two"
        problems.add(search.place, f"tune: '{search.key}' is an axis already", hint)
        return
    if search.path[0] == DATA:
        message = f"tune: '{search.key}' belongs to the problem, and only contenders are tuned"
        problems.add(search.place, message)
        return
    without = [c for c in cells if search.path[-1] not in knobs_at(c.spec, search.path[:-1])]
    if without:
        knobs = knobs_at(without[0].spec, search.path[:-1])
        who = "no contender" if 1 < len(cells) == len(without) else named(without[0], cells)
        message = f"tune: {who} has {'a' if who == 'no contender' else 'no'} knob '{search.key}'"
        problems.add(search.place, message, _nearest(search, without[0].spec, knobs))
        return
    for cell in cells:
        if not _check_cell(search, cell, cells, problems):
            return


def _check_cell(search: Search, cell: Cell, cells: Sequence[Cell], problems: Problems) -> bool:
    """Check one contender's knob, its own value and the ends of the range."""
    annotation = knobs_at(cell.spec, search.path[:-1])[search.path[-1]]
    who = named(cell, cells)
    inner = [base for member in members(annotation) for base in members(parts(member)[0])]
    if not any(parts(base)[0] is float for base in inner):
        message = f"tune: '{search.key}' takes {describe(annotation)}: only a number is searched"
        problems.add(search.place, message)
        return False
    value = value_of(cell.spec, search.key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        message = f"tune: {who} has {search.key}: {show(value)}, and a search cannot start there"
        hint = "it is searched on a logarithmic scale: give it a value greater than 0"
        problems.add(search.place, message, hint)
        return False
    before = len(problems)
    for end in (search.low, search.high):
        if end is not None:
            check(annotation, end, f"tune: {search.key}", problems)
    return len(problems) == before


def knobs_at(spec: RunSpec, path: Sequence[str]) -> Mapping[str, Any]:
    """Return the annotations of the knobs below a path, by name; none where it leads nowhere."""
    if tuple(path) == ("train",):
        return annotations_of(TrainSpec)
    choice: Any = getattr(spec, path[0], None) if path and path[0] in KINDS else None
    for part in path[1:]:
        choice = choice.knobs.get(part) if isinstance(choice, Choice) else None
    if not isinstance(choice, Choice):
        return {}
    try:
        return {knob.name: knob.annotation for knob in plugins.chosen(choice).knobs}
    except LossbenchError:  # the user's own file has gone since it was read
        return {}


def value_of(spec: RunSpec, key: str) -> Any:
    """Return the value that a run has at a key such as `optimizer.lr`, none where it has none."""
    value: Any = spec
    for part in key.split("."):
        if isinstance(value, Choice):
            value = value.knobs.get(part, getattr(value.options, part, None))
        else:
            value = getattr(value, part, None)
    return value


def lower_is_better(metric: Choice) -> bool | None:
    """Return a metric's direction, none where no value of it is better than another."""
    direction: bool | None = plugins.chosen(metric).facts.lower_is_better
    return direction


def _nearest(search: Search, spec: RunSpec, knobs: Mapping[str, Any]) -> str:
    above = ".".join(search.path[:-1])
    if knobs:
        return suggest(search.key, [f"{above}.{name}" for name in knobs])
    every = [
        f"{kind}.{name}"
        for kind in ("optimizer", "schedule", "loss", "network", "activation")
        for name, annotation in knobs_at(spec, [kind]).items()
        if float in [parts(member)[0] for member in members(annotation)]
    ]
    homes = [name for name in every if name.rpartition(".")[2] == search.path[-1]]
    return f"did you mean {' or '.join(homes)}?" if homes else suggest(search.key, every)


def _metric(tuning: Tuning, cells: Sequence[Cell], problems: Problems) -> str:
    """Return what decides: the metric asked for, or the loss where all contenders share it."""
    place = tuning.metric_place or tuning.searches[0].place
    of_loss = any(search.path[0] == "loss" for search in tuning.searches)
    rivals = rival_losses(cells)
    aimless = {c.name for c in cells[0].spec.metrics if lower_is_better(c) is None}
    usable = [name for name in common_metrics(cells) if name not in aimless]
    if of_loss or rivals:
        usable = [name for name in usable if not is_loss(name)]
    given = tuning.options.metric
    if given is None:
        if usable:
            return f"validation/{usable[0]}"
        message = "tune needs a metric: values of different losses cannot be compared"
        problems.add(place, message, "add one under 'metrics'")
        return ""
    valid = [f"validation/{name}" for name in usable]
    if given in valid:
        return given
    if is_loss(given) and given in recorded(cells[0].spec) and given.startswith("validation/"):
        why = (
            "a knob of the loss changes what it means" if of_loss else f"there are {shown(rivals)}"
        )
        message = f"tune.metric: '{given}' does not compare the contenders: {why}"
    elif given.partition("/")[2] in aimless:
        message = f"tune.metric: no value of '{given}' is better than another"
    else:
        message = f"tune.metric: '{given}' is not recorded on validation data by all contenders"
    problems.add(place, message, suggest(given, valid))
    return given


def _check_validation(search: Search, cells: Sequence[Cell], problems: Problems) -> None:
    """Note a contender that has no validation data, as far as the config tells."""
    for cell in cells:
        dataset = cell.spec.dataset
        options = dataset.options
        share = options.split[1] if isinstance(options, DatasetOptions) else 1.0
        own = dataset.file is not None or dataset.name not in KINDS[DATA]
        brings = None if own else KINDS[DATA][dataset.name].facts.validation
        if share == 0 and brings is False:
            message = f"tune needs validation data, and the split of '{cell.problem}' leaves none"
            hint = "give it a share: dataset.split: [0.7, 0.15, 0.15]"
            problems.add(search.place, message, hint)
            return
