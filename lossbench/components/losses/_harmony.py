"""Gradient harmonizing: weights that give every size of gradient the same say."""

from lossbench.lazy import Tensor, torch


def harmony(
    size: Tensor, used: Tensor, running_counts: Tensor, bins: int, momentum: float
) -> tuple[Tensor, Tensor]:
    """Return a weight for each gradient, by how common its size is, and the new running counts.

    Sizes lie in [0, 1], in one of `bins` equal bins; only those that are `used` count. A weight is
    total / (count of its bin * number of bins that are not empty). Empty bins keep their counts.
    """
    edges = torch.arange(bins + 1, device=size.device) / bins
    last = torch.cat([edges[1:-1], edges[-1:] + 1e-6])  # so that a gradient of 1 lies in a bin
    sorted_by = size.to(edges.dtype).unsqueeze(-1)
    within = (sorted_by >= edges[:-1]) & (sorted_by < last) & used.unsqueeze(-1)
    counts = within.flatten(0, -2).sum(0).to(running_counts.dtype)
    filled = counts > 0
    averaged = momentum * running_counts + (1 - momentum) * counts
    running = torch.where(filled, averaged, running_counts)
    shares = torch.where(filled, running, 1.0) * filled.sum()
    per_bin = torch.where(filled, used.sum() / shares, 0.0)
    weight = torch.where(within, per_bin, 0.0).sum(-1).to(size.dtype)
    return weight, running.detach()
