"""Runs in words: the table of all, one in full, the difference of two, and how one ended."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from lossbench.views.console import (
    Column,
    duration,
    facts,
    flatten,
    heading,
    number,
    plain,
    prose,
    say,
    size,
    table,
    typed,
)

_LISTED = 12  # values of a list that are shown in full

STATUS_STYLES: Mapping[str, str] = {"done": "green", "running": "cyan"}


def show_overview(console: Console, runs: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each run."""
    columns = (
        Column("run", style="cyan"), Column("name"), Column("status"), Column("started"),
        Column("time", "right"), Column("epochs", "right"), Column("results"),
    )  # fmt: skip
    table(console, columns, [_overview_row(run) for run in runs])


def _overview_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = run.get("seconds")
    results = run.get("metrics") or {}
    chosen = _most_telling(results)
    return (
        str(run["id"]),
        str(run.get("name") or ""),
        str(run.get("status") or ""),
        moment(run.get("started")),
        duration(seconds) if seconds is not None else "",
        _epochs(run),
        run.get("reason") or ", ".join(f"{name} {number(chosen[name])}" for name in chosen),
    )


def _epochs(run: Mapping[str, Any]) -> str:
    """Say how many epochs were made, and of how many where the run ended before them."""
    planned, made = run.get("epochs"), run.get("epochs_made")
    if made is None or made == planned:
        return str(planned or "")
    return f"{made} of {planned}"


def _most_telling(results: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the results on data that training did not see: test, else validation, else all."""
    for split in ("test/", "validation/"):
        chosen = {name: value for name, value in results.items() if name.startswith(split)}
        if chosen:
            return chosen
    return dict(results)


def show_record(console: Console, record: Mapping[str, Any], *, everything: bool) -> None:
    """Print what is known of a run; the whole record where asked for."""
    heading(console, f"{record.get('name', '')}  {record.get('id', '')}".strip())
    told = {key: record[key] for key in _FIRST if record.get(key) not in (None, "", [])}
    if "command" in told:
        told["command"] = " ".join(told["command"])
    if "seconds" in told:
        told["time"] = duration(told.pop("seconds"))
    told["size"] = size(record.get("bytes", 0))
    facts(console, flatten(told))
    _show_results(console, record.get("summary") or {})
    if everything:
        rest = {k: v for k, v in record.items() if k not in (*_FIRST, "summary", "bytes", "config")}
        say(console, "")
        heading(console, "Record")
        facts(console, flatten(rest))
    say(console, "")
    heading(console, "Config")
    facts(console, flatten(record.get("config") or {}, say=typed))


_FIRST = ("path", "status", "reason", "started", "seconds", "step", "epoch", "command", "device")


def show_dry_run(console: Console, record: Mapping[str, Any]) -> None:
    """Print what a run would be: shapes, sizes, the plan, how long and how large."""
    units = {"seconds": duration, "seconds_per_step": duration, "bytes": size}
    for name, value in record.get("estimate", {}).items():
        record = {**record, "estimate": {**record["estimate"], name: units.get(name, plain)(value)}}
    told = {name: value for name, value in record.items() if value not in (None, [])}
    facts(console, flatten(told, say=_in_short))


def _in_short(value: object) -> str:
    """Return a value in words; of a long list (the pixels of an image) its beginning and size."""
    if isinstance(value, list | tuple) and len(value) > _LISTED:
        return f"{plain(value[: _LISTED - 2])}, ... {plain(value[-1])} ({len(value)})"
    return plain(value)


def show_comparison(console: Console, record: Mapping[str, Any]) -> None:
    """Print what differs between two runs."""
    left, right = record["left"], record["right"]
    versions = {f"version of {name}": pair for name, pair in record["versions"].items()}
    changed = {**record["config"], **versions}
    if changed:
        columns = (Column("config", style="cyan"), Column(left), Column(right))
        table(console, columns, [(key, typed(a), typed(b)) for key, (a, b) in changed.items()])
    else:
        say(console, "The configs are the same.")
    rows = [
        (name, number(pair["left"]), number(pair["right"]), _difference(pair))
        for name, pair in record["metrics"].items()
    ]
    if rows:
        say(console, "")
        titles = (left, right, "difference")
        results = (Column("result", style="cyan"), *(Column(title, "right") for title in titles))
        table(console, results, rows)


def _difference(pair: Mapping[str, float | None]) -> str:
    if pair["difference"] is not None:
        return f"{pair['difference']:+.4g}"
    return "" if None in (pair["left"], pair["right"]) else "other loss"


def show_ending(console: Console, document: Mapping[str, Any]) -> None:
    """Print how a run ended: its results, what went wrong if anything did, and where it lies."""
    summary = document["metrics"]
    diverged = summary.get("diverged")
    if diverged:
        _show_divergence(console, str(document["name"]), diverged)
    stopped = summary.get("early_stopping")
    if stopped:
        prose(console, f"stopped early at epoch {stopped['epoch']}: {stopped['detail']}")
    _show_results(console, summary, blank=bool(diverged))
    say(console, "")
    facts(console, {"time": duration(document["seconds"]), "run": document["run"]})


def _show_divergence(console: Console, name: str, diverged: Mapping[str, Any]) -> None:
    """Print where a run went wrong, what its loss was before, and what probably did it."""
    say(
        console,
        f"{name} diverged at step {diverged['step']} (epoch {diverged['epoch']})",
        "bold red",
    )
    prose(console, diverged["detail"])
    finite = diverged.get("last_finite") or ()
    if finite:
        last = ", ".join(f"{number(point['loss'])} (step {point['step']})" for point in finite)
        prose(console, f"last finite losses: {last}")
    say(console, "likely causes:")
    for cause in diverged.get("causes") or ():
        prose(console, f"- {cause}")


def _show_results(console: Console, summary: Mapping[str, Any], *, blank: bool = True) -> None:
    """Print a row for each quantity, a column for each kind of data it was measured on."""
    final, best = summary.get("final") or {}, summary.get("best") or {}
    reached = {**final, **{f"test/{name}": v for name, v in (summary.get("test") or {}).items()}}
    names = list(dict.fromkeys(name.partition("/")[2] for name in reached))
    if not names:
        return
    cells: dict[str, list[str]] = {
        "training": [_cell(reached, f"train/{name}") for name in names],
        "validation": [_cell(reached, f"validation/{name}") for name in names],
        "best validation": [_best(best.get(f"validation/{name}")) for name in names],
        "test": [_cell(reached, f"test/{name}") for name in names],
    }
    shown = {title: column for title, column in cells.items() if any(column)}
    if blank:
        say(console, "")
    rows = zip(map(_words, names), *shown.values(), strict=True)
    columns = (Column("result", style="cyan"), *(Column(title, "right") for title in shown))
    table(console, columns, rows)


def _cell(values: Mapping[str, Any], name: str) -> str:
    return number(values[name]) if name in values else ""


def _best(found: Mapping[str, Any] | None) -> str:
    return "" if not found else f"{number(found['value'])} (epoch {found['epoch']})"


def _words(name: str) -> str:
    return name.replace("_", " ")


def moment(text: object) -> str:
    """Return a recorded time to the minute."""
    return str(text)[:16].replace("T", " ") if text else ""
