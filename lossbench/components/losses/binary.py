"""Losses for yes or no: one output per label, targets in [0, 1]."""

from lossbench.components.losses._probabilities import bounded_logs
from lossbench.components.vocabulary import Weights
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="zero_one",
    prediction="probabilities",
    kernel="torch.nn.functional.binary_cross_entropy",
    aliases=("binary_cross_entropy",),
)
def bce(prediction: Tensor, target: Tensor, *, weight: Weights | None = None) -> Tensor:
    """Surprise at a yes-or-no answer, in nats, from a probability.

    Formula:    -w (y ln p + (1 - y) ln(1 - p)), logarithms bounded below by -100
    Derivative: w (p - y) / (p (1 - p))
    Shapes:     prediction [N, ...] in [0, 1], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        weight: one weight per output (last dimension). The mean divides by the number of values.
    Note:       where a logarithm is bounded the gradient is 0; torch's kernel has +-1e12 there.
                bce_with_logits has no such corner.
    Reference:  Good, Rational Decisions, 1952.
    """
    yes, no = bounded_logs(prediction)
    values = -(target * yes + (1 - target) * no)
    return values if weight is None else values * weight


@loss(
    target="zero_one",
    prediction="logits",
    kernel="torch.nn.functional.binary_cross_entropy_with_logits",
    aliases=("bce_with_logits_loss", "sigmoid_cross_entropy"),
)
def bce_with_logits(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Weights | None = None,
    pos_weight: Weights | None = None,
) -> Tensor:
    """Surprise at a yes-or-no answer, in nats, when the sigmoid of the logit is believed.

    Formula:    w ((1 - y) ln(1 + e^x) + c y ln(1 + e^-x)), with x = prediction, c = pos_weight
    Derivative: w ((1 - y) sigmoid(x) - c y sigmoid(-x))
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        weight: one weight per output (last dimension). The mean divides by the number of values.
        pos_weight: one weight per output for its yes: above 1 it finds more, below 1 it errs less.
    Reference:  Cox, The Regression Analysis of Binary Sequences, 1958.
    """
    zero = torch.zeros_like(prediction)
    # logaddexp(0, x) = ln(1 + e^x) without overflow, and without the cancellation of x - x.
    yes = torch.logaddexp(zero, -prediction) * target
    if pos_weight is not None:
        yes = yes * pos_weight
    values = (1 - target) * torch.logaddexp(zero, prediction) + yes
    return values if weight is None else values * weight
