"""A comparison, from YAML to its trials, or to all that is wrong with it.

    extends: cubic.yaml
    vary:
      optimizer:
        SGD:  {name: sgd, lr: 0.01}
        Adam: {name: adam, lr: 0.01}
    seeds: 20

    loaded = load_comparison(Path("optimizers.yaml"))
    loaded.spec.trials        # 40 of them, each with its whole RunSpec

Every contender is read exactly as a run's config is, once; its trials differ in the seed alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.config import axes as axes_of_file
from lossbench.config import tune as tune_of_file
from lossbench.config.comparison import Cell, ComparisonSpec, LoadedComparison, Trial, Tune
from lossbench.config.expand import plain_axes, plain_base, read_cells, trials
from lossbench.config.files import read_file, read_given_text
from lossbench.config.grid import Grid, read_zip
from lossbench.config.merge import COMPARISON, TARGET, VARY
from lossbench.config.overrides import lay_over, put
from lossbench.config.problems import Problems
from lossbench.config.protocol import (
    MOST_TRIALS,
    SPLITS,
    check_target,
    common_metrics,
    differing_epochs,
    read_claims,
    read_seeds,
    read_target,
)
from lossbench.config.read import gather, read_run
from lossbench.config.spec import RunSpec
from lossbench.config.tune import value_of
from lossbench.config.write import NO_FILES, comment, dump_plain, plain
from lossbench.config.yaml import Node, from_python
from lossbench.errors import ConfigError, Place, UsageError
from lossbench.plugins import travelling

__all__ = [
    "ComparisonSpec",
    "LoadedComparison",
    "Trial",
    "Tune",
    "claim_facts",
    "dump_comparison",
    "is_comparison",
    "load_comparison",
    "load_comparison_text",
    "trial_spec",
    "value_of",
    "with_value",
]


def load_comparison(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    vary: Sequence[str] = (),
    seeds: int | None = None,
    tune: Sequence[str] = (),
    mapping: Mapping[str, Any] | None = None,
) -> LoadedComparison:
    """Read a comparison file, or make one of a run's config and the arguments of `compare`.

    `vary` are `KEY=VALUE,VALUE`, `tune` are `KEY` or `KEY=LOW:HIGH`; they and `seeds` replace what
    the file says. Raises ConfigError with everything that is wrong, each with its place.
    """
    root, text, name = gather(path, mapping)
    root = _with_own_name(root, Path(path) if path is not None else None)
    return _Reader(root, name, overrides, vary, seeds, tune).loaded(text)


def load_comparison_text(
    text: str, overrides: Sequence[str] = (), *, folder: Path | None = None
) -> LoadedComparison:
    """Read a comparison from text; relative paths start at `folder`, the current one unless given.

    Raises ConfigError with everything that is wrong.
    """
    root = read_given_text(text, folder or Path.cwd())
    return _Reader(root, "comparison", overrides).loaded(text)


def is_comparison(path: str | Path) -> bool:
    """Tell whether a config file is a comparison's. Raises ConfigError where it cannot be read."""
    _, root = read_file(Path(path))
    return any(key in COMPARISON for key in root.mapping or {})


def _with_own_name(root: Node, file: Path | None) -> Node:
    """Drop the name of a run that the file extends: the comparison is called as its file is."""
    given = dict(root.mapping or {})
    name = given.get("name")
    if file is None or name is None or name.place.file in (None, file):
        return root
    del given["name"]
    return root.with_value(given)


class _Reader:
    """Reads the blocks of a comparison; notes every problem and goes on."""

    def __init__(
        self,
        root: Node,
        name: str,
        overrides: Sequence[str] = (),
        vary: Sequence[str] = (),
        seeds: int | None = None,
        tune: Sequence[str] = (),
    ) -> None:
        self.problems, self.name = Problems(), name
        root = lay_over(root, self.without_axes(overrides), self.problems)
        whole = root.mapping or {}
        self.given = {key: node for key, node in whole.items() if key in COMPARISON}
        run = {key: node for key, node in whole.items() if key not in COMPARISON}
        self.base = root.with_value(run)
        self.grid = self.read_grid(overrides, vary)
        if seeds is not None:
            place = Place(argument=f"--seeds {seeds}")
            self.given["seeds"] = Node(seeds, place, place, root.folder)
        self.seeds = read_seeds(self.given.get("seeds"), self.base, self.problems)
        searched = tune_of_file.with_arguments(self.given.get("tune"), tune, self.problems)
        self.tuning = tune_of_file.read_tuning(searched, self.problems)
        self.target = read_target(self.given.get(TARGET), self.problems)
        self.claims, self.claim_places = read_claims(self.given.get("claims"), self.problems)

    def without_axes(self, overrides: Sequence[str]) -> list[str]:
        """Note the overrides that reach into `vary`: its keys have dots of their own."""
        found = []
        for text in overrides:
            block, dot, key = text.partition("=")[0].partition(".")
            if block.strip() == VARY and dot:
                hint = f"write --vary {key.strip()}=VALUE,VALUE"
                self.problems.add(Place(argument=text), "cannot reach into 'vary'", hint)
            else:
                found.append(text)
        return found

    def read_grid(self, overrides: Sequence[str], arguments: Sequence[str]) -> Grid | None:
        """Read what varies, and what goes in step; none where something is wrong with it."""
        before = len(self.problems)
        vary = axes_of_file.with_arguments(self.given.get(VARY), arguments, self.problems)
        axes = axes_of_file.read_axes(vary, self.base, self.problems)
        axes = axes_of_file.with_overrides(axes, overrides, self.base, self.problems)
        if len(self.problems) > before:
            return None
        zipped = read_zip(self.given.get("zip"), axes, self.problems)
        return Grid(axes, zipped) if len(self.problems) == before else None

    def loaded(self, text: str) -> LoadedComparison:
        """Return the comparison. Raises ConfigError with everything that is wrong."""
        cells = self.cells()
        tunes = self.check(cells) if cells else ()
        self.problems.raise_any()
        assert self.grid is not None  # no problem, so every part was read
        axes = plain_axes(self.grid, cells)
        spec = ComparisonSpec(
            name=cells[0].spec.name,
            base=plain_base(self.base, self.grid, cells),
            axes=axes,
            zipped=self.grid.zipped,
            contenders=tuple(dict.fromkeys(cell.contender for cell in cells)),
            problems=tuple(dict.fromkeys(cell.problem for cell in cells)),
            seeds=tuple(self.seeds),
            tune=tunes,
            target=self.target,
            claims=self.claims,
            trials=tuple(trials(cells, axes, self.seeds)),
        )
        files = dict.fromkeys(file for cell in cells for file in travelling(cell.spec))
        return LoadedComparison(spec, text, tuple(files), self.claim_places)

    def cells(self) -> list[Cell]:
        """Read every contender on every problem, unless there are too many of them."""
        if self.grid is None:
            return []
        size, seeds = self.grid.size(), max(1, len(self.seeds))
        if size * seeds > MOST_TRIALS:
            node = self.given.get(VARY)
            message = f"{size} contenders with {seeds} seeds are {size * seeds} trials"
            hint = f"at most {MOST_TRIALS}: take fewer values, or 'zip' the axes"
            self.problems.add(node.key if node else self.base.place, message, hint)
            return []
        return read_cells(self.base, self.grid, self.name, self.problems)

    def check(self, cells: Sequence[Cell]) -> tuple[Tune, ...]:
        """Hold budget, target and tuning against the contenders."""
        assert self.grid is not None  # there are cells
        for epochs in differing_epochs(cells).values():
            places = [axis.place for axis in self.grid.axes if axis.path[0] == "train"]
            message = f"contenders train for {' and '.join(map(str, epochs[:4]))} epochs"
            hint = "their budgets must be equal: train all of them longest and look at the curves"
            self.problems.add(places[0] if places else self.base.place, message, hint)
        if self.target is not None:
            check_target(self.target[0], self.given[TARGET], cells, self.problems)
        keys = [axis.key for axis in self.grid.axes]
        return tune_of_file.tunes(self.tuning, keys, cells, self.problems)


# --- back to text -----------------------------------------------------------------------------


def dump_comparison(
    spec: ComparisonSpec, *, files: Mapping[Path, str] = NO_FILES, header: str = ""
) -> str:
    """Return a comparison as YAML that `load_comparison` reads back to an equal spec.

    `files` re-points the user's own files, as `write.dump` does; `header` becomes a comment.
    """
    whole: dict[str, Any] = {**spec.base, **({VARY: spec.axes} if spec.axes else {})}
    if spec.zipped:
        whole["zip"] = spec.zipped
    first = (spec.base.get("train") or {}).get("seed", 0)
    count = len(spec.seeds)
    whole["seeds"] = count if spec.seeds == tuple(range(first, first + count)) else spec.seeds
    if spec.tune:
        whole["tune"] = _tune_block(spec.tune)
    if spec.target is not None:
        whole[TARGET] = dict([spec.target])
    if spec.claims:
        whole["claims"] = spec.claims
    return comment(header) + dump_plain(_moved(whole, {str(k): v for k, v in files.items()}))


def _tune_block(tunes: Sequence[Tune]) -> dict[str, Any]:
    block: dict[str, Any] = {
        tune.key: None if tune.low is None else {tune_of_file.LOG_UNIFORM: (tune.low, tune.high)}
        for tune in tunes
    }
    first = tunes[0]
    return block | {"trials": first.trials, "seeds": first.seeds, "metric": first.metric}


def _moved(value: Any, files: Mapping[str, str]) -> Any:
    """Return plain values with the paths of files, alone or in `file.py:Name`, replaced."""
    if isinstance(value, Mapping):
        return {_moved(key, files): _moved(item, files) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_moved(item, files) for item in value]
    if isinstance(value, str) and value in files:
        return files[value]
    if isinstance(value, str) and value.rpartition(":")[0] in files:
        file, _, name = value.rpartition(":")
        return f"{files[file]}:{name}"
    return value


# --- single trials ----------------------------------------------------------------------------


def trial_spec(
    comparison: str | ComparisonSpec, number: int, *, folder: Path | None = None
) -> Trial:
    """Return one trial of a comparison, or of its text (relative paths start at `folder`).

    Raises UsageError where there is no trial of that number.
    """
    if isinstance(comparison, str):
        comparison = load_comparison_text(comparison, folder=folder).spec
    count = len(comparison.trials)
    if not 0 <= number < count:
        raise UsageError(
            f"there is no trial {number} in '{comparison.name}'",
            hint=f"its trials are numbered 0 to {count - 1}",
        )
    return comparison.trials[number]


def with_value(spec: RunSpec, key: str, value: Any) -> RunSpec:
    """Return the same run with one key changed, such as `optimizer.lr`, checked like any config.

    Another component's name drops the knobs of the one before. Raises ConfigError.
    """
    problems = Problems()
    root = put(from_python(plain(spec)), key.split("."), from_python(value), problems)
    changed = read_run(root, spec.name, problems)
    problems.raise_any()
    if changed is None:
        raise ConfigError(list(problems))
    return changed


def claim_facts(loaded: LoadedComparison) -> dict[str, Any]:
    """Return what claims may speak of, as keywords: contenders, metrics, losses, and places."""
    names = common_metrics(loaded.spec.firsts())
    return {
        "contenders": loaded.spec.contenders,
        "metrics": [f"{split}/{name}" for split in SPLITS for name in names],
        "losses": loaded.spec.losses(),
        "places": loaded.claim_places,
    }
