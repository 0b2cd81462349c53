"""Cross entropies that ask for less, or more, than certainty: smoothed, soft, shaped, penalised."""

from lossbench.components.declarations import Identity
from lossbench.components.losses._classes import class_dimension
from lossbench.components.losses._probabilities import as_distribution, missing
from lossbench.components.losses.multiclass import cross_entropy
from lossbench.components.vocabulary import NonNegative, Positive, PositiveInt, Probability
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="index",
    prediction="logits",
    aliases=("label_smoothing",),
    identities=(
        Identity("cross_entropy", knobs={"label_smoothing": 0.1}),
        Identity("cross_entropy", when={"label_smoothing": 0.0}),
    ),
)
def label_smoothing_cross_entropy(
    prediction: Tensor, target: Tensor, *, label_smoothing: Probability = 0.1
) -> Tensor:
    """Cross entropy that never asks for certainty: a tenth of the target goes to all classes.

    Formula:    -sum_c q_c ln p_c, with p = softmax(prediction), q = (1 - s) [c = y] + s / C
    Derivative: p - q
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        label_smoothing: the share s of the target that is spread evenly over all classes.
    Reference:  Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016.
    """
    return cross_entropy(prediction, target, label_smoothing=label_smoothing).values


@loss(
    target="distribution",
    prediction="logits",
    identities=(Identity("cross_entropy"),),
)
def soft_target_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Cross entropy to a target that is itself a distribution: mixed, smoothed, or a teacher's.

    Formula:    -sum_c q_c ln p_c, with p = softmax(prediction), q = target
    Derivative: p - q, where q adds up to 1
    Shapes:     prediction [N, C, ...], target [N, C, ...] -> [N, ...]
    Range:      [0, inf)
    Reference:  Good, Rational Decisions, 1952.
    """
    return cross_entropy(prediction, target).values


@loss(
    target=("index", "distribution"),
    prediction="logits",
    aliases=("poly1", "poly_cross_entropy", "poly_loss_cross_entropy"),
    identities=(Identity("cross_entropy", when={"epsilon": 0.0}),),
)
def poly1_cross_entropy(prediction: Tensor, target: Tensor, *, epsilon: float = 1.0) -> Tensor:
    """Cross entropy whose first term, seen as a series in 1 - p, is made heavier.

    Formula:    -sum_c q_c ln p_c + epsilon sum_c q_c (1 - p_c), with p = softmax(prediction) and q
                the target
    Derivative: by p_y: -1 / p_y - epsilon
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        epsilon: what is added to the first coefficient; some libraries default to 2.
    Reference:  Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss
                Functions, 2022.
    """
    dim = class_dimension(prediction)
    log_p = torch.log_softmax(prediction, dim)
    believed = as_distribution(target, prediction)
    return (believed * (epsilon * missing(log_p) - log_p)).sum(dim)


@loss(
    target=("index", "distribution"),
    prediction="logits",
    identities=(Identity("cross_entropy", when={"beta": 0.0}),),
)
def confidence_penalty(prediction: Tensor, target: Tensor, *, beta: NonNegative = 0.1) -> Tensor:
    """Cross entropy that pays for doubt: being sure costs, also where one is right.

    Formula:    -sum_c q_c ln p_c + beta sum_c p_c ln p_c, with p = softmax(prediction), q the
                target
    Derivative: p_c - q_c + beta p_c (ln p_c - sum_k p_k ln p_k)
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        beta: what a nat of doubt is worth.
    Reference:  Pereyra et al., Regularizing Neural Networks by Penalizing Confident Output
                Distributions, 2017.
    """
    dim = class_dimension(prediction)
    log_p = torch.log_softmax(prediction, dim)
    return ((beta * torch.exp(log_p) - as_distribution(target, prediction)) * log_p).sum(dim)


@loss(
    inputs={"prediction": "logits", "target": "index"},
    whole_batch=True,
    ordered="the clean samples come first, then their variants in the same order",
    aliases=("augmix_cross_entropy",),
)
def jsd_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    num_splits: PositiveInt = 3,
    alpha: NonNegative = 12.0,
    label_smoothing: Probability = 0.1,
) -> Tensor:
    """Cross entropy on clean samples, and agreement with their augmented copies.

    Formula:    mean of the smoothed cross entropy of the first split + alpha times the mean over
                splits and samples of KL(p_s || m), with p_s = softmax of split s, m their mean,
                taken at least 1e-7
    Derivative: the cross entropy's in the first split, and of the divergence in all:
                alpha p_s (ln p_s - ln m - KL(p_s || m)) / (splits * N)
    Shapes:     prediction [S N, C] (S splits behind one another, the clean one first), target
                [S N], of which the first N are used -> []
    Range:      [0, inf), but for what the bound of 1e-7 takes away
    Knobs:
        num_splits: how many copies of the samples stand in the batch.
        alpha: the weight of the agreement.
        label_smoothing: the share of the target that is spread evenly over all classes.
    Errors:     a batch that the splits do not divide.
    Reference:  Hendrycks et al., AugMix: A Simple Data Processing Method to Improve Robustness and
                Uncertainty, 2020.
    """
    rows = prediction.shape[0]
    if rows % num_splits:
        raise UsageError(
            f"{num_splits} splits do not divide a batch of {rows}",
            hint="put the clean samples first, then each augmented copy of them, in one order",
        )
    each = rows // num_splits
    clean = cross_entropy(prediction[:each], target[:each], label_smoothing=label_smoothing)
    log_p = torch.log_softmax(prediction.unflatten(0, (num_splits, each)), 2)
    p = torch.exp(log_p)
    log_mean = torch.log(p.mean(0).clamp(min=1e-7, max=1.0))
    return clean.mean() + alpha * (p * (log_p - log_mean)).sum(2).mean()


@loss(inputs={"student": "logits", "teacher": "logits"}, aliases=("knowledge_distillation",))
def distillation_kl(student: Tensor, teacher: Tensor, *, temperature: Positive = 4.0) -> Tensor:
    """Nats lost by believing the student where the teacher is right, both softened.

    Formula:    T^2 sum_c q_c (ln q_c - ln p_c), with p = softmax(student / T),
                q = softmax(teacher / T), T = temperature
    Derivative: by the student T (p - q)
    Shapes:     student [N, C, ...], teacher [N, C, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        temperature: how soft both are made: the higher, the more the small probabilities count.
    Note:       T^2 keeps the size of the gradient as T grows. It is mostly mixed with the cross
                entropy to the labels.
    Reference:  Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    dim = class_dimension(student)
    log_p = torch.log_softmax(student / temperature, dim)
    log_q = torch.log_softmax(teacher / temperature, dim)
    return temperature**2 * (torch.exp(log_q) * (log_q - log_p)).sum(dim)
