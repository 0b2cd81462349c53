"""Losses of sequences whose labels come without their times."""

import math

from lossbench.components.samples import CLASSES, ROWS, Draw
from lossbench.components.vocabulary import NonNegativeInt, Terms
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

STEPS, LABELS = 8, 3
"""The size of the sequences that are drawn: long enough for a blank between all labels."""


def _sequences(draw: Draw) -> dict[str, Tensor]:
    """Draw sequences of several lengths, and labels of which some stand twice in a row."""
    rows = torch.arange(ROWS)
    # Further apart, torch's kernel loses the digits of its gradient in float32.
    scores = draw.real(STEPS, ROWS, CLASSES).clamp(-2, 2)
    return {
        "prediction": scores.log_softmax(2),
        "target": 2 + draw.labels(ROWS, LABELS, classes=CLASSES - 2),  # never the blank
        "input_lengths": STEPS - rows % 2,
        "target_lengths": LABELS - rows % (LABELS + 1),
    }


def _target_lengths(
    prediction: Tensor,
    target: Tensor,  # noqa: ARG001 - the contract passes all inputs
    input_lengths: Tensor,  # noqa: ARG001
    target_lengths: Tensor,
) -> Tensor:
    """Return what torch's mean divides each value by: the length of its target, at least 1."""
    return target_lengths.clamp(min=1).to(prediction.dtype)


def _behind(states: Tensor, steps: int, nothing: float) -> Tensor:
    """Return what was `steps` states before, `nothing` at the first ones."""
    return torch.nn.functional.pad(states[:, :-steps], (steps, 0), value=nothing)


@loss(
    inputs={
        "prediction": "log_probabilities",
        "target": "index",
        "input_lengths": "lengths",
        "target_lengths": "lengths",
    },
    kernel="torch.nn.functional.ctc_loss",
    prefer_formula="torch has no batching rule for its kernel: a fused group would loop over it",
    lengths=_target_lengths,
    independent=False,  # it is independent, but samples lie along the second dimension
    sample=_sequences,
)
def ctc(
    prediction: Tensor,
    target: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: NonNegativeInt = 0,
    zero_infinity: bool = False,
) -> Terms:
    """Surprise at a sequence of labels, whenever each of them comes.

    Formula:    -ln sum over all alignments of prod_t p_t(a_t): alignments repeat labels and put
                blanks between them, so that without repeats and blanks the target is left; p =
                softmax(prediction)
    Derivative: by the logits at t: p_t - the share of each class in the alignments at t
    Shapes:     prediction [T, N, C] (log-probabilities), target [N, S], input_lengths [N],
                target_lengths [N] -> [N]
    Range:      [0, inf]
    Knobs:
        blank: the class that stands for no label.
        zero_infinity: 0 in place of infinity, where a target is too long for its input.
    Note:       the mean divides each value by the length of its target first. The prediction is
                normalised once more, which changes nothing but gives the gradient of torch's own.
    Reference:  Graves et al., Connectionist Temporal Classification: Labelling Unsegmented Sequence
                Data with Recurrent Neural Networks, 2006.
    """
    log_p = torch.log_softmax(prediction, 2)
    # Finite, for the gradient of ln(e^-inf + e^-inf) is none; a path of it never wins.
    nothing = torch.finfo(log_p.dtype).min / 4
    blanks = torch.full_like(target, blank)
    classes = torch.stack([blanks, target.clamp(min=0)], 2).flatten(1)
    classes = torch.cat([classes, blanks[:, :1]], 1)  # blank, y1, blank, y2, ..., blank
    seen = log_p.gather(2, classes.expand(len(log_p), *classes.shape))
    place = torch.arange(classes.shape[1], device=target.device)
    differs = classes != torch.nn.functional.pad(classes[:, :-2], (2, 0), value=blank)
    skips = differs & (place % 2 == 1)
    paths = torch.where(place < 2, seen[0], nothing)
    for step in range(1, len(log_p)):
        jumped = torch.where(skips, _behind(paths, 2, nothing), nothing)
        come = torch.stack([paths, _behind(paths, 1, nothing), jumped]).logsumexp(0) + seen[step]
        paths = torch.where((step < input_lengths).unsqueeze(1), come, paths)
    last = 2 * target_lengths.unsqueeze(1)
    ends = (place == last) | (place == last - 1)
    values = -torch.where(ends, paths, nothing).logsumexp(1)
    impossible = values > -nothing / 2
    values = torch.where(impossible, 0.0 if zero_infinity else math.inf, values)
    lengths = _target_lengths(prediction, target, input_lengths, target_lengths)
    return Terms(values, lengths=lengths)
