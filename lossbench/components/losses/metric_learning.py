"""Losses that learn a distance: alike samples close together, unlike ones a margin apart.

Distances are Euclidean, between the embeddings as they are. With labels, all pairs and triplets of
a batch are formed; what does not count has the value 0 and no share in the mean.
"""

from typing import Annotated, Literal

from annotated_types import Gt, Lt

from lossbench.components.losses._similarity import (
    log_one_plus,
    masked_largest,
    masked_least,
    masked_logsumexp,
    pair_masks,
    root,
    share,
    squared_distances,
    unit,
)
from lossbench.components.samples import CLASSES, ROWS, Draw
from lossbench.components.vocabulary import NonNegative, Terms
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

LABELLED = {"embeddings": "embedding", "target": "index"}
Degrees = Annotated[float, Gt(0), Lt(90)]


def _pairs(draw: Draw) -> dict[str, Tensor]:
    """Draw pairs, of which each is alike or not."""
    return {
        "input1": draw.real(ROWS, CLASSES),
        "input2": draw.real(ROWS, CLASSES),
        "target": draw.zero_one(ROWS),
    }


@loss(
    inputs={"input1": "embedding", "input2": "embedding", "target": "zero_one"},
    sample=_pairs,
)
def contrastive(
    input1: Tensor, input2: Tensor | None, target: Tensor, *, margin: NonNegative = 1.0
) -> Tensor:
    """Draw alike pairs together, and push unlike ones apart until a margin lies between them.

    Formula:    y d^2 + (1 - y) max(0, margin - d)^2, with d = |input1 - input2|
    Derivative: by d: 2 y d - 2 (1 - y) max(0, margin - d); the direction of d at 0 is none
    Shapes:     input1 [N, D], input2 [N, D], target [N] (1: alike, 0: not) -> [N]; without input2,
                input1 are the distances [N] themselves
    Range:      [0, inf)
    Knobs:
        margin: the distance beyond which unlike pairs are far enough apart.
    Note:       y = 1 means alike, and there is no factor of 1/2; the paper has both the other way.
    Reference:  Hadsell, Chopra & LeCun, Dimensionality Reduction by Learning an Invariant Mapping,
                2006.
    """
    if input2 is None:
        square, distance = input1.square(), input1
    else:
        square = (input1 - input2).square().sum(-1)
        distance = root(square)
    target = target.to(square.dtype)
    return target * square + (1 - target) * torch.relu(margin - distance).square()


def _hinge(difference: Tensor, margin: float, soft: bool) -> Tensor:
    """Return max(0, d + margin), or its smooth twin ln(1 + e^d), which has no margin."""
    if soft:
        return torch.logaddexp(torch.zeros_like(difference), difference)
    return torch.relu(difference + margin)


@loss(inputs=LABELLED, independent=False, forms=("triplet_margin",))
def triplet(
    embeddings: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    mining: Literal["all", "hard", "semi_hard"] = "all",
    soft: bool = False,
    squared: bool = False,
) -> Terms:
    """Keep each sample closer to its own class than to any other, by a margin.

    Formula:    max(0, d_ap - d_an + margin) for anchor a, positive p, negative n; d are distances
    Derivative: by d_ap: 1, by d_an: -1, where the loss is positive
    Shapes:     embeddings [N, D], target [N] -> [N, N, N] (all: anchor, positive, negative),
                [N, N] (semi_hard: anchor, positive) or [N] (hard)
    Range:      [0, inf)
    Knobs:
        margin: by how much the negative must be further away. FaceNet takes 0.2.
        mining: all triplets; or for each anchor the farthest positive and the nearest negative
            (hard); or for each anchor and positive the nearest negative that is farther than the
            positive, and if there is none, the farthest (semi_hard).
        soft: ln(1 + e^(d_ap - d_an)) in place of the hinge; it has no margin.
        squared: compare squared distances.
    Note:       the mean is over triplets, pairs or anchors that exist; without any it is 0. For
                single triplets: triplet_margin.
    Reference:  Schroff, Kalenichenko & Philbin, FaceNet: A Unified Embedding for Face Recognition
                and Clustering, 2015; Hermans, Beyer & Leibe, In Defense of the Triplet Loss for
                Person Re-Identification, 2017.
    """
    square = squared_distances(embeddings, embeddings)
    distance = square if squared else root(square)
    alike, different = pair_masks(target)
    if mining == "hard":
        usable = alike.any(1) & different.any(1)
        gap = masked_largest(distance, alike) - masked_least(distance, different)
    elif mining == "semi_hard":
        usable = alike & different.any(1, keepdim=True)
        # [anchor, positive, negative]: negatives that are farther than the positive.
        farther = different.unsqueeze(1) & (distance.unsqueeze(1) > distance.unsqueeze(2))
        each = distance.unsqueeze(1).expand(farther.shape)
        farthest = masked_largest(distance, different).unsqueeze(1)
        gap = distance - torch.where(farther.any(-1), masked_least(each, farther), farthest)
    else:
        usable = alike.unsqueeze(2) & different.unsqueeze(1)
        gap = distance.unsqueeze(2) - distance.unsqueeze(1)
    return Terms(torch.where(usable, _hinge(gap, margin, soft), 0.0), share(usable, embeddings))


@loss(inputs=LABELLED, independent=False, aliases=("lifted_struct",))
def lifted_structure(embeddings: Tensor, target: Tensor, *, margin: float = 1.0) -> Terms:
    """Hold each positive pair against all negatives of both its ends at once.

    Formula:    max(0, d_ij + ln(sum_k e^(m - d_ik) + sum_l e^(m - d_jl)))^2 / 2 for each pair
                i < j of one class, with k and l the negatives of i and j, d the distances
    Derivative: by d_ij: the positive part J of the bracket; by d_ik: -J q_ik, with q the softmax
                over all the negatives
    Shapes:     embeddings [N, D], target [N] -> [N, N], 0 but where i < j are of one class
    Range:      [0, inf)
    Knobs:
        margin: m.
    Note:       the mean is over positive pairs. Without any, or any negative, it is 0.
    Reference:  Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, 2016.
    """
    distance = root(squared_distances(embeddings, embeddings))
    alike, different = pair_masks(target)
    against = masked_logsumexp(margin - distance, different)
    joined = torch.logaddexp(against.unsqueeze(0), against.unsqueeze(1))
    usable = alike.triu(1) & different.any(1, keepdim=True)
    values = torch.relu(distance + joined).square() / 2
    return Terms(torch.where(usable, values, 0.0), share(usable, embeddings))


def _npairs(anchor: Tensor, positive: Tensor | None, alike: Tensor, l2_reg: float) -> Tensor:
    """Return the cross entropy [N] of all dot products with the shares of alike samples."""
    logits = anchor if positive is None else anchor @ positive.mT
    wanted = alike / alike.sum(1, keepdim=True).clamp(min=1)
    values = -(wanted * torch.log_softmax(logits, 1)).sum(1)
    if positive is None:
        return values
    return values + l2_reg * (anchor.square().sum(1) + positive.square().sum(1)) / 4


@loss(inputs={"anchor": "embedding", "positive": "embedding", "target": "index"}, independent=False)
def npairs(
    anchor: Tensor, positive: Tensor | None, target: Tensor, *, l2_reg: NonNegative = 0.0
) -> Tensor:
    """Tell the positive of each anchor from the positives of all others.

    Formula:    -sum_j q_ij ln softmax_j(a_i . p_j) + l2_reg (|a_i|^2 + |p_i|^2) / 4, with q_ij
                equal for all j of the class of i, and 0 for others
    Derivative: by a_i . p_j: softmax_j - q_ij
    Shapes:     anchor [N, D], positive [N, D], target [N] (the class of each pair) -> [N]; without
                positive, anchor are the dot products [N, N] themselves
    Range:      [0, inf)
    Knobs:
        l2_reg: keeps the embeddings short, for plain dot products grow with them. The paper takes
            0.002.
    Note:       with a class of its own for each pair q is the identity, as in the paper.
    Reference:  Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, 2016.
    """
    alike = (target.unsqueeze(0) == target.unsqueeze(1)).to(anchor.dtype)
    return _npairs(anchor, positive, alike, l2_reg)


@loss(
    inputs={"anchor": "embedding", "positive": "embedding", "target": "zero_one"},
    independent=False,
)
def npairs_multilabel(
    anchor: Tensor, positive: Tensor | None, target: Tensor, *, l2_reg: NonNegative = 0.0
) -> Tensor:
    """npairs for samples with several labels: pairs are alike by the number that they share.

    Formula:    as npairs, with q_ij the number of labels that i and j share, divided by its sum
                over j
    Derivative: by a_i . p_j: softmax_j - q_ij
    Shapes:     anchor [N, D], positive [N, D], target [N, L] of zeros and ones -> [N]; without
                positive, anchor are the dot products [N, N] themselves
    Range:      [0, inf)
    Knobs:
        l2_reg: as in npairs.
    Note:       a pair without any label costs nothing but its length.
    Reference:  Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, 2016, in
                the form of TensorFlow Addons.
    """
    labels = target.to(anchor.dtype)
    return _npairs(anchor, positive, labels @ labels.mT, l2_reg)


@loss(inputs=LABELLED, independent=False)
def angular(embeddings: Tensor, target: Tensor, *, alpha: Degrees = 40.0) -> Terms:
    """Bound the angle at the negative of each triangle of anchor, positive and negative.

    Formula:    ln(1 + sum_n e^(4 tan^2(alpha) (a + p) . n - 2 (1 + tan^2(alpha)) a . p)) for each
                anchor a and positive p, over all negatives n; all are directions, u / |u|
    Derivative: by each exponent: its share in 1 + the sum
    Shapes:     embeddings [N, D], target [N] -> [N, N], 0 but at pairs of anchor and positive
    Range:      [0, inf)
    Knobs:
        alpha: the largest angle at the negative, in degrees. The paper takes 36 to 55.
    Note:       the mean is over pairs of anchor and positive. An angle does not depend on scale.
    Reference:  Wang et al., Deep Metric Learning with Angular Loss, 2017.
    """
    direction = unit(embeddings)
    dots = direction @ direction.mT
    alike, different = pair_masks(target)
    tangent = torch.tan(torch.deg2rad(torch.zeros_like(dots) + alpha)).square()
    # [anchor, positive, negative]
    toward = dots.unsqueeze(1) + dots.unsqueeze(0)
    exponents = 4 * tangent * toward - (2 * (1 + tangent) * dots).unsqueeze(2)
    usable = alike & different.any(1, keepdim=True)
    values = log_one_plus(exponents, different.unsqueeze(1).expand(exponents.shape))
    return Terms(torch.where(usable, values, 0.0), share(usable, embeddings))


@loss(name="margin", inputs=LABELLED, independent=False)
def margin_between_pairs(
    embeddings: Tensor, target: Tensor, *, margin: float = 0.2, beta: float = 1.2
) -> Terms:
    """Keep alike pairs below one distance and unlike ones above it, with a margin on both sides.

    Formula:    max(0, m + d - b) for pairs of one class, max(0, m - d + b) for others, with d the
                distance between the directions u / |u| of both
    Derivative: by d: 1 for pairs of one class, -1 for others, where the loss is positive
    Shapes:     embeddings [N, D], target [N] -> [N, N], 0 on the diagonal
    Range:      [0, inf)
    Knobs:
        margin: m.
        beta: b, the distance that parts alike from unlike.
    Note:       the mean is over pairs that cost something, as in the paper. The paper also draws
                negatives by their distance, and may learn b; here all pairs count, and b is fixed.
    Reference:  Wu et al., Sampling Matters in Deep Embedding Learning, 2017.
    """
    direction = unit(embeddings)
    distance = root(squared_distances(direction, direction))
    alike, different = pair_masks(target)
    beyond = torch.where(alike, distance - beta, beta - distance)
    values = torch.where(alike | different, torch.relu(margin + beyond), 0.0)
    return Terms(values, share(values.detach() > 0, embeddings))
