"""Losses of segmentation that compare regions: how far a mask and its prediction overlap.

Predictions [N, C, d...] are logits of masks (activation "none": probabilities p), targets y are
class indices [N, d...] or masks of zeros and ones [N, C, d...]. Sums run over the pixels of one
sample and one class: I = sum p y, P = sum p, G = sum y; TP = I, FP = P - I, FN = G - I.
"""

import math
from typing import Literal

from lossbench.components.declarations import Identity
from lossbench.components.losses._masks import DENSE, Activation, counts, flat_pair, resolve, share
from lossbench.components.losses._probabilities import power
from lossbench.components.vocabulary import NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(masks=True, **DENSE)
def dice(
    prediction: Tensor,
    target: Tensor,
    *,
    activation: Activation = "auto",
    squared: bool = False,
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """The share of two masks, counted twice, that they do not have in common.

    Formula:    1 - (2 I + smooth_nr) / (P + G + smooth_dr); squared: P = sum p^2, G = sum y^2
    Derivative: by p: -(2 y (P + G) - 2 I) / (P + G)^2 (without smoothing), the same pull for every
                pixel of the mask, however large the mask is
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]
    Range:      (-inf, 1]; [0, 1] where smooth_nr <= smooth_dr
    Knobs:
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        squared: sums of squares in the denominator.
        smooth_nr: added to the numerator. An empty mask with an empty prediction then costs 0.
        smooth_dr: added to the denominator.
    Reference:  Milletari, Navab & Ahmadi, V-Net: Fully Convolutional Neural Networks for Volumetric
                Medical Image Segmentation, 2016.
    """
    p, y = flat_pair(prediction, target, activation)
    both = (p * y).sum(-1)
    if squared:
        p, y = p * p, y * y
    return 1 - share(2 * both + smooth_nr, p.sum(-1) + y.sum(-1) + smooth_dr)


@loss(masks=True, **DENSE, aliases=("soft_iou",))
def jaccard(
    prediction: Tensor,
    target: Tensor,
    *,
    activation: Activation = "auto",
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """The share of what two masks cover that they do not both cover: dice, stricter.

    Formula:    1 - (I + smooth_nr) / (P + G - I + smooth_dr)
    Derivative: by p: -(y U - I (1 - y)) / U^2, with U = P + G - I (without smoothing)
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]
    Range:      (-inf, 1]; [0, 1] where smooth_nr <= smooth_dr
    Knobs:
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        smooth_nr: added to the numerator. An empty mask with an empty prediction then costs 0.
        smooth_dr: added to the denominator.
    Note:       without smoothing, 2 d / (1 + d) of the dice loss d.
    Reference:  Rahman & Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image
                Segmentation, 2016.
    """
    p, y = flat_pair(prediction, target, activation)
    both = (p * y).sum(-1)
    return 1 - share(both + smooth_nr, p.sum(-1) + y.sum(-1) - both + smooth_dr)


@loss(
    masks=True,
    **DENSE,
    identities=(
        # The same quotient with both sides halved: half the smoothing.
        Identity("dice", knobs={"smooth_nr": 2e-5, "smooth_dr": 2e-5}),
        Identity("jaccard", when={"alpha": 1.0, "beta": 1.0}),
    ),
)
def tversky(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: NonNegative = 0.5,
    beta: NonNegative = 0.5,
    activation: Activation = "auto",
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """Dice with a price for each mistake: for what is covered in vain, and for what is missed.

    Formula:    1 - (TP + smooth_nr) / (TP + alpha FP + beta FN + smooth_dr)
    Derivative: by p: -(y D - TP (y + alpha (1 - y) - beta y)) / D^2, with D the denominator
                (without smoothing)
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]
    Range:      (-inf, 1]; [0, 1] where smooth_nr <= smooth_dr
    Knobs:
        alpha: the price of false positives.
        beta: the price of false negatives: 0.7 against 0.3 finds more of small lesions.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        smooth_nr: added to the numerator. An empty mask with an empty prediction then costs 0.
        smooth_dr: added to the denominator.
    Note:       alpha = beta = 1/2 is dice, alpha = beta = 1 is jaccard.
    Reference:  Salehi, Erdogmus & Gholipour, Tversky Loss Function for Image Segmentation Using 3D
                Fully Convolutional Deep Networks, 2017.
    """
    both, in_vain, missed = counts(prediction, target, activation)
    return 1 - share(both + smooth_nr, both + alpha * in_vain + beta * missed + smooth_dr)


@loss(
    masks=True,
    **DENSE,
    identities=(Identity("tversky", when={"gamma": 1.0}, knobs={"alpha": 0.3, "beta": 0.7}),),
)
def focal_tversky(
    prediction: Tensor,
    target: Tensor,
    *,
    gamma: Positive = 4 / 3,
    alpha: NonNegative = 0.3,
    beta: NonNegative = 0.7,
    activation: Activation = "auto",
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """A root of the Tversky loss: masks that are nearly right pull harder than under Tversky.

    Formula:    tversky^(1 / gamma), 0 where smoothing makes tversky negative
    Derivative: (1 / gamma) tversky^(1 / gamma - 1) times that of tversky; 0 at 0
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]
    Range:      [0, 1]
    Knobs:
        gamma: the order of the root; 1 is tversky, below 1 hard masks pull harder.
        alpha: the price of false positives.
        beta: the price of false negatives.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
    Reference:  Abraham & Khan, A Novel Focal Tversky Loss Function with Improved Attention U-Net
                for Lesion Segmentation, 2019.
    """
    plain = tversky(
        prediction,
        target,
        alpha=alpha,
        beta=beta,
        activation=activation,
        smooth_nr=smooth_nr,
        smooth_dr=smooth_dr,
    )
    return power(plain.clamp(min=0), 1 / gamma)


@loss(masks=True, **DENSE, identities=(Identity("dice"),))
def soft_f1(
    prediction: Tensor,
    target: Tensor,
    *,
    beta: Positive = 1.0,
    activation: Activation = "auto",
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """What is missing from the F score, with probabilities counted as parts of a pixel.

    Formula:    1 - ((1 + beta^2) TP + smooth_nr) / ((1 + beta^2) TP + FP + beta^2 FN + smooth_dr)
    Derivative: by p: -(1 + beta^2) (y D - TP) / D^2, with D = P + beta^2 G the denominator
                (without smoothing)
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]
    Range:      (-inf, 1]; [0, 1] where smooth_nr <= smooth_dr
    Knobs:
        beta: how many times as much recall matters as precision; 1 is dice.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        smooth_nr: added to the numerator. An empty mask with an empty prediction then costs 0.
        smooth_dr: added to the denominator.
    Reference:  van Rijsbergen, Information Retrieval, 1979.
    """
    both, in_vain, missed = counts(prediction, target, activation)
    right = (1 + beta * beta) * both
    return 1 - share(right + smooth_nr, right + in_vain + beta * beta * missed + smooth_dr)


@loss(masks=True, **DENSE)
def log_cosh_dice(
    prediction: Tensor,
    target: Tensor,
    *,
    activation: Activation = "auto",
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """The dice loss rounded at its floor: quadratic where masks nearly agree.

    Formula:    ln cosh(dice)
    Derivative: tanh(dice) times that of dice
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]
    Range:      [0, inf); at most 0.434 where smooth_nr <= smooth_dr
    Knobs:
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        smooth_nr: added to the numerator of dice.
        smooth_dr: added to its denominator.
    Reference:  Jadon, A Survey of Loss Functions for Semantic Segmentation, 2020.
    """
    lost = dice(prediction, target, activation=activation, smooth_nr=smooth_nr, smooth_dr=smooth_dr)
    return lost + torch.logaddexp(torch.zeros_like(lost), -2 * lost) - math.log(2)


@loss(masks=True, **DENSE)
def generalized_dice(
    prediction: Tensor,
    target: Tensor,
    *,
    weight_type: Literal["square", "simple", "uniform"] = "square",
    activation: Activation = "auto",
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """Dice over all classes at once, in which rare classes count as much as common ones.

    Formula:    1 - (2 sum_c w_c I_c + smooth_nr) / (sum_c w_c (P_c + G_c) + smooth_dr),
                w_c = 1 / G_c^2 (square), 1 / G_c (simple) or 1 (uniform)
    Derivative: by p of class c: -w_c (2 y D - S) / D^2, with S and D numerator and denominator
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N]
    Range:      (-inf, 1]; [0, 1] where smooth_nr <= smooth_dr
    Knobs:
        weight_type: how strongly a class is raised the rarer it is.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
    Note:       a class that is absent takes the largest weight of the others, and all have weight 1
                where none is present.
    Reference:  Sudre et al., Generalised Dice Overlap as a Deep Learning Loss Function for Highly
                Unbalanced Segmentations, 2017.
    """
    p, y = flat_pair(prediction, target, activation)
    size = y.sum(-1)
    absent = size <= 0
    weight = (
        torch.where(absent, 1.0, size) ** -{"square": 2, "simple": 1, "uniform": 0}[weight_type]
    )
    largest = torch.where(absent, 0.0, weight).amax(1, keepdim=True)
    weight = torch.where(absent, torch.where(largest > 0, largest, 1.0), weight)
    both = (weight * (p * y).sum(-1)).sum(1)
    whole = (weight * (p.sum(-1) + size)).sum(1)
    return 1 - share(2 * both + smooth_nr, whole + smooth_dr)


@loss(
    masks=True,
    **{name: value for name, value in DENSE.items() if name != "prediction_by_knobs"},
    aliases=("dice_ce",),
    identities=(
        Identity("dice", when={"lambda_ce": 0.0}),
        Identity("cross_entropy", when={"lambda_dice": 0.0, "activation": "softmax"}),
    ),
)
def combo(
    prediction: Tensor,
    target: Tensor,
    *,
    lambda_dice: NonNegative = 1.0,
    lambda_ce: NonNegative = 1.0,
    activation: Literal["auto", "softmax", "sigmoid"] = "auto",
    smooth_nr: NonNegative = 1e-5,
    smooth_dr: NonNegative = 1e-5,
) -> Tensor:
    """Dice for the shape of the mask and cross entropy for its pixels, added.

    Formula:    lambda_dice mean_c dice + lambda_ce mean over pixels of -sum_c y ln p;
                with a sigmoid of -y ln p - (1 - y) ln(1 - p), over pixels and classes
    Derivative: that of both by the logits; of cross entropy (p sum_c y - y) / pixels, with a
                sigmoid (p - y) / (pixels C)
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N]
    Range:      (-inf, inf); [0, inf) where smooth_nr <= smooth_dr
    Knobs:
        lambda_dice: the share of dice.
        lambda_ce: the share of cross entropy.
        activation: softmax or sigmoid; auto: softmax for indices, sigmoid for masks.
        smooth_nr: added to the numerator of dice.
        smooth_dr: added to its denominator.
    Reference:  Taghanaki et al., Combo Loss: Handling Input and Output Imbalance in Multi-Organ
                Segmentation, 2019.
    """
    region = dice(
        prediction, target, activation=activation, smooth_nr=smooth_nr, smooth_dr=smooth_dr
    )
    _, y = flat_pair(prediction, target, "none")
    logits = prediction.reshape(y.shape)
    if resolve(activation, prediction, target) == "softmax":
        surprise = -(y * logits.log_softmax(1)).sum(1).mean(-1)
    else:
        zero = torch.zeros_like(logits)
        surprise = (torch.logaddexp(zero, logits) - y * logits).mean((1, 2))
    return lambda_dice * region.mean(1) + lambda_ce * surprise
