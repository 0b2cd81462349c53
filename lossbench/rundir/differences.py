"""What differs between two configs, key by key."""

from collections.abc import Mapping
from typing import Any

ABSENT = "(not given)"
"""What stands for the value of a key that one side does not have."""


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, its keys dotted as overrides are: `optimizer.lr`."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(item) if isinstance(item, tuple) else item
    return flat


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ, with both values, in the order of the left."""
    one, other = flatten(left), flatten(right)
    return {
        key: (one.get(key, ABSENT), other.get(key, ABSENT))
        for key in dict.fromkeys([*one, *other])
        if one.get(key, ABSENT) != other.get(key, ABSENT)
    }


def describe(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Return differences in one line: `optimizer.lr: 0.1 became 0.2`."""
    return "; ".join(f"{key}: {old} became {new}" for key, (old, new) in changes.items())
