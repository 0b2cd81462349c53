"""A RunSpec as YAML: the resolved config, with every default filled in.

Reading what `dump` wrote gives the same spec again.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml as pyyaml

from lossbench import plugins
from lossbench.components.vocabulary import FilePath
from lossbench.config.annotations import mark
from lossbench.config.spec import Choice, RunSpec
from lossbench.config.yaml import resolve
from lossbench.errors import LossbenchError

NO_FILES: Mapping[Path, str] = {}


def dump(spec: RunSpec, *, files: Mapping[Path, str] = NO_FILES, header: str = "") -> str:
    """Return the spec as a readable config with every default in it.

    `files` re-points the user's own files: by their path, what to write instead (such as
    `files/my_loss.py`, relative to where the text will lie). `header` becomes a comment on top.
    """
    return comment(header) + dump_plain(plain(spec, files))


def plain(spec: RunSpec, files: Mapping[Path, str] = NO_FILES) -> dict[str, Any]:
    """Return the spec as plain values, with every default: a mapping that `load` takes."""
    return {
        field.name: _value(getattr(spec, field.name), files) for field in dataclasses.fields(spec)
    }


def comment(header: str) -> str:
    """Return the lines of a text as comments of YAML."""
    return "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())


def dump_plain(value: Mapping[str, Any]) -> str:
    """Return plain values as YAML 1.2 text: numbers and texts read back as what they are."""
    return pyyaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=False,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )


def _value(value: Any, files: Mapping[Path, str]) -> Any:
    if isinstance(value, Choice):
        return _component(value, files)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _value(getattr(value, field.name), files)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple | list):
        return [_value(item, files) for item in value]
    if isinstance(value, Mapping):
        return {key: _value(item, files) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _component(choice: Choice, files: Mapping[Path, str]) -> dict[str, Any]:
    """Return a block: the name, the knobs, the options, and `impl` where it was asked for."""
    paths = _path_knobs(choice)
    block = {"name": _name(choice, files)}
    for key, knob in choice.knobs.items():
        moved = files.get(Path(knob)) if key in paths and isinstance(knob, str | Path) else None
        block[key] = _value(knob, files) if moved is None else moved
    options = _value(choice.options, files)
    block |= {key: option for key, option in options.items() if key not in block}
    if choice.impl != "auto":
        block["impl"] = choice.impl
    return block


def _name(choice: Choice, files: Mapping[Path, str]) -> str:
    """Return the name that finds the component again from anywhere."""
    if choice.file is None or not plugins.in_file(choice.name):
        return choice.name
    return f"{files.get(choice.file, choice.file)}:{choice.name.rpartition(':')[2]}"


def _path_knobs(choice: Choice) -> frozenset[str]:
    """Return the names of the knobs that name files."""
    try:
        entry = plugins.chosen(choice)
    except LossbenchError:  # the user's own file has gone since
        return frozenset()
    return frozenset(knob.name for knob in entry.knobs if mark(knob.annotation, FilePath))


_TEXT = "tag:yaml.org,2002:str"
_TAGS: Mapping[type, str] = {
    str: _TEXT,
    bool: "tag:yaml.org,2002:bool",
    int: "tag:yaml.org,2002:int",
    float: "tag:yaml.org,2002:float",
    type(None): "tag:yaml.org,2002:null",
}


class _Dumper(pyyaml.SafeDumper):
    """Writes lists of plain values in one line, and quotes text that YAML 1.2 reads otherwise."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - what stands twice is written twice
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Say what an unquoted scalar would be read as, by YAML 1.2's rules."""
        if kind is not pyyaml.ScalarNode or not implicit[0]:
            return super().resolve(kind, value, implicit)
        try:
            return _TAGS[type(resolve(value))]
        except ValueError:  # so many digits that Python does not convert them: it needs quotes
            return _TAGS[int]


def _represent_number(dumper: _Dumper, number: float) -> pyyaml.ScalarNode:
    if math.isfinite(number):
        text = repr(number)
    else:
        text = ".nan" if math.isnan(number) else "-.inf" if number < 0 else ".inf"
    return dumper.represent_scalar(_TAGS[float], text)


def _represent_list(dumper: _Dumper, items: Any) -> pyyaml.SequenceNode:
    flat = all(item is None or isinstance(item, str | int | float) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


def _represent_mapping(dumper: _Dumper, mapping: Any) -> pyyaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=not mapping)


_Dumper.add_representer(float, _represent_number)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
_Dumper.add_representer(dict, _represent_mapping)
