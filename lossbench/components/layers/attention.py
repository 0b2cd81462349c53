"""Attention: positions of a sequence that look at each other."""

from lossbench.components.layers._shapes import require
from lossbench.components.modules import Shape
from lossbench.components.vocabulary import PositiveInt, Probability
from lossbench.errors import UsageError
from lossbench.lazy import LazyModule, nn
from lossbench.registry import layer

_attention = LazyModule("lossbench.components.layers._attention")


@layer(dimensions=(2,), kernel="torch.nn.MultiheadAttention", noisy=True)
def multihead_attention(
    shape: Shape, *, num_heads: PositiveInt, dropout: Probability = 0.0, bias: bool = True
) -> "tuple[nn.Module, Shape]":
    """Every position takes from all positions, most from those that answer its question.

    Formula:    concat over heads of softmax(Q K^T / sqrt(size)) V, times W_o^T + b_o, with Q, K, V
                the head's share of x W_q^T + b_q, x W_k^T + b_k, x W_v^T + b_v
    Shapes:     (channels, L), unchanged; a head has size channels / num_heads
    Knobs:
        num_heads: the number of heads, a divisor of the channels.
        dropout: the probability that a share of attention is dropped in training.
        bias: whether the four projections have offsets.
    Note:       self-attention: query, key and value are all the sequence that arrives. Channels
                come before the length, as everywhere here; torch's module has them last.
    Errors:     heads that do not divide the channels.
    Reference:  Vaswani et al., Attention Is All You Need, 2017.
    """
    require("multihead_attention", shape)
    channels = shape[0]
    if channels % num_heads:
        divisors = [str(count) for count in range(1, channels + 1) if channels % count == 0]
        raise UsageError(
            f"multihead_attention: {num_heads} heads do not divide the {channels} channels that "
            "arrive",
            hint=f"{channels} is divided by {', '.join(divisors)}",
        )
    return _attention.SelfAttention(channels, num_heads, dropout, bias=bias), shape
