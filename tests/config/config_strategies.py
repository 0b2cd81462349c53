"""Valid configs, drawn from the registry: every knob by its annotation."""

import math
import typing
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import strategies as st

from lossbench.components.vocabulary import FITS, FilePath, Nested
from lossbench.config.annotations import is_union, mark, members, parts
from lossbench.config.blocks import contradictions
from lossbench.config.fit import default_metrics, fitting_losses
from lossbench.registry import KINDS, Entry, Knob

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)

TRAIN = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 10**6),
        "batch_size": st.integers(1, 10**4) | st.just("full"),
        "seed": st.integers(0, 2**63 - 1),
        "device": st.sampled_from(["auto", "cpu", "mps", "cuda", "cuda:3"]),
        "accumulate": st.integers(1, 64),
        "clip_norm": st.none() | st.floats(1e-6, 1e6),
        "amp": st.sampled_from(["off", "bfloat16", "float16"]),
        "early_stopping": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "metric": st.sampled_from(["train/loss", "validation/loss"]),
                "patience": st.integers(1, 100),
            },
        ),
        "checkpoint_every": st.floats(1e-3, 1e9),
        "threads": st.integers(1, 64) | st.just("auto"),
        "drop_last": st.booleans(),
    },
)


def values(annotation: Any, file: Path) -> st.SearchStrategy[Any] | None:
    """Return values that an annotation allows; none where it does not say."""
    if mark(annotation, FilePath):
        return st.just(str(file))
    nested = mark(annotation, Nested)
    if nested is not None:
        return None
    base, notes = parts(annotation)
    if is_union(base):
        found = [values(member, file) for member in members(base)]
        return st.one_of(*(one for one in found if one is not None))
    if typing.get_origin(base) is Literal:
        return st.sampled_from(typing.get_args(base))
    if typing.get_origin(base) is tuple:
        return _tuples(base, notes, file)
    if base in (None, type(None)):
        return st.none()
    if base is bool:
        return st.booleans()
    if base is str:
        return TEXTS
    return _numbers(base, notes) if base in (int, float) else None


def _tuples(base: Any, notes: Any, file: Path) -> st.SearchStrategy[Any] | None:
    arguments = typing.get_args(base)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = values(arguments[0], file)
        least = max((n.min_length for n in notes if isinstance(n, MinLen)), default=0)
        most = min((n.max_length for n in notes if isinstance(n, MaxLen)), default=least + 3)
        return None if item is None else st.lists(item, min_size=least, max_size=most)
    items = [values(argument, file) for argument in arguments]
    return None if None in items else st.tuples(*items).map(list)  # type: ignore[arg-type]


def _numbers(base: Any, notes: Any) -> st.SearchStrategy[Any]:
    low, high = -(10**6), 10**6
    open_low = open_high = False
    for note in notes:
        if isinstance(note, Ge):
            low = note.ge  # type: ignore[assignment]
        elif isinstance(note, Gt):
            low, open_low = note.gt, True  # type: ignore[assignment]
        elif isinstance(note, Le):
            high = note.le  # type: ignore[assignment]
        elif isinstance(note, Lt):
            high, open_high = note.lt, True  # type: ignore[assignment]
    if base is int:
        return st.integers(math.ceil(low) + open_low, math.floor(high) - open_high)
    return st.floats(low, high, exclude_min=open_low, exclude_max=open_high) | st.integers(
        math.ceil(low) + open_low, max(math.floor(high) - open_high, math.ceil(low) + open_low)
    ).filter(lambda n: n < high if open_high else n <= high)


@st.composite
def block(draw: st.DrawFn, kind: str, name: str, file: Path) -> Any:
    """Return a block of that component with some of its knobs, or its bare name."""
    entry: Entry[Any] = KINDS[kind][name]
    knobs = {}
    for knob in entry.knobs:
        if knob.required or draw(st.booleans()):
            strategy = _knob(knob, file)
            if strategy is not None:
                knobs[knob.name] = draw(strategy)
    whole = entry.defaults() | {key: _tuple(value) for key, value in knobs.items()}
    if contradictions(entry, whole):  # each valid, together not
        knobs = {key: value for key, value in knobs.items() if entry.knob(key).required}
    if not knobs and draw(st.booleans()):
        return name
    return {"name": name, **knobs}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _knob(knob: Knob, file: Path) -> st.SearchStrategy[Any] | None:
    nested = mark(knob.annotation, Nested)
    if nested is not None and nested.kind == "optimizer" and not nested.many:
        return st.sampled_from(["sgd", "adamw"])
    if knob.name == "layers":
        return st.just(["flatten", {"linear": 8}, "activation", {"dropout": {"p": 0.5}}])
    return values(knob.annotation, file)


def usable(kind: str, name: str) -> bool:
    """Tell whether a config may name the component, all of whose required knobs can be drawn."""
    entry = KINDS[kind][name]
    if getattr(entry.facts, "python_only", None):
        return False
    drawn = [knob for knob in entry.knobs if knob.required]
    return all(_knob(knob, Path(__file__)) is not None for knob in drawn)


@st.composite
def configs(draw: st.DrawFn, file: Path) -> dict[str, Any]:
    """Return a valid config as plain values."""
    names = {kind: [n for n in registry if usable(kind, n)] for kind, registry in KINDS.items()}
    dataset = draw(st.sampled_from(names["dataset"]))
    facts = KINDS["dataset"][dataset].facts
    kind = getattr(facts.target, "kind", facts.target)
    losses = fitting_losses(kind or draw(st.sampled_from(list(FITS))))
    parts_ = {
        "dataset": draw(block("dataset", dataset, file)),
        "loss": draw(st.sampled_from(losses).flatmap(lambda n: block("loss", n, file))),
        "optimizer": draw(
            st.sampled_from(names["optimizer"]).flatmap(lambda n: block("optimizer", n, file))
        ),
    }
    networks = KINDS["network"]
    brought = facts.network
    names["network"] = (
        [brought] if brought else [n for n in networks if not networks[n].facts.brought]
    )
    for other in ("network", "activation", "schedule"):
        if names[other] and draw(st.booleans()):
            name = draw(st.sampled_from(names[other]))
            parts_[other] = draw(block(other, name, file))
    if draw(st.booleans()):
        parts_["train"] = draw(TRAIN)
    if draw(st.booleans()):
        parts_["metrics"] = list(default_metrics(kind))
    if draw(st.booleans()):
        parts_["name"] = draw(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}[a-z0-9]", fullmatch=True))
    return parts_
