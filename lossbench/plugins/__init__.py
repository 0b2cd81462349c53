"""The user's own components, and those of other packages: named in a config like built-in ones."""

from lossbench.plugins.blame import blame, user_code
from lossbench.plugins.neighbours import travelling
from lossbench.plugins.own import chosen, find, load, outline, resolve
from lossbench.plugins.references import canonical, entry_points, in_file, is_reference, locate

__all__ = [
    "blame",
    "canonical",
    "chosen",
    "entry_points",
    "find",
    "in_file",
    "is_reference",
    "load",
    "locate",
    "outline",
    "resolve",
    "travelling",
    "user_code",
]
