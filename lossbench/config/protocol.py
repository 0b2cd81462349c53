"""How a comparison is run and judged: what its file says under `seeds`, `target` and `claims`.

(`tune` has a file of its own.) Each is read from the file first; the target is then held against
the runs that the axes make.
"""

from collections.abc import Mapping, Sequence

from lossbench.config.annotations import show
from lossbench.config.comparison import Cell, Trial, loss_text
from lossbench.config.problems import Problems
from lossbench.config.spec import RunSpec, Seed
from lossbench.config.values import INVALID, check
from lossbench.config.yaml import Node
from lossbench.errors import Place, suggest

DEFAULT_SEEDS = 10
"""Enough for the exact test to decide up to 25 claims at once."""

MOST_TRIALS = 1_000_000
MOST_SEEDS_LISTED = 10_000
SPLITS = ("train", "validation", "test")


def read_seeds(node: Node | None, base: Node, problems: Problems) -> Sequence[int]:
    """Return the seeds: so many from the config's own seed upward, or those of a list."""
    if node is not None and node.items is not None:
        return _listed(node, problems)
    count = DEFAULT_SEEDS if node is None or node.value is None else node.value
    place = base.place if node is None else node.place
    first, example = _first_seed(base), _example(place)
    if isinstance(count, bool) or not isinstance(count, int):
        message = f"seeds must be a whole number or a list of them, got {show(count)}"
        problems.add(place, message, example)
    elif count < 1:
        problems.add(place, f"seeds must be at least 1, got {count}", example)
    elif count > MOST_TRIALS:
        problems.add(place, f"seeds must be at most {MOST_TRIALS}, got {show(count)}")
    elif first + count > 2**63:
        problems.add(place, f"{count} seeds from {first} upward exceed 2^63 - 1")
    else:
        return range(first, first + count)
    return ()


def _example(place: Place) -> str:
    """Return a hint in the words of the place: the file's, or those of an argument."""
    if place.argument is None:
        return "write 'seeds: 20'"
    return f"write '{'--seeds 20' if place.argument.startswith('--seeds') else 'seeds=20'}'"


def _first_seed(base: Node) -> int:
    """Return the seed that a config gives; what is wrong with it is noted when it is read."""
    train = (base.mapping or {}).get("train")
    node = (train.mapping or {}).get("seed") if train is not None else None
    seed = node.value if node is not None else 0
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 else 0


def _listed(node: Node, problems: Problems) -> Sequence[int]:
    items = node.items or ()
    if not items:
        problems.add(node.place, "seeds are empty: at least 1 is needed", _example(node.place))
    if len(items) > MOST_SEEDS_LISTED:
        hint = "write their number: they count from train.seed upward"
        problems.add(node.place, f"more than {MOST_SEEDS_LISTED} seeds in a list", hint)
        return ()
    found: dict[int, Place] = {}
    for index, item in enumerate(items):
        seed = check(Seed, item, f"seeds[{index}]", problems)
        if seed is INVALID:
            continue
        if seed in found:
            problems.add(item.place, f"seed {seed} stands twice", _first_at(found[seed]))
        found.setdefault(seed, item.place)
    return tuple(found)


def _first_at(place: Place) -> str | None:
    return f"it stands first at {place}" if str(place) else None


def read_target(node: Node | None, problems: Problems) -> tuple[str, float] | None:
    """Return the metric and the value that trials are timed to, none where there is no target."""
    if node is None or node.value is None:
        return None
    if node.mapping is None or len(node.mapping) != 1:
        got = show(node.plain())
        message = f"target must be one metric with the value to reach, got {got}"
        problems.add(node.place, message, "write 'target: {train/loss: 0.01}'")
        return None
    ((metric, value),) = node.mapping.items()
    number = check(float, value, f"target: {metric}", problems)
    return None if number is INVALID else (metric, float(number))


def check_target(metric: str, node: Node, cells: Sequence[Cell], problems: Problems) -> None:
    """Note a target that some trial does not record, or on which the contenders do not compare."""
    place = next(iter((node.mapping or {}).values())).key
    without = [cell for cell in cells if metric not in recorded(cell.spec)]
    if without:
        who = shared_by(without, cells)
        message = f"target: '{metric}' is not recorded by {who} during training"
        problems.add(place, message, suggest(metric, recorded(without[0].spec)))
        return
    texts = list(dict.fromkeys(loss_text(cell.spec) for cell in cells))
    if is_loss(metric) and len(texts) > 1:
        message = f"target: the same '{metric}' means different things for {shown(texts)}"
        others = [name for name in recorded(cells[0].spec) if not is_loss(name)]
        problems.add(place, message, suggest(metric, others) if others else None)


def read_claims(node: Node | None, problems: Problems) -> tuple[tuple[str, ...], tuple[Place, ...]]:
    """Return the claims and where they stand. Their grammar is the analysis's affair."""
    if node is None or node.value is None:
        return (), ()
    if node.items is None:
        message = f"claims must be a list, got {show(node.plain())}"
        problems.add(node.place, message, "write 'claims: [Adam below SGD on train/loss]'")
        return (), ()
    found: dict[str, Place] = {}
    for item in node.items:
        if not isinstance(item.value, str) or not item.value.strip():
            hint = "write it in words: Adam below SGD on train/loss"
            problems.add(item.place, f"a claim must be text, got {show(item.plain())}", hint)
        elif item.value in found:
            first = _first_at(found[item.value])
            problems.add(item.place, "the same claim stands twice", first)
        else:
            found[item.value] = item.place
    return tuple(found), tuple(found.values())


# --- what runs record -------------------------------------------------------------------------


def recorded(spec: RunSpec) -> list[str]:
    """Return the metrics that a run records while it trains."""
    names = [f"validation/{metric.name}" for metric in spec.metrics]
    return ["train/loss", "validation/loss", *names]


def is_loss(metric: str) -> bool:
    """Tell whether a metric is what runs are trained on."""
    return metric.rpartition("/")[2] == "loss"


def common_metrics(cells: Sequence[Cell | Trial]) -> list[str]:
    """Return the names of the metrics that all runs record, the loss among them."""
    names = ["loss", *(metric.name for metric in cells[0].spec.metrics)]
    others = [{metric.name for metric in cell.spec.metrics} | {"loss"} for cell in cells[1:]]
    return [name for name in names if all(name in other for other in others)]


def rival_losses(cells: Sequence[Cell]) -> list[str]:
    """Return the losses of contenders that have the same problem and different losses."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        found.setdefault(cell.problem, {})[loss_text(cell.spec)] = None
    return next((list(texts) for texts in found.values() if len(texts) > 1), [])


def named(cell: Cell, cells: Sequence[Cell]) -> str:
    """Return what tells one of the runs from the others: its contender, or its problem too."""
    problems = {other.problem for other in cells}
    where = f" on '{cell.problem}'" if len(problems) > 1 else ""
    return f"'{cell.contender}'{where}"


def shared_by(some: Sequence[Cell], cells: Sequence[Cell]) -> str:
    """Return whom a mistake concerns, as the object of a sentence: any contender, or the first."""
    if 1 < len(cells) == len(some):
        return "any contender"
    return named(some[0], cells)


def shown(texts: Sequence[str]) -> str:
    """Return the first few of several texts."""
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return ", ".join(texts[:3]) + more


def differing_epochs(cells: Sequence[Cell]) -> Mapping[str, list[int]]:
    """Return the numbers of epochs by problem, of those whose contenders differ in them."""
    found: dict[str, dict[int, None]] = {}
    for cell in cells:
        found.setdefault(cell.problem, {})[cell.spec.train.epochs] = None
    return {problem: list(epochs) for problem, epochs in found.items() if len(epochs) > 1}
