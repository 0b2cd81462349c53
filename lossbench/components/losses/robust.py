"""Losses for wrong labels: a sample that contradicts all others may not pull without bound."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from lossbench.components.declarations import Identity
from lossbench.components.losses._classes import class_dimension, pick
from lossbench.components.losses._probabilities import as_distribution, missing
from lossbench.components.vocabulary import NonNegative, PositiveInt, Probability
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

if TYPE_CHECKING:
    Matrix = Tensor
else:
    Matrix = tuple[tuple[Probability, ...], ...]


def _log_true(prediction: Tensor, target: Tensor) -> Tensor:
    """Return ln p_y, the logarithm of the probability of the true class."""
    return pick(torch.log_softmax(prediction, class_dimension(prediction)), target)


@loss(
    target="index",
    prediction="logits",
)
def mae_classification(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error of the probabilities: a wrong label costs 2 at most, and hardly pulls.

    Formula:    sum_c |[c = y] - p_c| = 2 (1 - p_y), with p = softmax(prediction)
    Derivative: by p_y: -2
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, 2]
    Note:       with many classes it learns slowly: the gradient is small where p_y is.
    Reference:  Ghosh, Kumar & Sastry, Robust Loss Functions under Label Noise for Deep Neural
                Networks, 2017.
    """
    return 2 * missing(_log_true(prediction, target))


@loss(
    target="index",
    prediction="logits",
    aliases=("gce", "categorical_generalized_cross_entropy"),
    identities=(Identity("mae_classification", when={"q": 1.0}, times=0.5),),
)
def generalized_cross_entropy(
    prediction: Tensor, target: Tensor, *, q: Annotated[float, Gt(0), Le(1)] = 0.7
) -> Tensor:
    """Between cross entropy (q to 0) and absolute error (q = 1): as robust as q is large.

    Formula:    (1 - p_y^q) / q, with p = softmax(prediction)
    Derivative: by p_y: -p_y^(q - 1)
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        q: how much less an unlikely label pulls than in cross entropy. Some libraries take 0.5.
    Note:       at most 1 / q.
    Reference:  Zhang & Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks
                with Noisy Labels, 2018.
    """
    return missing(q * _log_true(prediction, target)) / q


@loss(
    target="index",
    prediction="logits",
    identities=(Identity("mae_classification", when={"t": 1}, times=0.5),),
)
def taylor_cross_entropy(prediction: Tensor, target: Tensor, *, t: PositiveInt = 2) -> Tensor:
    """Cross entropy cut off behind the first terms of its series in 1 - p, so that it is bounded.

    Formula:    sum_{k=1..t} (1 - p_y)^k / k, with p = softmax(prediction)
    Derivative: by p_y: -sum_{k=1..t} (1 - p_y)^(k - 1)
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        t: how many terms: 1 is half the absolute error, many are cross entropy.
    Reference:  Feng et al., Can Cross Entropy Loss Be Robust to Label Noise?, 2020.
    """
    wrong = missing(_log_true(prediction, target))
    total = wrong
    for k in range(2, t + 1):
        total = total + wrong**k / k
    return total


@loss(
    target="index",
    prediction="logits",
    aliases=("sce",),
    identities=(
        Identity("cross_entropy", when={"alpha": 1.0, "beta": 0.0}),
        Identity("mae_classification", when={"alpha": 0.0, "beta": 0.5}),
    ),
)
def symmetric_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: NonNegative = 0.1,
    beta: NonNegative = 1.0,
    log_zero: Annotated[float, Le(0)] = -4.0,
) -> Tensor:
    """Cross entropy, and the same with prediction and label exchanged, which is bounded.

    Formula:    alpha (-ln p_y) + beta (-A) (1 - p_y), with p = softmax(prediction), A = log_zero
    Derivative: by p_y: -alpha / p_y + beta A
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: the weight of cross entropy; the paper takes 0.1 on CIFAR-10, 6 on CIFAR-100.
        beta: the weight of the reverse; the paper takes 1 on CIFAR-10, 0.1 on CIFAR-100.
        log_zero: what stands for ln 0, of the classes that the label denies.
    Reference:  Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, 2019.
    """
    log_p = _log_true(prediction, target)
    return -alpha * log_p - beta * log_zero * missing(log_p)


@loss(
    target="index",
    prediction="logits",
    aliases=("active_passive", "nce_rce"),
    identities=(
        Identity(
            "symmetric_cross_entropy", when={"alpha": 0.0}, knobs={"alpha": 0.0}
        ),
    ),
)  # fmt: skip
def normalized_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 1.0,
    log_zero: Annotated[float, Le(0)] = -4.0,
) -> Tensor:
    """Cross entropy as a share of what all labels would cost, with a passive loss beside it.

    Formula:    alpha ln p_y / sum_k ln p_k + beta (-A) (1 - p_y), with p = softmax(prediction),
                A = log_zero
    Derivative: by ln p_y: alpha (1 - share) / sum_k ln p_k + beta A p_y, share = ln p_y / sum
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: the weight of the active part, which lies between 0 and 1.
        beta: the weight of the passive part, the reverse cross entropy.
        log_zero: what stands for ln 0, of the classes that the label denies.
    Reference:  Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, 2020.
    """
    dim = class_dimension(prediction)
    all_costs = torch.log_softmax(prediction, dim).sum(dim)
    log_p = _log_true(prediction, target)
    return alpha * log_p / all_costs - beta * log_zero * missing(log_p)


def _number(value: Any, like: Tensor) -> Tensor:
    """Return a knob as a tensor without dimensions, of the dtype of another tensor."""
    return torch.zeros((), dtype=like.dtype, device=like.device) + value


def _tempered(exponent: Tensor, log_u: Tensor) -> Tensor:
    """Return the tempered logarithm (u^s - 1) / s from ln u, with s = 1 - t; ln u where s = 0."""
    plain = exponent == 0
    return torch.where(
        plain, log_u, torch.expm1(exponent * log_u) / torch.where(plain, 1.0, exponent)
    )


def _log_tempered_exp(exponent: Tensor, x: Tensor) -> Tensor:
    """Return ln of the tempered exponential [1 + s x]^(1 / s) for s x >= 0; x where s = 0."""
    plain = exponent == 0
    return torch.where(
        plain, x, torch.log1p(exponent * x) / torch.where(plain, 1.0, exponent)
    )  # fmt: skip


def tempered_log_softmax(prediction: Tensor, t2: Any, num_iters: int) -> Tensor:
    """Return the logarithms of the tempered softmax, normalised by fixed-point iterations.

    The gradient is that of the exact normalisation, whatever the number of iterations.
    """
    dim = class_dimension(prediction)
    s = 1 - _number(t2, prediction)
    top = prediction.detach().amax(dim, keepdim=True)
    below = (prediction - top).detach()
    scaled = below
    for _ in range(num_iters):
        total = torch.exp(_log_tempered_exp(s, scaled)).sum(dim, keepdim=True)
        scaled = below * total**s
    total = torch.exp(_log_tempered_exp(s, scaled)).sum(dim, keepdim=True)
    level = top - _tempered(s, -torch.log(total))
    # By the implicit function theorem the level moves with the escort distribution p^t / sum p^t.
    escort = torch.softmax((1 - s) * _log_tempered_exp(s, (prediction - level).detach()), dim)
    moved = (escort * (prediction - prediction.detach())).sum(dim, keepdim=True)
    return _log_tempered_exp(s, prediction - level - moved)


@loss(
    target=("index", "distribution"),
    prediction="logits",
    aliases=("bi_tempered_logistic",),
    detached="the gradient is that of the exact normalisation, which five iterations do not reach",
)
def bi_tempered(
    prediction: Tensor,
    target: Tensor,
    *,
    t1: Annotated[float, Ge(0), Le(1)],
    t2: Annotated[float, Ge(1)],
    num_iters: PositiveInt = 5,
    label_smoothing: Probability = 0.0,
) -> Tensor:
    """Cross entropy with two temperatures: one bounds the loss, one gives the softmax a heavy tail.

    Formula:    sum_c q_c (ln_t1 q_c - ln_t1 p_c) - (q_c^(2 - t1) - p_c^(2 - t1)) / (2 - t1), with
                ln_t u = (u^(1 - t) - 1) / (1 - t), p the tempered softmax [1 + (1 - t2) (x -
                level)]^(1 / (1 - t2)), q the target: [c = y], smoothed to 1 - s and s / (C - 1)
    Derivative: g_c - e_c sum_k g_k, with g = (p - q) p^(t2 - t1), e = p^t2 / sum_k p_k^t2
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        t1: the temperature of the logarithm; below 1 the loss is bounded.
        t2: the temperature of the softmax; above 1 its tail is heavy.
        num_iters: fixed-point iterations of the normalisation.
        label_smoothing: the share s that goes to the other classes.
    Note:       at t1 = t2 = 1 it is cross entropy less the target's entropy.
    Reference:  Amid et al., Robust Bi-Tempered Logistic Loss Based on Bregman Divergences, 2019.
    """
    dim = class_dimension(prediction)
    classes = prediction.shape[dim]
    q = as_distribution(target, prediction)
    share = label_smoothing / (classes - 1)
    q = (1 - classes * share) * q + share
    log_p = tempered_log_softmax(prediction, t2, num_iters)
    s = 1 - _number(t1, prediction)
    log_q = torch.log(torch.where(q > 0, q, 1.0))
    cost = q * (_tempered(s, log_q) - _tempered(s, log_p))
    lowered = (torch.where(q > 0, q, 0.0) ** (1 + s) - torch.exp((1 + s) * log_p)) / (1 + s)
    return (cost - lowered).sum(dim)


def _require_matrix(*, matrix: Any, kind: str) -> None:  # noqa: ARG001 - the contract passes every knob
    """Refuse a matrix whose rows are not distributions over as many classes as there are rows.

    Raises UsageError.
    """
    if isinstance(matrix, torch.Tensor):
        return
    for row, shares in enumerate(matrix):
        if len(shares) != len(matrix) or abs(sum(shares) - 1) > 1e-6:
            raise UsageError(
                f"row {row} of the noise matrix has {len(shares)} shares that add up to "
                f"{sum(shares):.6g}",
                hint="give one row per true class: the shares of the labels that it is seen under, "
                "as many as classes, adding up to 1",
            )


@loss(
    target="index",
    prediction="logits",
    check=_require_matrix,
    aliases=("forward_correction", "backward_correction"),
)
def loss_correction(
    prediction: Tensor,
    target: Tensor,
    *,
    matrix: Matrix,
    kind: Literal["forward", "backward"] = "forward",
) -> Tensor:
    """Cross entropy for labels that are known to be flipped, and how often into what.

    Formula:    forward: -ln (T^T p)_y; backward: (T^-1 l)_y with l_c = -ln p_c; p =
                softmax(prediction), T = matrix
    Derivative: forward: p_c - p_c T_cy / (T^T p)_y; backward: sum_k (T^-1)_yk (p - [c = k])
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        matrix: one row per true class: the shares of the labels that it is seen under.
        kind: forward corrects the prediction, backward the loss.
    Errors:     rows that do not add up to 1; a matrix that is not square.
    Reference:  Patrini et al., Making Deep Neural Networks Robust to Label Noise: A Loss Correction
                Approach, 2017.
    """
    dim = class_dimension(prediction)
    log_p = torch.log_softmax(prediction, dim).movedim(dim, -1)
    if kind == "backward":
        precise = torch.promote_types(matrix.dtype, torch.float32)  # there is no inverse in half
        inverse = torch.linalg.inv(matrix.to(precise)).to(matrix.dtype)
        return pick((-log_p @ inverse.mT).movedim(-1, dim), target)
    tiny = torch.finfo(prediction.dtype).tiny
    log_shares = torch.log(matrix.clamp(min=tiny))
    seen = torch.logsumexp(log_p.unsqueeze(-1) + log_shares, -2)
    return -pick(seen.movedim(-1, dim), target)
