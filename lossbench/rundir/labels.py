"""Names for runs that stand beside each other: what distinguishes them, not their ids."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lossbench.rundir.differences import ABSENT, flatten

MOST_KEYS = 3
"""With more differences than this a label would be a paragraph: the id is shorter."""


def labels(configs: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> list[str]:
    """Return a label for each run, no two alike: `adam, lr=0.01`.

    Where a component's name differs, its knobs go without saying. Runs of one config differ in
    their ids only.
    """
    if len(configs) < 2:
        return list(ids)
    flat = [flatten(config) for config in configs]
    keys = [
        key
        for key in dict.fromkeys(key for config in flat for key in config)
        if key != "name" and not all(config.get(key) == flat[0].get(key) for config in flat)
    ]
    chosen = {key.removesuffix(".name") for key in keys if key.endswith(".name")}
    keys = [
        key
        for key in keys
        if key.endswith(".name") or not any(key.startswith(f"{block}.") for block in chosen)
    ]
    if not keys or len(keys) > MOST_KEYS:
        return list(ids)
    short = _short_names(keys)
    texts = [
        ", ".join(_said(short[key], config.get(key, ABSENT)) for key in keys) for config in flat
    ]
    times = Counter(texts)
    return [
        text if times[text] == 1 else f"{text} ({run_id})"
        for text, run_id in zip(texts, ids, strict=True)
    ]


def in_words(value: object) -> str:
    """Return a value of a config in words: no quotes, no Python."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "not finite" if value != value else f"{value:.4g}"
    if isinstance(value, Mapping):
        if list(value) == ["name"]:  # a component without knobs
            return in_words(value["name"])
        return ", ".join(f"{name}={in_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(in_words(item) for item in value) or "none"
    return str(value)


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Name each key by its last part where that is unambiguous; a component's name by nothing."""
    times = Counter(key.rpartition(".")[2] for key in keys)
    return {
        key: ""
        if key.endswith(".name")
        else (key.rpartition(".")[2] if times[key.rpartition(".")[2]] == 1 else key)
        for key in keys
    }


def _said(key: str, value: object) -> str:
    text = in_words(value)
    return f"{key}={text}" if key else text
