"""The command that holds lossbench to what it says."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.cli.app import CATALOGUE, app, command
from lossbench.cli.output import Output
from lossbench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from lossbench.checks.contracts import Finding
    from lossbench.registry import Entry

PROBLEMS = "problems"

HELP = "Names, kinds (losses), FILE.py or FILE.py:NAME, problems; without: the whole catalogue."


@command(app, "check", panel=CATALOGUE)
def check(
    output: Output,
    what: Annotated[list[str] | None, typer.Argument(help=HELP)] = None,
    cases: Annotated[
        Path | None, typer.Option(help="Hold components against the expected numbers of a file.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="What the functions of FILE.py are, or which kind is meant.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --cases: what is skipped counts as failed.")
    ] = False,
) -> int:
    """Hold components to what they promise, or to your numbers.

    The exit code is 1 where a check fails.
    """
    if cases is not None:
        if what:
            raise UsageError("--cases names its components itself", hint=f"leave out {what[0]}")
        return _check_cases(output, cases, strict=strict)
    if strict:
        raise UsageError("--strict goes with --cases")
    subjects = what or []
    if subjects == [PROBLEMS]:
        return _check_problems(output)
    if PROBLEMS in subjects:
        raise UsageError("problems are checked by themselves", hint="lossbench check problems")
    files = [subject for subject in subjects if _is_file(subject)]
    if files:
        return _check_files(output, files, [s for s in subjects if s not in files], kind)
    return _check_entries(output, _chosen(subjects, kind))


def _is_file(subject: str) -> bool:
    return subject.partition(":")[0].endswith(".py")


# --- the catalogue ----------------------------------------------------------------------------


def _chosen(subjects: list[str], kind: str | None) -> "list[Entry[Any]]":
    """Return the components that are meant: by name, by kind, or all that have contracts."""
    from lossbench.checks.all import CONTRACTS
    from lossbench.cli.catalogue import find_components
    from lossbench.registry import KINDS, registry_of

    kinds = list(CONTRACTS) if kind is None else [registry_of(kind).kind]
    for one in kinds:
        if one not in CONTRACTS:
            raise UsageError(f"there are no contracts for a {one}", hint=_valid(CONTRACTS))
    if not subjects:
        return [entry for one in kinds for entry in KINDS[one].values()]
    found: dict[tuple[str, str], Entry[Any]] = {}
    for subject in subjects:
        for entry in _named(subject, kind, find_components):
            if entry.kind not in CONTRACTS:
                raise UsageError(
                    f"there are no contracts for a {entry.kind} ({entry.name})",
                    hint=_valid(CONTRACTS),
                )
            found[entry.kind, entry.name] = entry
    return list(found.values())


def _valid(kinds: Iterable[str]) -> str:
    return f"what can be checked: {', '.join(sorted(kinds))}, problems"


def _named(subject: str, kind: str | None, find: Any) -> "list[Entry[Any]]":
    from lossbench.registry import KINDS, registry_of

    try:
        return list(registry_of(subject).values())
    except UnknownNameError:
        pass
    try:
        entries: list[Entry[Any]] = find(subject, kind)
    except UnknownNameError as error:
        plurals = [registry.package.rpartition(".")[2] for registry in KINDS.values()]
        raise UnknownNameError(
            "component or kind", subject, [*error.valid, *plurals, PROBLEMS]
        ) from None
    from lossbench.checks.all import CONTRACTS

    # A name that several kinds share: those that have contracts are meant.
    return [entry for entry in entries if entry.kind in CONTRACTS] or entries


def _check_entries(output: Output, entries: "list[Entry[Any]]") -> int:
    from lossbench.checks.all import check_entry

    return _report(output, "catalogue", ((entry.name, check_entry(entry)) for entry in entries))


# --- a user's own -----------------------------------------------------------------------------


def _check_files(output: Output, files: list[str], others: list[str], kind: str | None) -> int:
    from lossbench.checks.all import CONTRACTS
    from lossbench.checks.own import check_own, own_components

    if others:
        raise UsageError(f"{others[0]} is no file: check files and the catalogue one at a time")
    if kind is not None and kind not in CONTRACTS:
        raise UnknownNameError("kind that can be checked", kind, CONTRACTS)
    owns = []
    for file in files:
        path, _, name = file.partition(":")
        owns += own_components(Path(path).expanduser().absolute(), name or None, kind)
    return _report(output, "own", ((own.entry.name, list(check_own(own))) for own in owns))


# --- what is said -----------------------------------------------------------------------------


def _report(output: Output, subject: str, made: "Iterable[tuple[str, list[Finding]]]") -> int:
    """Print a line for each component as it comes, then the table by kind."""
    from lossbench.views.checks import counts, show_counts, show_findings
    from lossbench.views.console import open_console

    findings: list[dict[str, Any]] = []
    console = None if output.json else open_console()
    for _, found in made:
        records = [finding.record() for finding in found]
        findings += records
        if console is not None:
            show_findings(console, records, verbose=output.verbose)
    table = counts(findings)
    failed = sum(row["failed"] for row in table.values())
    document = {"subject": subject, "passed": not failed, "kinds": table, "checks": findings}
    output.result(document, lambda console: show_counts(console, table))
    if failed:
        output.warn(f"{failed} of {len(findings)} checks failed")
    else:
        components = sum(row["components"] for row in table.values())
        kept = "1 component keeps its" if components == 1 else f"{components} components keep their"
        output.note(f"{kept} promises ({len(findings)} checks)")
    return 1 if failed else 0


def _check_problems(output: Output) -> int:
    from lossbench.checks.problems import check_problems
    from lossbench.views.checks import show_checks

    checks = check_problems()
    for made in checks:
        output.detail(f"{made.name}: {made.claim}")
    failed = sum(not made.passed for made in checks)
    records = [made.record() for made in checks]
    document = {"subject": PROBLEMS, "passed": not failed, "checks": records}
    output.result(document, lambda console: show_checks(console, records))
    if failed:
        output.warn(f"{failed} of {len(checks)} checks failed")
    else:
        output.note(f"{len(checks)} checks passed")
    return 1 if failed else 0


def _check_cases(output: Output, file: Path, *, strict: bool) -> int:
    from lossbench.evaluate.cases import counts, read_cases, run_case
    from lossbench.views.checks import show_cases

    outcomes = [run_case(number, record) for number, record in enumerate(read_cases(file), 1)]
    by_kind = counts(outcomes)
    total = {
        word: sum(row[word] for row in by_kind.values()) for word in ("passed", "failed", "skipped")
    }
    records = [outcome.record() for outcome in outcomes]
    document = {"subject": "cases", "file": str(file), **total, "kinds": by_kind, "cases": records}
    output.result(
        document, lambda console: show_cases(console, records, by_kind, verbose=output.verbose)
    )
    said = f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped"
    wrong = total["failed"] or (strict and total["skipped"]) or not total["passed"]
    (output.warn if wrong else output.note)(said)
    return 1 if wrong else 0
