"""Modules that are imported when they are first used.

`import torch` takes seconds; the catalogue, the help texts and the validation of a config must not
pay for it. So every file says `from lossbench.lazy import torch`, and gets a stand-in that imports
the module at the first attribute it is asked for.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class LazyModule(ModuleType):
    """Stands for a module until one of its attributes is used; then remembers each attribute."""

    def __getattr__(self, attribute: str) -> Any:
        # Tools that inspect (doctest, pickle, hypothesis) ask for dunder names: that is no use.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        value = getattr(importlib.import_module(self.__name__), attribute)
        self.__dict__[attribute] = value  # the next look-up costs what a plain module's does
        return value


if TYPE_CHECKING:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
else:
    np = LazyModule("numpy")
    torch = LazyModule("torch")
    F = LazyModule("torch.nn.functional")
    nn = LazyModule("torch.nn")
    Tensor = Any  # in annotations only; never evaluated for its meaning

__all__ = ["F", "LazyModule", "Tensor", "nn", "np", "torch"]
