"""From what a config chose to what can be called: the formula, its knobs, torch's kernel."""

from typing import Any

from lossbench.components.vocabulary import Applied
from lossbench.config.spec import Choice
from lossbench.plugins import resolve
from lossbench.registry import Entry


def applied(choice: Choice) -> Applied:
    """Return the chosen component with its knobs filled in, nested ones included.

    The kernel is there where this torch has it and the config did not ask for the formula.
    """
    entry = resolve(choice)
    knobs = {name: _value(value) for name, value in choice.knobs.items()}
    return Applied(entry.name, entry.function, entry.facts, knobs, kernel_for(entry, choice))


def _value(value: Any) -> Any:
    if isinstance(value, Choice):
        return applied(value)
    if isinstance(value, tuple):
        return tuple(_value(item) for item in value)
    return value


def kernel_for(entry: Entry[Any], choice: Choice) -> Any:
    """Return torch's own function or class where it may be used, else none."""
    return None if choice.impl == "formula" else entry.load_kernel()
