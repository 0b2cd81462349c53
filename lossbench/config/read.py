"""A config, from YAML to a RunSpec, or to all that is wrong with it.

    loaded = load(Path("cubic.yaml"), ["optimizer.lr=1e-3", "loss=huber"])
    loaded.spec                # complete, checked, every default filled in

Everything here is static: no data are read, no component runs, torch is not imported, and a
user's own file is read as a syntax tree.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossbench.config.annotations import show
from lossbench.config.blocks import Read, read_component
from lossbench.config.defaults import EXAMPLES
from lossbench.config.files import EXTENDS, read_file, read_given_text, with_extended
from lossbench.config.fit import (
    check_fit,
    check_network,
    check_recorded,
    default_component,
    default_metrics,
    target_kind,
    target_size,
    with_batch_size,
)
from lossbench.config.merge import COMPARISON, merge
from lossbench.config.options import annotations_of, read_block
from lossbench.config.overrides import lay_over
from lossbench.config.problems import Problems
from lossbench.config.spec import RunSpec, TrainSpec
from lossbench.config.values import INVALID, check
from lossbench.config.write import dump_plain
from lossbench.config.yaml import Node, from_python
from lossbench.errors import ConfigError, Place, Problem, suggest
from lossbench.plugins import travelling
from lossbench.registry import metric as metrics

ONE_COMPONENT = ("dataset", "network", "activation", "loss", "optimizer", "schedule")


@dataclass(frozen=True)
class Loaded:
    """A config that was read: what it means, its text as given, and the user's own files in it.

    `files` are those named in it and the modules beside them that they import.
    """

    spec: RunSpec
    text: str
    files: tuple[Path, ...]


def load(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    mapping: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read a config file, a mapping, or a mapping laid over a file, with `key=value` overrides.

    Raises ConfigError with everything that is wrong, each with its place.
    """
    root, text, name = gather(path, mapping)
    return _read(root, text, name, overrides)


def gather(path: str | Path | None, mapping: Mapping[str, Any] | None) -> tuple[Node, str, str]:
    """Return the config that a file, a mapping or both give, its text, and a name for the run.

    Raises ConfigError where neither is given, and for what cannot be read.
    """
    if path is None and mapping is None:
        raise ConfigError([Problem(Place(), "no config is given")])
    text, root, name = "", None, "run"
    if path is not None:
        text, root = read_file(Path(path))
        name = Path(path).stem
    if mapping is not None:
        above = with_extended(from_python(mapping))
        root = above if root is None else merge(root, above)
        text = text or dump_plain(mapping)
    assert root is not None  # one of the two was given
    return root, text, _as_name(name)


def load_text(text: str, overrides: Sequence[str] = (), *, folder: Path | None = None) -> Loaded:
    """Read a config from text; relative paths start at `folder`, the current one unless given.

    Raises ConfigError with everything that is wrong.
    """
    return _read(read_given_text(text, folder or Path.cwd()), text, "run", overrides)


def _read(root: Node, text: str, name: str, overrides: Sequence[str]) -> Loaded:
    problems = Problems()
    spec = read_run(lay_over(root, overrides, problems), name, problems)
    problems.raise_any()
    assert spec is not None  # no problem, so every part was read
    return Loaded(spec, text, travelling(spec))


Known = dict[tuple[str, int, str | None], tuple[Node | None, Read]]
"""Blocks that have been read: by kind, identity of the node, and default; with the node itself, so
that no other takes its identity."""


def read_run(
    root: Node, name: str, problems: Problems, known: Known | None = None
) -> RunSpec | None:
    """Return the run that a whole config means, called `name` unless it says otherwise.

    Return none where something is wrong; all of it has been noted. With `known`, a block that many
    configs share (as the contenders of a comparison do) is read once.
    """
    return _Reader(root, problems, {} if known is None else known).spec(name)


def _as_name(stem: str) -> str:
    """Turn a file's name into a run's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100].rstrip(".") or "run"


class _Reader:
    """Reads the keys of a whole config; notes every problem and goes on."""

    def __init__(self, root: Node, problems: Problems, known: Known) -> None:
        self.root, self.problems, self.known = root, problems, known
        self.given = dict(root.mapping or {})

    def spec(self, name: str) -> RunSpec | None:
        """Return the run, or none where something is wrong with it."""
        if "name" in self.given:
            annotation = annotations_of(RunSpec)["name"]
            name = check(annotation, self.given["name"], "name", self.problems)
        read: dict[str, Read | None] = {}
        for kind in ONE_COMPONENT:
            default = default_component(kind, read.get("dataset"))
            read[kind] = self.once(kind, default)
        chosen = self.metrics(read["dataset"])
        train = self.train(read)
        self.refuse_unknown(read)
        check_fit(read["dataset"], read["loss"], chosen, self.problems)
        check_network(read["dataset"], read["network"], self.problems)
        if train is not None:
            check_recorded(train, self.given.get("train"), chosen, self.problems)
        if len(self.problems) or train is None or name is INVALID:
            return None
        parts = {kind: found.choice for kind, found in read.items() if found is not None}
        return RunSpec(
            name=name, metrics=tuple(metric.choice for metric in chosen), train=train, **parts
        )

    def refuse_unknown(self, read: Mapping[str, Read | None]) -> None:
        """Note the keys that a config does not have."""
        valid = [field.name for field in dataclasses.fields(RunSpec)]
        for key, node in self.given.items():
            if key in valid:
                continue
            hint = _home_of(key, read) or suggest(key, [*valid, EXTENDS, *COMPARISON])
            if key in COMPARISON:
                hint = f"with '{key}' this is a comparison: lossbench compare"
            self.problems.add(node.key, f"unknown key '{key}'", hint)

    def once(self, kind: str, default: str | None) -> Read | None:
        """Read a block unless it is known; one with a problem is read again, to note it again."""
        node = self.given.get(kind)
        key = (kind, id(node), default)
        if key in self.known:
            return self.known[key][1]
        read = self.component(kind, default)
        if read is not None:
            self.known[key] = node, read
        return read

    def component(self, kind: str, default: str | None) -> Read | None:
        """Read the block of a component that a run has one of; most have a default."""
        node = self.given.get(kind)
        if node is None or node.value is None:
            place = self.root.place if node is None else node.key
            if kind in EXAMPLES:
                self.problems.add(place, f"{kind} is missing", f"add '{kind}: {EXAMPLES[kind]}'")
            if default is None:
                return None
            node = (node or self.root).with_value(default)
        if default is not None:
            node = _with_default_name(node, default)
        return read_component(kind, node, kind, self.problems)

    def metrics(self, dataset: Read | None) -> list[Read]:
        """Read the list of metrics; without one, those that suit the targets."""
        node = self.given.get("metrics")
        if node is None or node.value is None:
            names = default_metrics(target_kind(dataset), target_size(dataset))
            node = self.root.with_value(tuple(self.root.with_value(name) for name in names))
        if node.items is None:
            example = ", ".join(metrics.names()[:2])
            message = f"metrics must be a list of names, got {show(node.plain())}"
            self.problems.add(node.place, message, f"write 'metrics: [{example}]'")
            return []
        found: dict[str, Read] = {}
        for index, item in enumerate(node.items):
            read = read_component("metric", item, f"metrics[{index}]", self.problems)
            if read is None:
                continue
            if read.choice.name in found:
                first = found[read.choice.name].node.place
                message = f"metric '{read.choice.name}' stands twice"
                self.problems.add(item.place, message, f"it stands first at {first}")
            found.setdefault(read.choice.name, read)
        return list(found.values())

    def train(self, read: Mapping[str, Read | None]) -> TrainSpec | None:
        """Read how the run trains; every key has a default."""
        node = self.given.get("train")
        if node is None or node.value is None:
            return with_batch_size(TrainSpec(), read["dataset"])
        spec = read_block(
            TrainSpec, node, "train", self.problems, home_of=lambda key: _home_of(key, read)
        )
        named = "batch_size" in (node.mapping or {})
        return spec if spec is None or named else with_batch_size(spec, read["dataset"])


def _with_default_name(node: Node, name: str) -> Node:
    """Let `network: {hidden: [64]}` mean the default network with that knob."""
    if node.mapping is None or "name" in node.mapping:
        return node
    return node.with_value({"name": node.with_value(name), **node.mapping})


def _home_of(key: str, read: Mapping[str, Read | None]) -> str | None:
    """Return a hint where a key belongs to another block: `lr` to the optimizer's."""
    homes = ["train"] if key in annotations_of(TrainSpec) else []
    for kind, found in read.items():
        if found is not None and any(knob.name == key for knob in found.entry.knobs):
            homes.append(kind)
    return f"did you mean {' or '.join(f'{home}.{key}' for home in homes)}?" if homes else None
