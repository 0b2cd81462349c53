"""The config as a JSON Schema, for editors: every component, its knobs, ranges and meanings.

Every config that `load` accepts validates against it. The reverse does not hold: what a schema
cannot say (whether the loss fits the data, whether a file exists) only `validate` knows.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from lossbench import plugins
from lossbench.components.vocabulary import FilePath, Nested
from lossbench.config.annotations import adapter, allows_none, mark
from lossbench.config.comparison_schema import comparison_properties
from lossbench.config.defaults import COMPONENTS
from lossbench.config.files import EXTENDS
from lossbench.config.merge import IMPL, NAME, VARY
from lossbench.config.options import annotations_of, block_of
from lossbench.config.read import ONE_COMPONENT
from lossbench.config.spec import OPTIONS, Implementation, NoOptions, RunSpec, TrainSpec
from lossbench.config.tune import TuneOptions
from lossbench.registry import KINDS, Entry, Knob

Schema = dict[str, Any]

REFERENCE = r"^.+:\s*[^\W\d]\w*\s*$"
"""A component of the user's own: `file.py:Name` or `package.module:Name`."""

TORCH_SPELLING = r"[A-Z.]"
"""Names in YAML are snake_case: one with a capital or a dot is torch's spelling of it."""


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a config: a run's, or a comparison's."""
    definitions: Schema = {}
    for kind, registry in KINDS.items():
        definitions[kind] = _kind_schema(kind, registry)
        for name, entry in registry.items():
            definitions[f"{kind}.{name}"] = _component_schema(kind, entry)
    properties = _root_properties()
    properties |= comparison_properties(
        {kind: {"$ref": f"#/$defs/{kind}"} for kind in ONE_COMPONENT},
        _block_schema(TrainSpec),
        _block_schema(TuneOptions),
    )
    needed = [kind for kind in ONE_COMPONENT if kind not in COMPONENTS and kind != "schedule"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lossbench config",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        # What a comparison varies need not stand in it a second time.
        "anyOf": [{"required": needed}, {"required": [EXTENDS]}, {"required": [VARY]}],
        "$defs": definitions,
    }


def _root_properties() -> Schema:
    """Return the schema of each key of a config."""
    docs = field_docs(RunSpec)
    name: Schema = {"type": "string", "description": "The run's name: its folder in runs/."}
    properties: Schema = {
        EXTENDS: {
            "description": "Start from another file, or from several; paths are relative.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "null"},
            ],
        },
        "name": name,
    }
    for kind in ONE_COMPONENT:
        # Over a file that it extends, a block may hold some knobs only and no name.
        part = {"type": "object", "not": {"required": [NAME]}}
        allowed: list[Schema] = [{"$ref": f"#/$defs/{kind}"}, part]
        if kind in COMPONENTS or kind == "schedule":
            allowed.append({"type": "null"})
        properties[kind] = {"anyOf": allowed, "description": docs.get(kind, f"The {kind}.")}
    metric_list = {"type": "array", "items": {"$ref": "#/$defs/metric"}}
    properties["metrics"] = {"anyOf": [metric_list, {"type": "null"}]}
    properties["train"] = {"anyOf": [_block_schema(TrainSpec), {"type": "null"}]}
    return properties


def _kind_schema(kind: str, registry: Mapping[str, Entry[Any]]) -> Schema:
    """Return the schema of a component of a kind: a bare name, or a block."""
    spellings = sorted({spelling for entry in registry.values() for spelling in _names(entry)})
    points = sorted(plugins.entry_points(kind))
    other = [{"pattern": REFERENCE}, {"pattern": TORCH_SPELLING}]
    names: Schema = {"type": "string", "anyOf": [{"enum": [*spellings, *points]}, *other]}
    aliases = sorted(set(spellings) - set(registry)) + points
    foreign: Schema = {
        "type": "object",
        "description": f"A {kind} of your own, or one under another name.",
        "properties": {
            NAME: {"type": "string", "anyOf": [{"enum": aliases}, *other] if aliases else other}
        },
        "required": [NAME],
    }
    blocks = [{"$ref": f"#/$defs/{kind}.{name}"} for name in registry]
    return {"anyOf": [names, *blocks, foreign]}


def _names(entry: Entry[Any]) -> Iterable[str]:
    """Yield the snake_case spellings under which a component is found."""
    yield entry.name
    yield from entry.aliases
    if entry.kernel:
        yield entry.kernel.rpartition(".")[2]
    yield f"{entry.name}_{entry.kind}"


def _component_schema(kind: str, entry: Entry[Any]) -> Schema:
    """Return the schema of one component's block."""
    options = OPTIONS.get(kind, NoOptions)
    properties: Schema = {NAME: {"const": entry.name, "description": entry.doc.summary}}
    properties |= {knob.name: _knob_schema(knob) for knob in entry.knobs}
    properties |= {
        key: value
        for key, value in _block_schema(options)["properties"].items()
        if key not in properties
    }
    properties[IMPL] = adapter(Implementation).json_schema() | {
        "description": "What computes it: the formula, or torch's kernel."
    }
    required = [knob.name for knob in entry.knobs if knob.required]
    return {
        "type": "object",
        "title": entry.name,
        "description": entry.doc.summary,
        "properties": properties,
        "required": [NAME, *required],
        "additionalProperties": False,
    }


def _knob_schema(knob: Knob) -> Schema:
    """Return the schema of a knob, with its meaning and its default."""
    schema = _annotation_schema(knob.annotation, allows_null=knob.default is None)
    if not knob.required and not _valid(knob.annotation, knob.default):
        schema = {"anyOf": [schema, {"const": _json(knob.default)}]}
    if knob.doc:
        schema = schema | {"description": knob.doc}
    if not knob.required and _is_json(knob.default):
        schema = schema | {"default": _json(knob.default)}
    return schema


def _annotation_schema(annotation: Any, *, allows_null: bool = False) -> Schema:
    nested, file = mark(annotation, Nested), mark(annotation, FilePath)
    if nested is None and file is None:
        try:
            return adapter(annotation).json_schema()
        except PydanticUserError:  # a function: a config cannot hold it
            return {"type": "null"}
    schema: Schema = {"type": "string"}
    if nested is not None:
        schema = {"anyOf": [{"$ref": f"#/$defs/{nested.kind}"}, _short_schema(nested.kind)]}
        if nested.many:
            schema = {"type": "array", "items": schema}
    if allows_null or allows_none(annotation):
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema


def _short_schema(kind: str) -> Schema:
    """Return the schema of `{linear: 32}`: a component with its first knob."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "not": {"required": [NAME]},
        "description": f"A {kind} with the value of its first knob, or with a block of knobs.",
    }


def _block_schema(block: type) -> Schema:
    """Return the schema of a block whose keys are a dataclass's fields."""
    docs = field_docs(block)
    properties: Schema = {}
    for field in dataclasses.fields(block):
        annotation = annotations_of(block)[field.name]
        inner = block_of(annotation)
        if inner is not None:
            schema: Schema = {"anyOf": [_block_schema(inner), {"type": "null"}]}
        else:
            schema = adapter(annotation).json_schema()
        if field.name in docs:
            schema = schema | {"description": docs[field.name]}
        if _is_json(field.default):
            schema = schema | {"default": _json(field.default)}
        properties[field.name] = schema
    return {"type": "object", "properties": properties, "additionalProperties": False}


def field_docs(block: type) -> dict[str, str]:
    """Return what a dataclass's docstring says of each field."""
    names = "|".join(field.name for field in dataclasses.fields(block)) or "-"
    docs: dict[str, str] = {}
    current = ""
    for line in (block.__doc__ or "").splitlines():
        opening = re.match(rf"\s+({names}):\s+(.*)", line)
        if opening:
            current = opening[1]
            docs[current] = opening[2]
        elif current and line.strip():
            docs[current] += " " + line.strip()
    return docs


def _valid(annotation: Any, value: Any) -> bool:
    if mark(annotation, Nested) or mark(annotation, FilePath):
        return True
    try:
        adapter(annotation).validate_python(value)
    except ValidationError:
        return not _is_json(value)
    return True


def _json(value: Any) -> Any:
    return [_json(item) for item in value] if isinstance(value, tuple | list) else value


def _is_json(value: Any) -> bool:
    """Tell whether JSON can hold the value: it has no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
