"""The keys of a comparison as a JSON Schema, beside those of a run's config (config/schema.py)."""

from collections.abc import Mapping
from typing import Any

from lossbench.config.axes import RANGES
from lossbench.config.labels import LONGEST
from lossbench.config.merge import NAME
from lossbench.config.tune import LOG_UNIFORM

Schema = dict[str, Any]

_NULL: Schema = {"type": "null"}
_NUMBER: Schema = {"type": "number"}
_TEXTS: Schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}


def comparison_properties(components: Mapping[str, Schema], train: Schema, tune: Schema) -> Schema:
    """Return the schema of each key that makes a config a comparison.

    `components` are the schemas of the blocks that can vary as a whole, `train` and `tune` those
    of the blocks of their options.
    """
    return {
        "vary": _vary(components, train),
        "zip": {
            "description": "Axes that go in step instead of making a grid: true for all of them.",
            "anyOf": [{"type": "boolean"}, _TEXTS, _NULL],
        },
        "seeds": {
            "description": "How many seeds, from train.seed upward; or a list of them.",
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 1,
                    "uniqueItems": True,
                },
                _NULL,
            ],
            "default": 10,
        },
        "tune": _tune(tune),
        "target": {
            "description": "A metric and the value to reach: steps and time to it are compared.",
            "anyOf": [
                {
                    "type": "object",
                    "additionalProperties": _NUMBER,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
                _NULL,
            ],
        },
        "claims": {
            "description": "What the comparison must show: 'Adam below SGD on train/loss'.",
            "anyOf": [_TEXTS | {"minItems": 0, "uniqueItems": True}, _NULL],
        },
    }


def _vary(components: Mapping[str, Schema], train: Schema) -> Schema:
    properties = {}
    for kind, component in components.items():
        part = {"type": "object", "not": {"required": [NAME]}}
        what = "problems" if kind == "dataset" else "contenders"
        properties[kind] = _axis({"anyOf": [component, part, _NULL]}) | {
            "description": f"The {kind} varies: its values are {what}."
        }
    properties["train"] = _axis(train) | {"description": "Several keys of train vary together."}
    below = "|".join([*components, "train"])
    return {
        "description": "The keys that vary, each with its values: a list, labels, or a range.",
        "anyOf": [
            {
                "type": "object",
                "properties": properties,
                "patternProperties": {rf"^({below})\.[^.]": _axis({}, numbers=True)},
                "additionalProperties": False,
                "minProperties": 1,
            },
            _NULL,
        ],
    }


def _axis(value: Schema, *, numbers: bool = False) -> Schema:
    """Return the schema of an axis: a list of values, or values by label; or a range of numbers."""
    forms: list[Schema] = [
        {"type": "array", "items": value, "minItems": 1},
        {
            "type": "object",
            "propertyNames": {"minLength": 1, "maxLength": LONGEST},
            "additionalProperties": value,
            "minProperties": 1,
        },
    ]
    if numbers:
        ends = {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3}
        forms.append(
            {
                "type": "object",
                "description": "Numbers from, to, and how many; both ends included.",
                "properties": dict.fromkeys(RANGES, ends),
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            }
        )
    return {"anyOf": forms}


def _tune(options: Schema) -> Schema:
    ends = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
    span = {
        "type": "object",
        "properties": {LOG_UNIFORM: ends},
        "required": [LOG_UNIFORM],
        "additionalProperties": False,
    }
    return {
        "description": "Knobs that are searched for every contender first, on validation data.",
        "anyOf": [
            {"type": "string"},
            _TEXTS,
            options | {"additionalProperties": {"anyOf": [span, ends, _NULL]}},
            _NULL,
        ],
    }
