"""Losses that compare two images by what a network sees in them.

The network stands outside: prediction and target are lists of its feature maps [N, C_l, H_l, W_l],
one for each layer. The usual ones are VGG16's relu1_2, relu2_2, relu3_3 and relu4_3, of images
normalised as ImageNet's.
"""

from collections.abc import Sequence

from lossbench.components.vocabulary import Weights
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _layers(
    prediction: Sequence[Tensor], target: Sequence[Tensor], weights: Tensor | None
) -> list[tuple[Tensor, Tensor, Tensor | float]]:
    """Return each layer's two maps and its weight.

    Raises UsageError where the layers, or the weights, are not as many.
    """
    if len(prediction) != len(target):
        raise UsageError(f"{len(prediction)} layers are compared with {len(target)}")
    if weights is not None and len(weights) != len(prediction):
        raise UsageError(
            f"{len(weights)} weights were given for {len(prediction)} layers",
            hint="give one weight per layer, in the order of the layers",
        )
    each: list[Tensor | float] = (
        [1.0] * len(prediction) if weights is None else list(weights.unbind())
    )
    return list(zip(prediction, target, each, strict=True))


@loss(
    inputs={"prediction": "features", "target": "features"},
    aliases=("content", "feature_reconstruction"),
)
def perceptual(
    prediction: Sequence[Tensor], target: Sequence[Tensor], *, weights: Weights | None = None
) -> Tensor:
    """Images are alike where a network that knows images sees the same in them.

    Formula:    sum_l w_l mean (F_l(x) - F_l(y))^2, the mean over channels and places of layer l
    Derivative: by F_l(x): 2 w_l (F_l(x) - F_l(y)) / (C_l H_l W_l)
    Shapes:     prediction, target lists of [N, C_l, ...] -> [N]
    Range:      [0, inf)
    Knobs:
        weights: one weight per layer; all 1 without them.
    Note:       whoever calls it brings the feature maps.
    Errors:     lists that are not equally long.
    Reference:  Johnson, Alahi & Fei-Fei, Perceptual Losses for Real-Time Style Transfer and
                Super-Resolution, 2016.
    """
    terms = [
        weight * torch.square(x - y).flatten(1).mean(1)
        for x, y, weight in _layers(prediction, target, weights)
    ]
    return torch.stack(terms).sum(0)


def _gram(features: Tensor) -> Tensor:
    """Return how strongly each two channels go together, [N, C, C]."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


@loss(inputs={"prediction": "features", "target": "features"}, aliases=("gram",))
def style(
    prediction: Sequence[Tensor], target: Sequence[Tensor], *, weights: Weights | None = None
) -> Tensor:
    """Images have one style where the same features go together, wherever they lie.

    Formula:    sum_l w_l |G_l(x) - G_l(y)|_F^2, G = F F^T / (C H W), F [C, H W] the maps of a layer
    Derivative: by F_l(x): 4 w_l (G_l(x) - G_l(y)) F_l(x) / (C_l H_l W_l)
    Shapes:     prediction, target lists of [N, C_l, H_l, W_l] -> [N]; the two images may differ in
                size
    Range:      [0, inf)
    Knobs:
        weights: one weight per layer; all 1 without them.
    Note:       whoever calls it brings the feature maps.
    Errors:     lists that are not equally long.
    Reference:  Gatys, Ecker & Bethge, Image Style Transfer Using Convolutional Neural Networks,
                2016.
    """
    terms = [
        weight * torch.square(_gram(x) - _gram(y)).sum((1, 2))
        for x, y, weight in _layers(prediction, target, weights)
    ]
    return torch.stack(terms).sum(0)
