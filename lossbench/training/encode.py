"""What stands between a dataset's targets and a loss: how many outputs, in which form.

One table (vocabulary.FITS) says which forms each kind of target can take; here the form is chosen
and made, and a loss that takes none of them is refused with the names of those that fit.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench import registry
from lossbench.components.declarations import LossFacts
from lossbench.components.vocabulary import FITS, Encoding, Target
from lossbench.errors import UsageError
from lossbench.registry import Entry
from lossbench.training.model import Heads

SMALLEST = torch.finfo(torch.float32).tiny

LABELS_END = -1
"""What fills a list of label indices behind its last one."""


def choose_heads(loss: Entry[LossFacts], knobs: dict[str, Any], target: Target) -> Heads:
    """Return the network's outputs and the target's form for this loss on this kind of target.

    Raises UsageError naming the losses that fit where this one does not.
    """
    facts = loss.facts
    encoding = next((form for form in facts.encodings if form in FITS[target.kind]), None)
    if encoding is None:
        fitting = [
            name
            for name, other in registry.loss.items()
            if set(other.facts.encodings) & set(FITS[target.kind])
        ]
        raise UsageError(
            f"loss '{loss.name}' wants {_listed(facts.encodings)} targets, "
            f"this dataset's are of kind {target.kind}",
            hint=f"losses that fit: {', '.join(fitting)}",
        )
    prediction = facts.prediction_with(knobs)
    kinds = (("prediction", prediction), *facts.heads.items())
    as_logarithm = facts.log_target is not None and bool(knobs[facts.log_target])
    width = output_width(target, encoding)
    if facts.outputs is not None:
        width = facts.outputs(target.size, **knobs)
    show = None if facts.show is None else partial(facts.show, **knobs)
    return Heads(kinds, width, encoding, as_logarithm, show)


def _listed(encodings: tuple[Encoding, ...]) -> str:
    return " or ".join(encodings)


def output_width(target: Target, encoding: Encoding) -> int:
    """Return how many outputs a head needs: two classes share one where their sign decides."""
    if target.kind == "objective":
        return 1 + target.size  # the value, then the point
    one_output = target.kind == "class" and encoding in ("zero_one", "plus_minus")
    return 1 if one_output and target.size == 2 else target.size


def encode(targets: Tensor, target: Target, heads: Heads) -> Tensor:
    """Return targets in the form that the loss wants, once for a whole split."""
    encoded = _encoded(targets, target, heads.encoding)
    # The logarithm of an impossible class is kept finite: its share in a loss is 0 all the same.
    return encoded.clamp(min=SMALLEST).log() if heads.log_target else encoded


def _encoded(targets: Tensor, target: Target, encoding: Encoding) -> Tensor:
    if encoding == "index" or target.kind in ("real", "count", "distribution", "objective"):
        return targets
    zero_one = targets
    if target.kind == "class":
        if output_width(target, encoding) == 1:
            zero_one = targets[:, None].float()
        else:
            zero_one = F.one_hot(targets, target.size).movedim(-1, 1).float()
    if encoding == "plus_minus":
        return 2 * zero_one - 1
    if encoding == "labels":
        return _label_lists(zero_one)
    return zero_one  # zero_one, and the distribution that is certain of one class


def _label_lists(zero_one: Tensor) -> Tensor:
    """Return the indices of the ones in each row, in order, padded with LABELS_END."""
    labels = zero_one.shape[1]
    index = torch.arange(labels, device=zero_one.device)
    first = torch.where(zero_one > 0, index, labels).sort(dim=1).values
    return torch.where(first < labels, first, LABELS_END)
