"""The config that `init` writes: one that trains, with every key explained.

It is made from the registry, so it cannot name a knob that has gone.
"""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from lossbench.config.annotations import describe
from lossbench.config.defaults import COMPONENTS, EXAMPLES
from lossbench.config.fit import default_metrics
from lossbench.config.options import annotations_of
from lossbench.config.schema import field_docs
from lossbench.config.spec import OPTIONS, TrainSpec
from lossbench.config.write import dump_plain
from lossbench.registry import KINDS

SCHEMA_FILE = "lossbench.schema.json"
"""Where editors look for the schema, beside the config: `lossbench schema` prints it."""

_COLUMN = 36
_WIDTH = 100


def starter(schema: str = SCHEMA_FILE) -> str:
    """Return a commented config that trains on real data; `schema` is where editors find it."""
    lines = [
        f"# yaml-language-server: $schema={schema}",
        "# lossbench train FILE        trains it",
        "# lossbench validate FILE     checks it; lossbench list losses, show NAME: what there is",
        "",
        _line("name: first-run", "the run's folder in runs/"),
        "",
        *_component("dataset", EXAMPLES["dataset"]),
        *_component("network", COMPONENTS["network"]),
        *_component("activation", COMPONENTS["activation"]),
        *_component("loss", EXAMPLES["loss"]),
        *_component("optimizer", EXAMPLES["optimizer"]),
        _line("schedule: null", "how the rate changes: lossbench list schedules"),
        "",
        *_metrics(),
        *_train(),
    ]
    return "\n".join(lines) + "\n"


def _component(kind: str, name: str) -> Iterator[str]:
    """Yield the block of a component with all its knobs and their defaults."""
    entry = KINDS[kind].find(name)
    yield f"# {entry.doc.summary}"
    options = OPTIONS.get(kind)
    knobs = [knob for knob in entry.knobs if not knob.required]
    if not knobs and options is None:
        yield f"{kind}: {entry.name}"
        yield ""
        return
    yield f"{kind}:"
    yield f"  name: {entry.name}"
    for knob in knobs:
        yield _line(_pair(knob.name, knob.default), knob.doc or describe(knob.annotation))
    if options is not None:
        docs = field_docs(options)
        for field in dataclasses.fields(options):
            yield _line(_pair(field.name, field.default), docs.get(field.name, ""))
    yield ""


def _metrics() -> Iterator[str]:
    target = KINDS["dataset"].find(EXAMPLES["dataset"]).facts.target
    kind = getattr(target, "kind", target)
    yield _line(_pair("metrics", list(default_metrics(kind)), indent=""), "lossbench list metrics")
    yield ""


def _train() -> Iterator[str]:
    """Yield the block that says how the run trains."""
    docs = field_docs(TrainSpec)
    yield "train:"
    for field in dataclasses.fields(TrainSpec):
        words = docs.get(field.name) or describe(annotations_of(TrainSpec)[field.name])
        yield _line(_pair(field.name, field.default), words)


def _pair(key: str, value: Any, indent: str = "  ") -> str:
    return indent + dump_plain({key: value}).rstrip("\n")


def _line(text: str, comment: str) -> str:
    """Return a line with its comment, which goes on below where it is long."""
    if not comment:
        return text
    start = max(_COLUMN, len(text) + 2)
    first, *rest = textwrap.wrap(comment, _WIDTH - start - 2) or [""]
    lines = [f"{text:<{start}}# {first}", *(f"{'':<{start}}#   {more}" for more in rest)]
    return "\n".join(lines)
