"""Cross entropy with a margin on the angle: ArcFace and what came after it.

Predictions are features [N, D], compared with one learned vector for each class; where no class
vectors are given, they are the cosines [N, C] themselves. Targets are class indices [N].
"""

from lossbench.components.declarations import Identity, Parameter
from lossbench.components.losses._classes import pick
from lossbench.components.losses._similarity import (
    Angle,
    class_cosines,
    put,
    surprise,
    turned,
    unit,
)
from lossbench.components.losses.softmax_variants import CLASS_VECTORS
from lossbench.components.vocabulary import Decay, Positive, PositiveInt, Terms
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    identities=(Identity("normface", when={"margin": 0.0}, knobs={"scale": 64.0}),),
)
def arcface(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    scale: Positive = 64.0,
    margin: Angle = 0.5,
) -> Tensor:
    """Demand that the true class wins though its angle is made larger by a margin.

    Formula:    CE(s z, y) with z_y = cos(t_y + m), z_j = c_j otherwise; c are the cosines of
                features and class vectors, t their angles. Where t_y > pi - m, z_y = c_y - m sin m
    Derivative: by z: s (p - onehot(y)) with p = softmax(s z); dz_y / dc_y = sin(t_y + m) / sin t_y
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C]
    Range:      [0, inf)
    Knobs:
        scale: s.
        margin: m, in radians (28.6 degrees).
    Note:       cosines are kept 1e-7 away from -1 and 1, where the angle's derivative is infinite.
    Reference:  Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2019.
    """
    cosine = class_cosines(prediction, weight)
    return surprise(scale * put(cosine, target, turned(pick(cosine, target), margin)), target)


@loss(
    target="index",
    prediction="embedding",
    parameters={
        "weight": Parameter(
            shape=lambda outputs, classes, *, centers, **knobs: (classes, centers, outputs),  # noqa: ARG005
            initial=CLASS_VECTORS.initial,
        )
    },
)
def subcenter_arcface(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    centers: PositiveInt = 3,  # noqa: ARG001 - the shape of the weight is made from it
    scale: Positive = 64.0,
    margin: Angle = 0.5,
) -> Tensor:
    """arcface with several centers for each class: strays and noise find one of their own.

    Formula:    arcface of the cosines c_j = max_k W_jk f / (|W_jk| |f|)
    Derivative: as arcface, to the nearest center of each class alone
    Shapes:     prediction [N, D], weight [C, K, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C] or [N, C, K]
    Range:      [0, inf)
    Knobs:
        centers: K, the number of centers for each class; 1 is arcface.
        scale: as in arcface.
        margin: as in arcface.
    Reference:  Deng et al., Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web
                Faces, 2020.
    """
    if weight is None:
        each = prediction if prediction.dim() == 3 else prediction.unsqueeze(-1)
    else:
        each = torch.einsum("nd,ckd->nck", unit(prediction), unit(weight))
    return arcface(each.amax(-1), target, scale=scale, margin=margin)


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    state={"hardness": 0.0},
    independent=False,
    detached="the running mean of the true cosines carries no gradient",
)
def curricularface(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    hardness: Tensor,
    scale: Positive = 64.0,
    margin: Angle = 0.5,
    momentum: Decay = 0.99,
) -> Terms:
    """arcface that learns easy samples first and turns to the hard ones as it gets better.

    Formula:    CE(s z, y) with z_y as in arcface; z_j = c_j (t + c_j) where c_j > cos(t_y + m)
                (a hard negative), else c_j; t = momentum * t + (1 - momentum) * mean(c_y) starts
                at 0
    Derivative: by z: s (p - onehot(y)) with p = softmax(s z); t carries none
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C]
    Range:      [0, inf)
    Knobs:
        scale: s.
        margin: m, in radians.
        momentum: how much of t is kept at each step.
    Note:       t is updated with this batch before it is used, as the authors do.
    Reference:  Huang et al., CurricularFace: Adaptive Curriculum Learning Loss for Deep Face
                Recognition, 2020.
    """
    cosine = class_cosines(prediction, weight)
    own = pick(cosine, target)
    hardness = momentum * hardness + (1 - momentum) * own.detach().mean()
    hard = cosine > torch.cos(torch.acos(own.detach()) + margin).unsqueeze(1)
    rivals = torch.where(hard, cosine * (hardness + cosine), cosine)
    values = surprise(scale * put(rivals, target, turned(own, margin)), target)
    return Terms(values, state={"hardness": hardness})
