"""Losses with one learned point for each class, its center or proxy, that stands for its samples.

Predictions are embeddings [N, D], targets class indices [N].
"""

from lossbench.components.declarations import Identity
from lossbench.components.losses._similarity import (
    class_mask,
    cosines,
    log_one_plus,
    surprise,
)
from lossbench.components.losses.softmax_variants import CLASS_VECTORS
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor
from lossbench.registry import loss


@loss(target="index", prediction="embedding", parameters={"centers": CLASS_VECTORS})
def center(prediction: Tensor, target: Tensor, *, centers: Tensor) -> Tensor:
    """Draw each embedding to the center of its class, which is learned.

    Formula:    |f - c_y|^2 / 2, with f = prediction, c = centers
    Derivative: by f: f - c_y; by c_y: c_y - f
    Shapes:     prediction [N, D], centers [C, D], target [N] -> [N]
    Range:      [0, inf)
    Note:       alone it lets everything fall into one point: it is meant as a small part (0.003) of
                a softmax loss. The authors move c_y by alpha / (1 + n_y) times the sum of f - c_y
                over the n_y samples of the class: gradient descent on the sum of this loss at that
                rate.
    Reference:  Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition,
                2016.
    """
    return (prediction - centers[target]).square().sum(-1) / 2


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    identities=(Identity("normface", when={"scale": 10.0}, knobs={"scale": 20.0}),),
)
def proxy_nca(
    prediction: Tensor, target: Tensor, *, weight: Tensor, scale: Positive = 32.0
) -> Tensor:
    """Classify by the nearest proxy on the sphere.

    Formula:    -ln(e^(-s d_y^2) / sum_j e^(-s d_j^2)), with d_j the distance between the directions
                of prediction and weight_j
    Derivative: by d_j^2: s ([j = y] - p_j), with p the softmax of -s d^2
    Shapes:     prediction [N, D], weight [C, D] (the proxies), target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        scale: s. pytorch-metric-learning takes 1, later work 9 to 32.
    Note:       on the sphere d^2 = 2 - 2 cos, so it is normface with twice the scale. The first
                paper leaves the true proxy out of the sum; this is the later, bounded form.
    Reference:  Movshovitz-Attias et al., No Fuss Distance Metric Learning using Proxies, 2017; Teh,
                DeVries & Taylor, ProxyNCA++, 2020.
    """
    square = 2 - 2 * cosines(prediction, weight)
    return surprise(-scale * square, target)


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    whole_batch=True,
)
def proxy_anchor(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor,
    alpha: Positive = 32.0,
    margin: float = 0.1,
) -> Tensor:
    """Let each proxy be an anchor that draws its class in the batch and repels all others.

    Formula:    1/|P+| sum_{p in P+} ln(1 + sum_{x in X+} e^(-a (s - m))) +
                1/|P| sum_{p in P} ln(1 + sum_{x in X-} e^(a (s + m))), with s the cosine of x and
                p, P all proxies, P+ those whose class is in the batch, X+ its samples, X- the rest
    Derivative: by s: -a q+ / |P+| and a q- / |P|, with q the share in 1 + the sum
    Shapes:     prediction [N, D], weight [C, D] (the proxies), target [N] -> []
    Range:      [0, inf)
    Knobs:
        alpha: a, how sharply hard samples stand out.
        margin: m.
    Reference:  Kim et al., Proxy Anchor Loss for Deep Metric Learning, 2020.
    """
    cosine = cosines(weight, prediction)
    own = class_mask(target, len(weight)).mT
    pull = log_one_plus(-alpha * (cosine - margin), own)
    push = log_one_plus(alpha * (cosine + margin), ~own)
    return pull.sum() / own.any(1).sum() + push.mean()
