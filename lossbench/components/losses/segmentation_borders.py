"""Losses of segmentation that look at borders, centre lines, or pixels and regions both.

Predictions [N, C, d...] are logits of masks (activation "none": probabilities p), targets y are
class indices [N, d...] or masks of zeros and ones [N, C, d...].
"""

from lossbench.components.losses._masks import (
    DENSE,
    Activation,
    border_distances,
    flat_pair,
    masks,
    probabilities,
    share,
    soft_skeleton,
)
from lossbench.components.losses._probabilities import power
from lossbench.components.vocabulary import (
    Decay,
    NonNegative,
    NonNegativeInt,
    Positive,
    Probability,
)
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(masks=True, **DENSE)
def boundary(prediction: Tensor, target: Tensor, *, activation: Activation = "auto") -> Tensor:
    """Probability times the distance to the true border: what lies far outside costs most.

    Formula:    p phi, phi the distance to the mask for pixels outside, minus (the distance to the
                outside - 1) for pixels inside
    Derivative: phi, by p
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C, d...]
    Range:      (-inf, inf)
    Knobs:
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
    Note:       0 for a mask that is empty or full, which has no border. Meant to be added to a loss
                of regions: alone it falls into an empty prediction.
    Reference:  Kervadec et al., Boundary Loss for Highly Unbalanced Segmentation, 2019.
    """
    y = masks(prediction, target)
    inside, outside = border_distances(y, prediction.dim() - 2)
    signed = outside - (inside - 1).clamp(min=0)
    return probabilities(prediction, target, activation) * signed.to(prediction.dtype)


@loss(
    masks=True,
    **DENSE,
)
def hausdorff_dt(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: Positive = 2.0,
    activation: Activation = "auto",
) -> Tensor:
    """Mistakes weighted by how far they lie from both borders: what the Hausdorff distance sees.

    Formula:    mean over pixels of (p - y)^2 (D_p^alpha + D_y^alpha), D the distance to the border
                of [p > 1/2] and of y
    Derivative: 2 (p - y) (D_p^alpha + D_y^alpha) / pixels, by p, the distances held fast
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]
    Range:      [0, inf)
    Knobs:
        alpha: how much more a far mistake weighs than a near one.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
    Note:       a mask that is empty or full has no border, and its distances are 0.
    Reference:  Karimi & Salcudean, Reducing the Hausdorff Distance in Medical Image Segmentation
                with Convolutional Neural Networks, 2020.
    """
    p, y = probabilities(prediction, target, activation), masks(prediction, target)
    spatial = prediction.dim() - 2
    weight = torch.zeros_like(p)
    for mask in (p.detach(), y):
        inside, outside = border_distances(mask, spatial)
        weight = weight + power(inside + outside, alpha).to(p.dtype)
    return (torch.square(p - y) * weight).flatten(2).mean(-1)


@loss(masks=True, **DENSE)
def cl_dice(
    prediction: Tensor,
    target: Tensor,
    *,
    iterations: NonNegativeInt = 3,
    smooth: NonNegative = 1.0,
    activation: Activation = "auto",
) -> Tensor:
    """For tubes and roads: is the centre line of each mask within the other? Gaps cost much.

    Formula:    1 - 2 T S / (T + S), T = (sum s_p y + smooth) / (sum s_p + smooth),
                S = (sum s_y p + smooth) / (sum s_y + smooth), s the soft skeletons
    Derivative: by the chain rule through minima and maxima over neighbours
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C], with one to
                three spatial dimensions
    Range:      [0, 1]
    Knobs:
        iterations: erosions; as many as the radius of the widest tube.
        smooth: added to numerators and denominators.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
    Reference:  Shit et al., clDice: A Novel Topology-Preserving Loss Function for Tubular Structure
                Segmentation, 2021.
    """
    p, y = probabilities(prediction, target, activation), masks(prediction, target)

    def within(line: Tensor, mask: Tensor) -> Tensor:
        inside, whole = ((x.flatten(2).sum(-1) + smooth) for x in (line * mask, line))
        return share(inside, whole)

    precision = within(soft_skeleton(p, iterations), y)
    recall = within(soft_skeleton(y, iterations), p)
    both = precision + recall
    nothing = both <= 0
    return 1 - torch.where(nothing, 0.0, 2 * precision * recall / torch.where(nothing, 1.0, both))


@loss(masks=True, **DENSE)
def unified_focal(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Probability = 0.5,
    delta: Probability = 0.6,
    gamma: Decay = 0.5,
    activation: Activation = "auto",
    eps: Positive = 1e-7,
) -> Tensor:
    """Focal cross entropy and focal Tversky in one, background and foreground treated unlike.

    Formula:    weight F + (1 - weight) T for each class, class 0 being the background:
                F = mean over pixels of (1 - delta) (1 - p)^gamma (-y ln p), of delta (-y ln p) for
                the others; T = t, and t^(1 - gamma) for the others,
                t = 1 - (TP + eps) / (TP + delta FN + (1 - delta) FP + eps)
    Derivative: by the chain rule; the background's easy pixels fade, the rare classes' do not
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [N, C]; one channel is
                taken as the foreground, and the rest as the background: [N, 2]
    Range:      [0, inf)
    Knobs:
        weight: the share of the focal cross entropy.
        delta: the weight of the foreground, and the price of what is missed.
        gamma: how strongly easy background fades and rare foreground is raised.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
        eps: probabilities keep this far from 0 and 1.
    Reference:  Yeung et al., Unified Focal Loss: Generalising Dice and Cross Entropy-Based Losses
                to Handle Class Imbalanced Medical Image Segmentation, 2022.
    """
    p, y = flat_pair(prediction, target, activation)
    if p.shape[1] == 1:
        p, y = (torch.cat([1 - x, x], dim=1) for x in (p, y))
    p = p.clamp(eps, 1 - eps)
    background = torch.arange(p.shape[1], device=p.device) == 0
    surprise = -y * torch.log(p)
    faded = (1 - delta) * power(1 - p, gamma) * surprise
    pixels = torch.where(background.unsqueeze(-1), faded, delta * surprise).mean(-1)
    both, missed, in_vain = (x.sum(-1) for x in (p * y, (1 - p) * y, p * (1 - y)))
    whole = both + delta * missed + (1 - delta) * in_vain
    lost = (1 - share(both + eps, whole + eps)).clamp(min=0)
    regions = torch.where(background, lost, power(lost.clamp(min=eps), 1 - gamma))
    return weight * pixels + (1 - weight) * regions
