"""From a config to a run directory, and on from there: train, continue, try, predict.

This is the only place where configs, training and run directories meet. Torch is imported when the
first job is built, not before.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.components.datasets._inputs import read_inputs
from lossbench.config.read import Loaded, load
from lossbench.config.spec import RunSpec
from lossbench.config.write import dump
from lossbench.config.yaml import parse
from lossbench.errors import RunError
from lossbench.lazy import LazyModule, np
from lossbench.rundir import environment
from lossbench.rundir.differences import describe, differences
from lossbench.rundir.directory import RUNS, RunDirectory
from lossbench.rundir.finding import find
from lossbench.rundir.recorder import Recorder
from lossbench.rundir.runs import export
from lossbench.rundir.storage import storing
from lossbench.session import continuation
from lossbench.session.running import RunResult, Session, now

if TYPE_CHECKING:
    from lossbench.training import build, device, estimate, plan
    from lossbench.training import predict as prediction
    from lossbench.training.job import Job
else:
    build = LazyModule("lossbench.training.build")
    device = LazyModule("lossbench.training.device")
    estimate = LazyModule("lossbench.training.estimate")
    plan = LazyModule("lossbench.training.plan")
    prediction = LazyModule("lossbench.training.predict")

__all__ = [
    "RunResult",
    "Session",
    "dry_run",
    "export",
    "predict",
    "resume",
    "start",
    "train",
]

RECORD_FORMAT = 1


# --- starting ---------------------------------------------------------------------------------


def start(loaded: Loaded, *, runs_dir: Path = RUNS, command: Sequence[str] = ()) -> Session:
    """Build the job, and only then make the run's directory; nothing is trained yet.

    Raises UsageError where the directory cannot be made (nothing is left behind), and what
    building raises.
    """
    spec = loaded.spec
    job = build.build([spec])
    with RunDirectory.creating(runs_dir, spec.name, spec.train.seed) as directory:
        copies = {file: directory.add_file(file) for file in loaded.files}
        directory.write_config(loaded.text)
        directory.write_resolved(_resolved(spec, directory, copies))
        record = _record(directory, job, command) | {
            "given": loaded.text,
            "files": {name: str(file) for file, name in copies.items()},
        }
        directory.write_record(record)
        recorder = Recorder(directory)
    return Session(directory, spec, job, recorder, record, notes=_notes(job))


def train(
    config: str | Path | Mapping[str, Any], *overrides: str, runs_dir: str | Path = RUNS
) -> RunResult:
    """Train one run from a YAML file or a mapping, and return what came of it.

        lossbench.train("config.yaml", "optimizer.lr=0.1").summary["test"]

    A run that diverges is a result too: see `RunResult.status`.
    """
    given = {"mapping": config} if isinstance(config, Mapping) else {"path": config}
    loaded = load(overrides=overrides, **given)
    return start(loaded, runs_dir=Path(runs_dir), command=["lossbench.train"]).result()


def _record(directory: RunDirectory, job: "Job", command: Sequence[str]) -> dict[str, Any]:
    """Return run.json as it is before the first step."""
    text = directory.resolved.read_text()
    config = parse(text, file=directory.resolved).plain()
    facts, planned = job.record(), job.plan.record()
    return {
        "format": RECORD_FORMAT,
        "id": directory.id,
        "name": config["name"],
        "status": "running",
        "reason": None,
        "command": list(command),
        "started": now(),
        "ended": None,
        "seconds": None,
        "pid": os.getpid(),
        "seeds": {
            "train": config["train"]["seed"],
            "dataset": config["dataset"].get("seed"),
        },
        "data": facts.get("fingerprint"),
        "device": planned["device"],
        "threads": planned["threads"],
        "plan": planned,
        "job": facts,
        "versions": environment.versions(),
        "machine": environment.machine(),
        "git": environment.commit(Path.cwd()),
        "config": config,
        "resolved": text,
        "hashes": continuation.fingerprints(directory),
        "resumed": [],
    }


def _resolved(spec: RunSpec, directory: RunDirectory, files: Mapping[Path, str]) -> str:
    """Return config.resolved.yaml, with the user's own files taken from the run's directory."""
    header = f"run {directory.id} with every default filled in; to repeat it: lossbench train FILE"
    return dump(spec, files=files, header=header)


def _notes(job: "Job") -> list[str]:
    """Return what was found out about the data and the step that a person should know."""
    facts = job.record()
    return [*facts.get("notes", ()), *([facts["note"]] if facts.get("note") else [])]


# --- going on ---------------------------------------------------------------------------------


def resume(
    reference: str,
    overrides: Sequence[str] = (),
    *,
    runs_dir: Path = RUNS,
    command: Sequence[str] = (),
) -> Session:
    """Go on with a run in its own directory, from its last checkpoint, to the very same numbers.

    Raises RunError where that cannot be, saying why: the run is still running, done, diverged or
    edited, its checkpoint damaged, its data others, or an override would change its past.
    """
    directory = find(runs_dir, reference)
    record = directory.read_record()
    continuation.refuse_running(directory, record)
    continuation.refuse_edited(directory, record)
    loaded = load(directory.resolved, overrides)
    spec = loaded.spec
    continuation.refuse_other_modules(directory, record, loaded.files)
    copies = {(directory.path / name).absolute(): name for name in record.get("files", {})}
    text = _resolved(spec, directory, copies)
    changes = differences(record["config"], parse(text, file=directory.resolved).plain())
    continuation.refuse_changes(changes)
    continuation.refuse_finished(directory, record, spec)
    checkpoint = directory.read_checkpoint()
    if checkpoint is not None:
        continuation.refuse_foreign(directory, record, checkpoint)
    continuation.refuse_epochs(spec, record["config"]["train"]["epochs"], checkpoint)
    job = build.build([spec], _plan(record, changes, checkpoint))
    continuation.refuse_other_data(record, job.record().get("fingerprint"))
    recorder = _reopened(directory, checkpoint)
    try:
        _begin_again(directory, record, job, checkpoint, changes, text, command)
    except BaseException:
        recorder.close()
        raise
    step = 0 if checkpoint is None else checkpoint["step"]
    notes = [f"going on from step {step}", *([describe(changes)] if changes else []), *_notes(job)]
    state = None if checkpoint is None else checkpoint["state"]
    return Session(directory, spec, job, recorder, record, state=state, notes=notes)


def _plan(
    record: Mapping[str, Any],
    changes: Mapping[str, Any],
    checkpoint: Mapping[str, Any] | None,
) -> Any:
    """Return the plan that the run began with, so that the last bits agree; none for a new one.

    Raises UsageError where its device is not there.
    """
    if checkpoint is None or {"train.device", "train.threads"} & set(changes):
        return None
    planned = plan.Plan.from_record(record["plan"])
    device.choose_device(planned.device, 0)
    return planned


def _reopened(directory: RunDirectory, checkpoint: Mapping[str, Any] | None) -> Recorder:
    """Claim the run, and cut its files to what the checkpoint stands for."""
    kept = checkpoint or {"metrics_bytes": 0, "timing_bytes": 0, "seconds": 0.0}
    try:
        return Recorder(
            directory,
            metrics_bytes=kept["metrics_bytes"],
            timing_bytes=kept["timing_bytes"],
            seconds=kept["seconds"],
        )
    except BlockingIOError:  # another process was faster
        raise RunError(f"run {directory.id} is being resumed by another process") from None


def _begin_again(
    directory: RunDirectory,
    record: dict[str, Any],
    job: "Job",
    checkpoint: Mapping[str, Any] | None,
    changes: Mapping[str, tuple[Any, Any]],
    text: str,
    command: Sequence[str],
) -> None:
    """Write down that the run goes on, and with which changes."""
    directory.remove_temporary()
    # What is written at the end would speak of another end from now on.
    for file in (directory.summary, directory.metrics_csv):
        with storing(file):
            file.unlink(missing_ok=True)
    if changes:
        directory.write_resolved(text)
        record |= {
            "config": parse(text, file=directory.resolved).plain(),
            "resolved": text,
            "hashes": continuation.fingerprints(directory),
        }
    again = {
        "at": now(),
        "from_step": 0 if checkpoint is None else checkpoint["step"],
        "command": list(command),
        "changes": {key: list(pair) for key, pair in changes.items()},
    }
    planned = job.plan.record()
    record |= {
        "status": "running",
        "reason": None,
        "stopped": None,
        "ended": None,
        "pid": os.getpid(),
        "plan": planned,
        "device": planned["device"],
        "threads": planned["threads"],
        "job": job.record(),
        "versions": environment.versions(),
        "resumed": [*record.get("resumed", []), again],
    }
    directory.write_record(record)


# --- trying and predicting --------------------------------------------------------------------


def dry_run(loaded: Loaded) -> dict[str, Any]:
    """Build the job, make a few steps, and say what the run would be; nothing is written.

    Shapes, parameters, samples, the plan with its reasons, seconds and bytes.
    """
    job = build.build([loaded.spec])
    facts = {key: value for key, value in job.record().items() if key != "scaling"}
    return {
        "name": loaded.spec.name,
        **facts,
        "plan": job.plan.record(),
        "estimate": estimate.estimate(job),
    }


def predict(reference: str, file: Path, *, runs_dir: Path = RUNS) -> list[dict[str, Any]]:
    """Return what a trained run says about the samples in a CSV or npz file, a row for each.

    Columns are found by the names that the training data had; `prediction`, or `class`, `label`
    and `probability_NAME`. Raises RunError where the run has no weights yet, DataError naming the
    place in the file.
    """
    directory = find(runs_dir, reference)
    record = directory.read_record()
    weights, _ = directory.read_model()
    facts = record["job"]
    if facts["target"]["kind"] == "objective":
        raise RunError(
            f"run {directory.id} looked for the minimum of a function: there is nothing to predict",
            hint=f"its result is the point itself, which are the weights in {directory.path}",
        )
    inputs = read_inputs(Path(file), facts["input_names"], tuple(facts["inputs"]))
    spec = load(directory.resolved).spec
    columns = _columns(prediction.predict(spec, facts, weights, inputs), facts["target"]["names"])
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _columns(predicted: Mapping[str, Any], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return predictions as columns; one of several values becomes one for each, by its name."""
    columns: dict[str, list[Any]] = {}
    for name, values in predicted.items():
        if values.ndim == 1 or values.shape[1] == 1:
            columns[name] = _shortest(values.reshape(-1))
            continue
        parts = names if len(names) == values.shape[1] else range(values.shape[1])
        for index, part in enumerate(parts):
            columns[f"{name}_{part}"] = _shortest(values[:, index])
    return columns


def _shortest(values: Any) -> list[Any]:
    """Return an array as a list; single precision with the few digits that it has."""
    if values.dtype != np.float32:
        return list(values.tolist())
    return [float(str(value)) for value in values]
