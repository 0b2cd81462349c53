"""Contrastive losses of embeddings [N, D] with class indices [N]: one value for each anchor.

Every sample is an anchor; the others of its class are its positives, the rest its negatives.
Similarities are cosines.
"""

from lossbench.components.losses._similarity import (
    cosines,
    log_one_plus,
    masked_logsumexp,
    pair_masks,
    share,
)
from lossbench.components.vocabulary import Positive, Terms
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

LABELLED = {"embeddings": "embedding", "target": "index"}


@loss(inputs=LABELLED, independent=False)
def supcon(embeddings: Tensor, target: Tensor, *, temperature: Positive = 0.07) -> Terms:
    """Find all samples of the own class among the whole batch.

    Formula:    -1/|P| sum_{p in P} ln(e^(s_ip / T) / sum_{a != i} e^(s_ia / T)), with s the cosines
                and P the positives of anchor i
    Derivative: by s: (softmax_{a != i}(s_ia / T) - [a in P] / |P|) / T
    Shapes:     embeddings [N, D], target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        temperature: T. The paper also takes 0.1.
    Note:       the mean is over anchors that have a positive and a negative; without any it is 0.
                With one positive for each anchor it is nt_xent.
    Reference:  Khosla et al., Supervised Contrastive Learning, 2020.
    """
    scaled = cosines(embeddings, embeddings) / temperature
    alike, different = pair_masks(target)
    total = masked_logsumexp(scaled, alike | different)
    count = alike.sum(1).clamp(min=1)
    usable = alike.any(1) & different.any(1)
    mean = torch.where(alike, scaled, 0.0).sum(1) / count
    return Terms(torch.where(usable, total - mean, 0.0), share(usable, embeddings))


@loss(inputs=LABELLED, independent=False, forms=("nt_xent",))
def nt_xent_labels(embeddings: Tensor, target: Tensor, *, temperature: Positive = 0.07) -> Terms:
    """nt_xent with labels: find each sample of the own class among it and the other classes.

    Formula:    sum_{p in P} -ln(e^(s_ip / T) / (e^(s_ip / T) + sum_{n in N} e^(s_in / T))), with s
                the cosines, P the positives and N the negatives of anchor i
    Derivative: by s_ip: (q_ip - 1) / T; by s_in: sum_p q_in / T, with q the softmax of each term
    Shapes:     embeddings [N, D], target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        temperature: T.
    Note:       the mean is over pairs of an anchor and a positive. Other positives are left out of
                the denominator: in supcon they stay.
    Reference:  Chen et al., A Simple Framework for Contrastive Learning of Visual Representations,
                2020, in the form of the libraries optax and pytorch-metric-learning.
    """
    scaled = cosines(embeddings, embeddings) / temperature
    alike, different = pair_masks(target)
    against = masked_logsumexp(scaled, different).unsqueeze(1)
    usable = alike & different.any(1, keepdim=True)
    terms = torch.where(usable, torch.logaddexp(scaled, against) - scaled, 0.0)
    return Terms(terms.sum(1), _count(usable, embeddings))


def _count(pairs: Tensor, like: Tensor) -> Tensor:
    """Return how many pairs each anchor has, in the dtype of another tensor; never all 0."""
    counts = pairs.sum(1).to(like.dtype)
    return torch.where(pairs.any(), counts, torch.ones_like(counts))


@loss(
    inputs=LABELLED,
    independent=False,
    detached="the weights of the similarities carry no gradient",
)
def circle(
    embeddings: Tensor, target: Tensor, *, gamma: Positive = 80.0, margin: float = 0.4
) -> Terms:
    """Pull each similarity the harder the further it is from its best: decisions form a circle.

    Formula:    softplus(lse_N(g [s + m]+ (s - m)) + lse_P(-g [1 + m - s]+ (s - 1 + m))), with s the
                cosines, P the positives and N the negatives of an anchor, lse = ln sum exp
    Derivative: by s_n: z q_n g [s_n + m]+, by s_p: -z q_p g [1 + m - s_p]+, with q the softmax
                within N or P, z the sigmoid of the sum
    Shapes:     embeddings [N, D], target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        gamma: g, the scale. The paper takes 256 for faces.
        margin: m. The paper takes 0.25 for faces.
    Note:       the weights [...]+ carry no gradient. The mean is over anchors that have a positive
                and a negative; without any it is 0.
    Reference:  Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization,
                2020.
    """
    cosine = cosines(embeddings, embeddings)
    alike, different = pair_masks(target)
    fixed = cosine.detach()
    pull = -gamma * torch.relu(1 + margin - fixed) * (cosine - 1 + margin)
    push = gamma * torch.relu(fixed + margin) * (cosine - margin)
    total = masked_logsumexp(push, different) + masked_logsumexp(pull, alike)
    usable = alike.any(1) & different.any(1)
    values = torch.logaddexp(torch.zeros_like(total), total)
    return Terms(torch.where(usable, values, 0.0), share(usable, embeddings))


@loss(inputs=LABELLED, independent=False)
def multi_similarity(
    embeddings: Tensor,
    target: Tensor,
    *,
    alpha: Positive = 2.0,
    beta: Positive = 50.0,
    base: float = 0.5,
) -> Tensor:
    """Weigh each pair by its own similarity and by how it compares with the others of its anchor.

    Formula:    1/a ln(1 + sum_P e^(-a (s - l))) + 1/b ln(1 + sum_N e^(b (s - l))), with s the
                cosines, P the positives and N the negatives of an anchor
    Derivative: by s_p: -q_p, by s_n: q_n, with q = e^(...) / (1 + sum e^(...)) of its own sum
    Shapes:     embeddings [N, D], target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        alpha: a, how sharply the least similar positives stand out.
        beta: b, how sharply the most similar negatives stand out.
        base: l, the similarity that should part the two.
    Note:       the mean is over all samples. The authors also mine pairs; here all of them count.
    Reference:  Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric
                Learning, 2019.
    """
    cosine = cosines(embeddings, embeddings)
    alike, different = pair_masks(target)
    pull = log_one_plus(-alpha * (cosine - base), alike) / alpha
    return pull + log_one_plus(beta * (cosine - base), different) / beta
