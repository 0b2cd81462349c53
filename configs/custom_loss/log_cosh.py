"""A loss of one's own: a function of prediction and target that returns unreduced values."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus


def log_cosh(prediction: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
    """Quadratic for small errors and linear for large ones, smooth everywhere.

    Formula:   scale ln cosh(r / scale), with r = prediction - target
    Reference: Green, Bayesian reconstructions from emission tomography data using a modified EM
               algorithm, 1990.
    """
    size = torch.abs(prediction - target) / scale
    # ln cosh s = s + ln(1 + e^(-2s)) - ln 2, which does not overflow where cosh does.
    return scale * (size + softplus(-2 * size) - math.log(2))
