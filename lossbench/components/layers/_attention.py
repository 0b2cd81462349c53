"""The module of self-attention: torch's numbers and names of weights, noise of our own."""

import math

from lossbench.components.layers._dropout import Keep, rescaling
from lossbench.components.vocabulary import is_off
from lossbench.lazy import Tensor, nn, torch


class SelfAttention(nn.Module):
    """Lets every position of a sequence [N, channels, length] take from all others.

    The weights have the names and first values of `torch.nn.MultiheadAttention`, so that those of
    one can be loaded into the other.
    """

    def __init__(self, channels: int, heads: int, p: float | Tensor, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels)) if bias else None
        self.out_proj = nn.Linear(channels, channels, bias=bias)
        self.keep = Keep(p, "element")
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed sequence, [N, channels, length]."""
        samples, channels, length = x.shape
        sequence = x.transpose(1, 2)  # [N, length, channels]
        projected = nn.functional.linear(sequence, self.in_proj_weight, self.in_proj_bias)
        size = channels // self.heads
        parts = projected.view(samples, length, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # each [N, heads, length, size]
        shares = (query @ key.transpose(-1, -2) / math.sqrt(size)).softmax(-1)
        if self.training and not is_off(self.keep.p):
            shares = shares * (self.keep(shares) * rescaling(self.keep.p, shares.dtype))
        mixed = (shares @ value).transpose(1, 2).reshape(samples, length, channels)
        result: Tensor = self.out_proj(mixed).transpose(1, 2)
        return result
