"""Losses that carry the Jaccard index itself to soft predictions: its Lovasz extension.

Errors are sorted, and each counts by what the Jaccard index loses when its pixel joins the
mistakes.
"""

from typing import Literal

from lossbench.components.losses._masks import DENSE, Activation, flat_pair
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _extension(errors: Tensor, mask: Tensor) -> Tensor:
    """Return the Lovasz extension of 1 - Jaccard along the last dimension.

    Equal errors may be taken in any order, so that the sort's own order of ties does not matter
    for the value; it is kept stable for the sake of the gradient.
    """
    ordered, order = errors.sort(dim=-1, descending=True, stable=True)
    truth = mask.gather(-1, order)
    whole = truth.sum(-1, keepdim=True)
    left = whole - truth.cumsum(-1)
    union = whole + (1 - truth).cumsum(-1)  # at least 1: either side adds a pixel
    lost = 1 - left / union
    step = torch.cat([lost[..., :1], lost.diff(dim=-1)], dim=-1)
    return (ordered * step).sum(-1)


def _grouped(x: Tensor, per_image: bool) -> Tensor:
    """Return [N, C, pixels] as it is, or all pixels of the batch as one image."""
    return x if per_image else x.transpose(0, 1).reshape(1, x.shape[1], -1)


@loss(
    masks=True,
    target=("index", "zero_one"),
    prediction="logits",
    dense=True,
    independent=False,
)
def lovasz_hinge(prediction: Tensor, target: Tensor, *, per_image: bool = True) -> Tensor:
    """The Jaccard index of masks, trained through the hinge of each pixel's margin.

    Formula:    sum_i max(0, e_i) g_i over pixels sorted by their error e = 1 - x (2 y - 1), with
                g_i what 1 - Jaccard grows by when pixel i joins the mistakes
    Derivative: -(2 y - 1) g_i at pixels within the margin, else 0
    Shapes:     prediction [N, C, d...] (margins), target [N, d...] or [N, C, d...] -> [N, C], or
                [1, C] over the whole batch
    Range:      [0, inf)
    Knobs:
        per_image: each image by itself, as the authors do for binary masks; else the whole batch
            as one image.
    Note:       for an empty mask it is the largest hinge of all pixels.
    Reference:  Berman, Rannen Triki & Blaschko, The Lovasz-Softmax Loss, 2018.
    """
    margins, y = flat_pair(prediction, target, "none")
    errors = torch.relu(1 - margins * (2 * y - 1))
    return _extension(_grouped(errors, per_image), _grouped(y, per_image))


@loss(masks=True, **DENSE, independent=False)
def lovasz_softmax(
    prediction: Tensor,
    target: Tensor,
    *,
    classes: Literal["present", "all"] = "present",
    per_image: bool = False,
    activation: Activation = "auto",
) -> Tensor:
    """The mean Jaccard index of the classes, trained through the errors of their probabilities.

    Formula:    mean over classes of sum_i e_i g_i over pixels sorted by e = |y - p|, with g_i what
                1 - Jaccard of the class grows by when pixel i joins the mistakes
    Derivative: by p: (1 - 2 y) g_i / the number of classes
    Shapes:     prediction [N, C, d...], target [N, d...] or [N, C, d...] -> [1], or [N] per image
    Range:      [0, 1]
    Knobs:
        classes: present takes the mean over the classes that occur, all over every one.
        per_image: each image by itself; else the whole batch as one image, as the authors do.
        activation: softmax, sigmoid or none; auto: softmax for indices, sigmoid for masks.
    Note:       0 where classes are to be present and none is.
    Reference:  Berman, Rannen Triki & Blaschko, The Lovasz-Softmax Loss, 2018.
    """
    p, y = (_grouped(x, per_image) for x in flat_pair(prediction, target, activation))
    each = _extension((y - p).abs(), y)
    if classes == "all":
        return each.mean(1)
    present = (y.sum(-1) > 0).to(each.dtype)
    return (each * present).sum(1) / present.sum(1).clamp(min=1)
