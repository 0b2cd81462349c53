"""What the docstring of every component must say."""

from typing import Any

from lossbench.checks.contracts import BrokenError, contract
from lossbench.registry import Entry

SECTIONS = {
    "activation": ("Formula", "Derivative", "Shapes", "Range", "Reference"),
    "loss": ("Formula", "Derivative", "Shapes", "Range", "Reference"),
    "distance": ("Formula", "Shapes", "Range", "Reference"),
    "optimizer": ("Formula", "Shapes", "Reference"),
    "schedule": ("Formula", "Reference"),
    "layer": ("Shapes",),
    "network": ("Shapes",),
    "metric": ("Formula", "Shapes", "Range"),
    "dataset": (),
}
"""The sections that the docstring of a kind must have."""


@contract(*SECTIONS)
def documentation(entry: Entry[Any]) -> None:
    """The docstring says the idea, the formula, shapes, range, every knob and the reference."""
    if not entry.doc.summary.endswith((".", "?")):
        raise BrokenError("the docstring does not begin with a sentence that says the idea")
    missing = [name for name in SECTIONS[entry.kind] if not entry.doc.sections.get(name)]
    if missing:
        raise BrokenError(f"the docstring has no section {', '.join(missing)}")
    for knob in entry.knobs:
        if not knob.doc:
            raise BrokenError(f"the docstring does not say what the knob {knob.name} does")
        if isinstance(knob.annotation, str):
            raise BrokenError(f"the knob {knob.name} has no type that says its range")
