"""Activations whose values depend on their neighbours along a dimension: shares of a whole.

`dim` counts as in torch, the batch being dimension 0; negative ones count from the end.
"""

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

INFINITY = float("inf")


def _relative(x: Tensor, dim: int) -> Tensor:
    """Subtract the maximum: the exponentials then cannot overflow, and their ratios are the same.

    It is detached because the result does not depend on what is subtracted.
    """
    return x - x.amax(dim, keepdim=True).detach()


@activation(kernel="torch.nn.functional.softmax", range=(0.0, 1.0), elementwise=False)
def softmax(x: Tensor, *, dim: int = -1) -> Tensor:
    """Turn scores into probabilities: positive, adding up to 1, the largest score first.

    Formula:    p_i = e^(x_i) / sum_k e^(x_k)
    Derivative: d p_i / d x_j = p_i ([i = j] - p_j)
    Shapes:     [...] -> [...]
    Range:      (0, 1)
    Knobs:
        dim: the dimension along which the result adds up to 1.
    Reference:  Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs,
                with Relationships to Statistical Pattern Recognition, 1990.
    """
    exponentials = torch.exp(_relative(x, dim))
    return exponentials / exponentials.sum(dim, keepdim=True)


@activation(kernel="torch.nn.functional.softmin", range=(0.0, 1.0), elementwise=False)
def softmin(x: Tensor, *, dim: int = -1) -> Tensor:
    """Softmax of the negative: the smallest score gets the largest probability.

    Formula:    p_i = e^(-x_i) / sum_k e^(-x_k)
    Derivative: d p_i / d x_j = -p_i ([i = j] - p_j)
    Shapes:     [...] -> [...]
    Range:      (0, 1)
    Knobs:
        dim: the dimension along which the result adds up to 1.
    Reference:  Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs,
                with Relationships to Statistical Pattern Recognition, 1990.
    """
    exponentials = torch.exp(_relative(-x, dim))
    return exponentials / exponentials.sum(dim, keepdim=True)


@activation(kernel="torch.nn.functional.log_softmax", range=(-INFINITY, 0.0), elementwise=False)
def log_softmax(x: Tensor, *, dim: int = -1) -> Tensor:
    """The logarithm of softmax: log-probabilities that never underflow.

    Formula:    x_i - ln sum_k e^(x_k)
    Derivative: d f_i / d x_j = [i = j] - p_j, with p = softmax(x)
    Shapes:     [...] -> [...]
    Range:      (-inf, 0]
    Knobs:
        dim: the dimension along which the exponentials of the result add up to 1.
    Reference:  Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs,
                with Relationships to Statistical Pattern Recognition, 1990.
    """
    relative = _relative(x, dim)
    return relative - torch.exp(relative).sum(dim, keepdim=True).log()


@activation(
    range=(0.0, 1.0), elementwise=False, identities=(Identity("softmax", knobs={"dim": 1}),)
)
def softmax2d(x: Tensor) -> Tensor:
    """Softmax over the channels of an image: each position gets a distribution of its own.

    Formula:    p_c = e^(x_c) / sum_k e^(x_k), at every position
    Derivative: d p_i / d x_j = p_i ([i = j] - p_j)
    Shapes:     [N, C, H, W] -> [N, C, H, W]
    Range:      (0, 1)
    Note:       softmax with dim = 1. The batch is always there; torch also takes [C, H, W].
    Reference:  Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs,
                with Relationships to Statistical Pattern Recognition, 1990.
    """
    exponentials = torch.exp(_relative(x, 1))
    return exponentials / exponentials.sum(1, keepdim=True)


def _ranked(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return x in falling order along `dim`, and the ranks 1, 2, ... shaped to broadcast."""
    shape = [1] * x.dim()
    shape[dim] = -1
    ranks = torch.arange(1, x.shape[dim] + 1, device=x.device, dtype=x.dtype).reshape(shape)
    return x.sort(dim=dim, descending=True).values, ranks


def _positive(x: Tensor) -> Tensor:
    """Return max(x, 0); a NaN, which fails the comparison, stays one, and -inf becomes 0."""
    return torch.where(x <= 0, 0.0, x)


@activation(range=(0.0, 1.0), elementwise=False)
def sparsemax(x: Tensor, *, dim: int = -1) -> Tensor:
    """The distribution closest to the scores: small scores get exactly 0.

    Formula:    p_i = max(x_i - tau, 0), with tau such that the p_i add up to 1
    Derivative: d p_i / d x_j = s_i ([i = j] - s_j / |S|), with s_i = 1 on the support S (where
                p_i > 0), else 0
    Shapes:     [...] -> [...]
    Range:      [0, 1]
    Knobs:
        dim: the dimension along which the result adds up to 1.
    Note:       the Euclidean projection of the scores on the simplex.
    Reference:  Martins & Astudillo, From Softmax to Sparsemax: A Sparse Model of Attention and
                Multi-Label Classification, 2016.
    """
    x = _relative(x, dim)
    # The support is the same for all inputs nearby, so only what is computed on it has a gradient.
    ranked, ranks = _ranked(x.detach(), dim)
    inside = ranked * ranks > ranked.cumsum(dim) - 1
    lowest = torch.where(inside, ranked, INFINITY).amin(dim, keepdim=True)
    support = x.detach() >= lowest
    size = support.sum(dim, keepdim=True)
    tau = (torch.where(support, x, 0.0).sum(dim, keepdim=True) - 1) / size
    return _positive(x - tau)


@activation(range=(0.0, 1.0), elementwise=False)
def entmax15(x: Tensor, *, dim: int = -1) -> Tensor:
    """Half way between softmax and sparsemax: exact zeros, but a smooth way there.

    Formula:    p_i = max(x_i / 2 - tau, 0)^2, with tau such that the p_i add up to 1
    Derivative: d p_i / d x_j = u_i [i = j] - u_i u_j / sum_k u_k, with u_i = sqrt(p_i)
    Shapes:     [...] -> [...]
    Range:      [0, 1]
    Knobs:
        dim: the dimension along which the result adds up to 1.
    Reference:  Peters, Niculae & Martins, Sparse Sequence-to-Sequence Models, 2019.
    """
    x = _relative(x, dim) / 2
    ranked, ranks = _ranked(x.detach(), dim)
    mean = ranked.cumsum(dim) / ranks
    spread = (ranked * ranked).cumsum(dim) - ranks * mean * mean
    taus = mean - torch.sqrt(((1 - spread) / ranks).clamp(min=0))
    lowest = torch.where(taus <= ranked, ranked, INFINITY).amin(dim, keepdim=True)
    support = x.detach() >= lowest
    size = support.sum(dim, keepdim=True)
    # On the support (x - tau)^2 adds up to 1, which is a quadratic equation for tau.
    kept = torch.where(support, x, 0.0)
    middle = kept.sum(dim, keepdim=True) / size
    around = (torch.where(support, kept - middle, 0.0) ** 2).sum(dim, keepdim=True)
    tau = middle - torch.sqrt((1 - around) / size)
    return _positive(x - tau) ** 2


@activation(
    range=(0.0, 1.0),
    elementwise=False,
    noise="uniform",
    surrogate=("hard",),
    identities=(Identity("softmax", when={"tau": 1.0}),),
)
def gumbel_softmax(
    x: Tensor,
    *,
    uniform: Tensor | None = None,
    tau: Positive = 1.0,
    hard: bool = False,
    dim: int = -1,
) -> Tensor:
    """A random choice that gradients can pass: the winner is drawn with its softmax probability.

    Formula:    softmax((x + g) / tau), with g = -ln(-ln u) for u drawn evenly from (0, 1) in
                training; in evaluation g = 0
    Derivative: d p_i / d x_j = p_i ([i = j] - p_j) / tau
    Shapes:     [...] -> [...]
    Range:      (0, 1)
    Knobs:
        tau: the temperature; towards 0 the result is the winner alone.
        hard: give 1 for the winner and 0 for the others, with the gradient of the soft values.
        dim: the dimension along which the result adds up to 1.
    Note:       torch's function draws in evaluation too. From Python, `uniform=torch.rand_like(x)`
                draws.
    Reference:  Jang, Gu & Poole, Categorical Reparameterization with Gumbel-Softmax, 2017.
    """
    scores = x if uniform is None else x - torch.log(-torch.log(uniform)).to(x.dtype)
    exponentials = torch.exp(_relative(scores / tau, dim))
    soft = exponentials / exponentials.sum(dim, keepdim=True)
    if not hard:
        return soft
    won = torch.zeros_like(x).scatter(dim, soft.argmax(dim, keepdim=True), 1.0)
    return won - soft.detach() + soft
