"""A comparison's directory: one for all its trials, written in finished pieces.

    runs/<name>/<UTC time>-c<trials>-<4 random letters>/
        comparison.yaml  files/  run.json
        pieces/                       finished groups of trials, until all are there
        trials.csv  curves.safetensors  summary.json  plots/

A killed comparison goes on with the pieces that are missing.
"""

import contextlib
import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossbench.errors import RunError, nearest
from lossbench.lazy import LazyModule, np
from lossbench.rundir import folders, storage
from lossbench.rundir.directory import RUNS, RunDirectory
from lossbench.rundir.records import columns_of_csv, csv_of_columns, json_text

safetensors_numpy: Any = LazyModule("safetensors.numpy")

ID = re.compile(r"\d{8}-\d{6}-c\d+-[a-z]{4}")

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class ComparisonDirectory:
    """The files of one comparison."""

    path: Path

    @property
    def id(self) -> str:
        """The comparison's id: the name of its directory."""
        return self.path.name

    @property
    def argument(self) -> str:
        """What names this comparison on a command line: its id, and where it lies if elsewhere."""
        runs_dir = self.path.parent.parent
        if not ID.fullmatch(self.id):
            return shlex.quote(str(self.path))
        if runs_dir.absolute() == RUNS.absolute():
            return self.id
        return f"{self.id} --runs-dir {shlex.quote(str(runs_dir))}"

    @property
    def config(self) -> Path:
        """The comparison with every default filled in."""
        return self.path / "comparison.yaml"

    @property
    def record(self) -> Path:
        """What run.json holds of a single run, for all trials."""
        return self.path / "run.json"

    @property
    def trials(self) -> Path:
        """A row per trial: what was varied, its seed, what became of it."""
        return self.path / "trials.csv"

    @property
    def curves(self) -> Path:
        """The curves of all trials, [trials, points] per metric, with their axes."""
        return self.path / "curves.safetensors"

    @property
    def summary(self) -> Path:
        """Ranking, intervals, verdicts."""
        return self.path / "summary.json"

    @property
    def pieces(self) -> Path:
        """Finished pieces of work, until the whole is written."""
        return self.path / "pieces"

    @property
    def plots(self) -> Path:
        """The pictures."""
        return self.path / "plots"

    # --- making -------------------------------------------------------------------------------

    @classmethod
    @contextlib.contextmanager
    def creating(cls, runs_dir: Path, name: str, trials: int) -> "Iterator[ComparisonDirectory]":
        """Make a directory for the block to fill, and leave nothing behind if the block fails.

        Raises UsageError where the disk refuses.
        """
        with folders.creating(runs_dir, name, f"c{trials}") as path:
            yield cls(path)

    def add_file(self, file: Path) -> str:
        """Copy one of the user's own files into files/; returns its path from here."""
        return RunDirectory(self.path).add_file(file)

    def write_config(self, text: str) -> None:
        """Write comparison.yaml."""
        storage.replace(self.config, text.encode())

    def config_fingerprint(self) -> str:
        """Return what tells whether comparison.yaml was edited."""
        return hashlib.sha256(self.config.read_bytes()).hexdigest()

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace run.json."""
        storage.replace(self.record, json_text(record).encode())

    def read_record(self) -> dict[str, Any]:
        """Return run.json. Raises RunError where it is missing or damaged."""
        return RunDirectory(self.path).read_record()

    # --- pieces -------------------------------------------------------------------------------

    def piece(self, name: str) -> Path:
        """Return where a piece of work lies once it is finished."""
        return self.pieces / f"{name}.safetensors"

    def write_piece(self, name: str, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Write a finished piece: it is there whole, or not at all."""
        with storage.storing(self.pieces):
            self.pieces.mkdir(exist_ok=True)
        metadata = {"lossbench": json.dumps(facts, sort_keys=True)}
        kept = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        storage.replace(self.piece(name), safetensors_numpy.save(kept, metadata=metadata))

    def read_piece(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the arrays and facts of a finished piece; none where it is not there yet."""
        return read_arrays(self.piece(name)) if self.piece(name).exists() else None

    def remove_pieces(self) -> None:
        """Remove the pieces: the whole has been written."""
        shutil.rmtree(self.pieces, ignore_errors=True)

    # --- the whole ----------------------------------------------------------------------------

    def write_trials(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write trials.csv, a row per trial."""
        storage.replace(self.trials, csv_of_columns(columns).encode())

    def read_trial_columns(self) -> dict[str, tuple[str, ...]]:
        """Return the columns of trials.csv as text. Raises RunError where it is missing."""
        with self._reading(self.trials):
            return columns_of_csv(self.trials.read_bytes().decode())

    def read_trials(self) -> list[dict[str, str]]:
        """Return the rows of trials.csv as text. Raises RunError where it is missing."""
        columns = self.read_trial_columns()
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def write_curves(self, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Write curves.safetensors."""
        kept = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        metadata = {"lossbench": json.dumps(facts, sort_keys=True)}
        storage.replace(self.curves, safetensors_numpy.save(kept, metadata=metadata))

    def read_curves(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return all curves and axes by name, and what is said of them."""
        with self._reading(self.curves):
            return read_arrays(self.curves)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        storage.replace(self.summary, json_text(summary).encode())

    def read_summary(self) -> dict[str, Any]:
        """Return summary.json. Raises RunError where it is missing."""
        with self._reading(self.summary):
            found: dict[str, Any] = json.loads(self.summary.read_text())
            return found

    @contextlib.contextmanager
    def _reading(self, file: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise RunError(
                f"comparison {self.id} has no {file.name}: it did not come to its end, "
                "or the file was removed",
                hint=f"to go on: lossbench compare --resume {self.argument}",
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{file} cannot be read: {error}") from error


def read_arrays(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of a safetensors file by name, and the facts in its metadata.

    Raises RunError where it is damaged.
    """
    safetensors: Any = LazyModule("safetensors")
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            facts = json.loads((opened.metadata() or {}).get("lossbench", "{}"))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    return arrays, facts


def all_comparisons(runs_dir: Path) -> list[ComparisonDirectory]:
    """Return every comparison under a runs directory, the oldest first."""
    paths = [p for p in runs_dir.glob("*/*") if ID.fullmatch(p.name) and p.is_dir()]
    return [ComparisonDirectory(path) for path in sorted(paths, key=lambda path: path.name)]


def is_comparison_directory(path: Path) -> bool:
    """Tell whether a path is the directory of a comparison."""
    return path.is_dir() and (path / "comparison.yaml").exists()


def find_comparison(runs_dir: Path, reference: str | Path) -> ComparisonDirectory:
    """Return the comparison that a user means: a path, an id, its beginning or end, or `latest`.

    Raises RunError naming the nearest, or all that it could be.
    """
    if is_comparison_directory(Path(reference)):
        return ComparisonDirectory(Path(reference).resolve())
    wanted = str(reference)
    found = all_comparisons(runs_dir)
    if not found:
        raise RunError(
            f"there is no comparison '{wanted}': {runs_dir} holds none",
            hint="lossbench compare CONFIG makes one; --runs-dir says where they lie",
        )
    if wanted == "latest":
        return found[-1]
    matching = [c for c in found if c.id.startswith(wanted) or c.id.endswith(f"-{wanted}")]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(c.id for c in matching[-10:])
        raise RunError(f"'{wanted}' could be any of {len(matching)} comparisons", hint=names)
    named = [c for c in found if c.path.parent.name == Path(wanted).name]
    near = [named[-1].id] if named else nearest(wanted, ["latest", *(c.id for c in found)])
    hint = f"did you mean {' or '.join(near)}?" if near else "lossbench runs lists them"
    raise RunError(f"there is no comparison '{wanted}' in {runs_dir}", hint=hint)
