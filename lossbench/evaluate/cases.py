"""Expected numbers of the user's own, or of a paper or another library, held against lossbench.

A file holds a JSON list of records, or one record a line (JSON lines):

    {"id": "huber-1", "kind": "loss", "component": "huber", "params": {"delta": 0.5},
     "inputs": {"input": [0.2, 3.0]}, "target": [0.0, 0.0], "reduction": "none",
     "expected": [0.02, 1.375], "tolerance": {"atol": 1e-6, "rtol": 1e-6}}

Everything is computed in float64, and the shape must be that of the expected numbers. A record
that cannot be computed as it is written fails, with the reason; one for a component that
lossbench does not have, or that only Python can call, is skipped.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lossbench.errors import LossbenchError, UnknownNameError, UsageError, listed
from lossbench.evaluate import functions, losses, steps
from lossbench.evaluate.arguments import FIRST, find_knob, floats, number_tensor
from lossbench.evaluate.domain import require_domain, require_shapes
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, registry_of

Verdict = Literal["passed", "failed", "skipped"]

KEYS = (
    "id", "component", "kind", "params", "inputs", "target", "reduction", "expected", "tolerance",
)  # fmt: skip
"""What a record may hold; `component`, `kind` and `expected` it must."""

KINDS = ("activation", "loss", "distance", "layer", "optimizer", "schedule")
SPELLED = {"scheduler": "schedule", **{f"{kind}s": kind for kind in KINDS}, "losses": "loss"}

TOLERANCE = {"atol": 1e-6, "rtol": 1e-6}
"""The tolerance of a record that gives none."""


class SkippedCaseError(Exception):
    """The record is for something that lossbench does not have: the message says what."""


@dataclass(frozen=True)
class Outcome:
    """How one record came out; `got` and `expected` where it failed on numbers."""

    id: str
    kind: str
    component: str
    verdict: Verdict
    words: str = ""
    got: Any = None
    expected: Any = None

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


# --- reading ----------------------------------------------------------------------------------


def read_cases(file: Path) -> list[dict[str, Any]]:
    """Read the records of a file: a JSON list, or JSON lines.

    Raises UsageError naming the file and the line for what is no such file.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no text in UTF-8") from None
    if not text.strip():
        raise UsageError(f"{file} is empty", hint="it holds a JSON list of records, or one a line")
    records = _parse(file, text)
    for number, record in enumerate(records, start=1):
        _require_record(file, number, record)
    if not records:
        raise UsageError(f"{file} holds no records")
    return records


def _parse(file: Path, text: str) -> list[Any]:
    try:
        whole = json.loads(text)
    except RecursionError:
        raise UsageError(f"{file}: lists within lists, too deep to be numbers") from None
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith("{"):
            raise UsageError(f"{file}:{error.lineno}:{error.colno}: {error.msg}") from None
        return _parse_lines(file, text)
    if isinstance(whole, list):
        return whole
    if isinstance(whole, dict) and isinstance(whole.get("cases"), list):
        return list(whole["cases"])
    return [whole]


def _parse_lines(file: Path, text: str) -> list[Any]:
    records = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            column = getattr(error, "colno", 1)
            message = getattr(error, "msg", "lists within lists, too deep to be numbers")
            raise UsageError(f"{file}:{number}:{column}: {message}") from None
    return records


def _require_record(file: Path, number: int, record: Any) -> None:
    """Make sure that a record has what it must have, each of its kind."""
    where = f"{file}: record {number}"
    if not isinstance(record, dict):
        raise UsageError(f"{where} is no object with keys", hint=f"its keys: {', '.join(KEYS)}")
    if isinstance(record.get("id"), str):
        where = f"{where} ({record['id']})"
    for key in ("component", "kind", "expected"):
        if key not in record:
            raise UsageError(f"{where} has no '{key}'", hint=f"its keys: {', '.join(KEYS)}")
    for key in ("component", "kind"):
        if not isinstance(record[key], str):
            raise UsageError(f"{where}: {key} must be text")
    for key in ("params", "inputs", "tolerance"):
        if not isinstance(record.get(key) or {}, dict):
            raise UsageError(f"{where}: {key} must be an object with keys")
    kind = SPELLED.get(record["kind"], record["kind"])
    if kind not in KINDS:
        problem = UnknownNameError("kind", record["kind"], KINDS)
        raise UsageError(f"{where}: {problem.message}", hint=problem.hint)


# --- computing --------------------------------------------------------------------------------


def run_case(number: int, record: Mapping[str, Any]) -> Outcome:
    """Compute one record and hold it against what it expects."""
    kind = SPELLED.get(record["kind"], record["kind"])
    found = (str(record.get("id") or f"record {number}"), kind, record["component"])
    try:
        got = compute(kind, record)
        expected = _expected(record["expected"])
        problem = difference(got, expected, record.get("tolerance") or {})
    except SkippedCaseError as skipped:
        return Outcome(*found, "skipped", str(skipped))
    except LossbenchError as error:
        return Outcome(*found, "failed", ": ".join(filter(None, (error.message, error.hint))))
    except Exception as error:
        # Numbers of a stranger meet any formula: what torch says of them is the finding.
        first = str(error).strip().partition("\n")[0]
        words = f"cannot be computed as it is written ({type(error).__name__}: {first})"
        return Outcome(*found, "failed", words)
    if problem is None:
        return Outcome(*found, "passed")
    return Outcome(*found, "failed", problem, plain(got), record["expected"])


def compute(kind: str, record: Mapping[str, Any]) -> Tensor:
    """Return what lossbench gives for a record.

    Raises SkippedCaseError for what it does not have, UsageError for what does not fit.
    """
    entry = find(kind, record["component"])
    params, inputs = dict(record.get("params") or {}), dict(record.get("inputs") or {})
    return _COMPUTE[entry.kind](entry, params, inputs, record).detach()


def find(kind: str, name: str) -> Entry[Any]:
    """Return the component of a name, with or without the ending of its kind.

    Raises SkippedCaseError naming the nearest one where there is none.
    """
    try:
        entry = registry_of(kind).find(name.removeprefix("get_"))
    except UnknownNameError as error:
        raise SkippedCaseError(f"{error.message}: {error.hint}") from None
    except UsageError as error:
        # An activation that holds layers of its own is found among the layers.
        if kind != "activation" or name not in registry_of("layer"):
            raise SkippedCaseError(error.message) from None
        entry = registry_of("layer")[name]
    python_only = getattr(entry.facts, "python_only", None)
    if python_only:
        raise SkippedCaseError(f"{entry.name} can be called from Python only: {python_only}")
    return entry


def _x(inputs: Mapping[str, Any], label: str) -> Tensor:
    for name in (*FIRST, *inputs):
        if name in inputs:
            return floats(number_tensor(inputs[name], name))
    raise UsageError(f"{label} takes x, and no inputs are given")


def _activation(
    entry: Entry[Any], params: dict[str, Any], inputs: dict[str, Any], _: Mapping[str, Any]
) -> Tensor:
    if entry.facts.random and not entry.facts.parameters and params.pop("training", False):
        raise SkippedCaseError(f"{entry.name} draws random numbers in training")
    x = _x(inputs, entry.name)
    weights = {name: value for name, value in inputs.items() if name not in FIRST}
    if len(inputs) == 1:
        weights = {}  # whatever it is called, it is x
    unknown = [name for name in weights if functions.find_learned(entry, name) is None]
    if unknown:
        raise UsageError(f"{entry.name} takes x, and no {listed(unknown)}")
    return functions.activation_call(entry, {**params, **weights})(x)


def _layer(
    entry: Entry[Any], params: dict[str, Any], inputs: dict[str, Any], _: Mapping[str, Any]
) -> Tensor:
    if entry.facts.noisy and params.get("training") and params.get("p") not in (0, 1):
        raise SkippedCaseError(f"{entry.name} draws random numbers in training")
    x = _x(inputs, entry.name)
    rest = {name: value for name, value in inputs.items() if name not in FIRST}
    if entry.name == "multihead_attention":
        return functions.attend(entry, params, rest, x)
    if entry.facts.noisy and x.dim() == 1:
        return functions.layer_call(entry, params, rest, x[None])(x[None])[0]
    return functions.layer_call(entry, params, rest, x)(x)


def _distance(
    entry: Entry[Any], params: dict[str, Any], inputs: dict[str, Any], record: Mapping[str, Any]
) -> Tensor:
    if entry.facts.slot == "boxes" and _is_matrix(record["expected"]):
        params.setdefault("pairwise", True)  # as in torchvision, where there is no other form
    call, tensors = functions.distance_call(entry, params, inputs)
    sizes = {tensor.shape[-1] for tensor in tensors if tensor.dim()}
    if len(sizes) > 1 and not entry.facts.sets:
        raise UsageError(
            f"{entry.name} compares points of one length, got "
            f"{listed(str(list(tensor.shape)) for tensor in tensors)}"
        )
    return call(*tensors)


def _is_matrix(expected: Any) -> bool:
    return isinstance(expected, list) and bool(expected) and isinstance(expected[0], list)


def _loss(
    entry: Entry[Any], params: dict[str, Any], inputs: dict[str, Any], record: Mapping[str, Any]
) -> Tensor:
    asked = params.pop("reduction", None) if find_knob(entry, "reduction") is None else None
    reduction = record.get("reduction") or asked or "mean"
    prepared = losses.prepare(entry, params, inputs, record.get("target"))
    require_shapes(prepared)
    try:
        return losses.reduced(prepared.terms(), reduction)
    except LossbenchError:
        raise
    except Exception:
        require_domain(prepared)  # says it in words where it knows them
        raise


def _optimizer(
    entry: Entry[Any], params: dict[str, Any], inputs: dict[str, Any], record: Mapping[str, Any]
) -> Tensor:
    reduction = str(record.get("reduction") or "final")
    if reduction not in ("final", "every_step"):
        raise UnknownNameError("reduction of an optimizer", reduction, ("final", "every_step"))
    seen = steps.path(entry, params, inputs)
    return seen[-1] if reduction == "final" else seen


def _schedule(
    entry: Entry[Any], params: dict[str, Any], inputs: dict[str, Any], _: Mapping[str, Any]
) -> Tensor:
    return steps.rates(entry, params, inputs)


_COMPUTE: dict[str, Callable[..., Tensor]] = {
    "activation": _activation,
    "distance": _distance,
    "layer": _layer,
    "loss": _loss,
    "optimizer": _optimizer,
    "schedule": _schedule,
}


# --- comparing --------------------------------------------------------------------------------


def _expected(value: Any) -> Tensor:
    """Return the expected numbers; "nan", "inf" and "-inf" may stand among them."""
    try:
        return torch.tensor(_numbers(value), dtype=torch.float64)
    except (TypeError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise UsageError(f"expected is no array of numbers: {first}") from None


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if value is None:
        return math.nan
    return float(value)


def difference(got: Tensor, expected: Tensor, tolerance: Mapping[str, Any]) -> str | None:
    """Say in words how far computed numbers are from expected ones, none where they agree."""
    unknown = set(tolerance) - {"atol", "rtol"}
    if unknown:
        raise UsageError(f"a tolerance has atol and rtol, got {', '.join(sorted(unknown))}")
    atol, rtol = (_tolerance(tolerance, name, usual) for name, usual in TOLERANCE.items())
    got = got.double()
    if got.shape != expected.shape:
        return f"the shape is {list(got.shape)}, expected is {list(expected.shape)}"
    wrong = ~torch.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)
    if not bool(wrong.any()):
        return None
    place = tuple(int(i) for i in wrong.nonzero()[0])
    at = f" at {list(place)}" if place else ""
    off = int(wrong.sum())
    more = f" ({off} of {wrong.numel()} values differ)" if wrong.numel() > 1 else ""
    return f"got {float(got[place]):.10g}, expected {float(expected[place]):.10g}{at}{more}"


def _tolerance(tolerance: Mapping[str, Any], name: str, usual: float) -> float:
    value = tolerance.get(name, usual)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not number >= 0:
        raise UsageError(f"{name} must be a number of at least 0, got {json.dumps(value)}")
    return number


def plain(tensor: Tensor) -> Any:
    """Return a tensor as nested lists for strict JSON: what is not finite becomes text."""

    def said(value: Any) -> Any:
        if isinstance(value, list):
            return [said(item) for item in value]
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)

    return said(tensor.tolist())


def counts(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Count how the records came out, by kind."""
    table: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        row = table.setdefault(outcome.kind, {"passed": 0, "failed": 0, "skipped": 0})
        row[outcome.verdict] += 1
    return table
