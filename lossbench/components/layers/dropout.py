"""Layers that drop parts of their input in training, so that no feature may rely on another."""

from lossbench.components.layers._shapes import require
from lossbench.components.modules import Shape
from lossbench.components.vocabulary import Probability
from lossbench.lazy import LazyModule, nn
from lossbench.registry import layer

_dropout = LazyModule("lossbench.components.layers._dropout")


@layer(dimensions=(1, 2, 3, 4), kernel="torch.nn.Dropout", noisy=True)
def dropout(shape: Shape, *, p: Probability = 0.5) -> "tuple[nn.Module, Shape]":
    """Sets each value to zero with probability p in training; evaluation leaves all as they are.

    Formula:    x m / (1 - p), with m = 0 with probability p and 1 otherwise
    Derivative: m / (1 - p)
    Shapes:     any, unchanged
    Knobs:
        p: the probability that a value is dropped; 1 drops all.
    Note:       the noise is a hash of seed, step, layer and index, so that it is the same alone, in
                a fused group and after a resume; torch's own draws different numbers.
    Reference:  Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from
                Overfitting, 2014.
    """
    require("dropout", shape)
    return _dropout.Dropout(p, "element"), shape


@layer(dimensions=(2, 3, 4), noisy=True, aliases=("spatial_dropout",))
def dropout_channels(shape: Shape, *, p: Probability = 0.5) -> "tuple[nn.Module, Shape]":
    """Sets whole channels to zero: neighbours in an image say much the same, so one must not stay.

    Formula:    x[c] m[c] / (1 - p), with m = 0 with probability p and 1 otherwise
    Derivative: m[c] / (1 - p)
    Shapes:     (channels, L), (channels, H, W) or (channels, D, H, W), unchanged
    Knobs:
        p: the probability that a channel of a sample is dropped.
    Reference:  Tompson, Goroshin, Jain, LeCun and Bregler, Efficient Object Localization Using
                Convolutional Networks, 2015.
    """
    return _channels("dropout_channels", shape, p)


@layer(dimensions=(2,), kernel="torch.nn.Dropout1d", noisy=True)
def dropout1d(shape: Shape, *, p: Probability = 0.5) -> "tuple[nn.Module, Shape]":
    """Sets whole channels of sequences to zero.

    Formula:    x[c] m[c] / (1 - p), with m = 0 with probability p and 1 otherwise
    Derivative: m[c] / (1 - p)
    Shapes:     (channels, L), unchanged
    Knobs:
        p: the probability that a channel of a sample is dropped.
    """
    return _channels("dropout1d", shape, p)


@layer(dimensions=(3,), kernel="torch.nn.Dropout2d", noisy=True)
def dropout2d(shape: Shape, *, p: Probability = 0.5) -> "tuple[nn.Module, Shape]":
    """Sets whole channels of images to zero.

    Formula:    x[c] m[c] / (1 - p), with m = 0 with probability p and 1 otherwise
    Derivative: m[c] / (1 - p)
    Shapes:     (channels, H, W), unchanged
    Knobs:
        p: the probability that a channel of a sample is dropped.
    Reference:  Tompson, Goroshin, Jain, LeCun and Bregler, Efficient Object Localization Using
                Convolutional Networks, 2015.
    """
    return _channels("dropout2d", shape, p)


@layer(dimensions=(4,), kernel="torch.nn.Dropout3d", noisy=True)
def dropout3d(shape: Shape, *, p: Probability = 0.5) -> "tuple[nn.Module, Shape]":
    """Sets whole channels of volumes to zero.

    Formula:    x[c] m[c] / (1 - p), with m = 0 with probability p and 1 otherwise
    Derivative: m[c] / (1 - p)
    Shapes:     (channels, D, H, W), unchanged
    Knobs:
        p: the probability that a channel of a sample is dropped.
    """
    return _channels("dropout3d", shape, p)


@layer(dimensions=(1, 2, 3, 4), kernel="torch.nn.AlphaDropout", noisy=True)
def alpha_dropout(shape: Shape, *, p: Probability = 0.5) -> "tuple[nn.Module, Shape]":
    """Sets values to SELU's lowest one, then restores mean 0 and variance 1: the dropout for SELU.

    Formula:    a (x m + l (1 - m)) + b, with l = -1.7581, a = ((1 - p) (1 + p l^2))^(-1/2),
                b = -a p l, and m = 0 with probability p and 1 otherwise
    Derivative: a m
    Shapes:     any, unchanged
    Knobs:
        p: the probability that a value is dropped.
    Reference:  Klambauer, Unterthiner, Mayr and Hochreiter, Self-Normalizing Neural Networks, 2017.
    """
    require("alpha_dropout", shape)
    return _dropout.AlphaDropout(p, "element"), shape


@layer(dimensions=(2, 3, 4), kernel="torch.nn.FeatureAlphaDropout", noisy=True)
def feature_alpha_dropout(shape: Shape, *, p: Probability = 0.5) -> "tuple[nn.Module, Shape]":
    """Alpha dropout of whole channels.

    Formula:    as alpha_dropout, with one m for each channel of a sample
    Derivative: a m
    Shapes:     (channels, L), (channels, H, W) or (channels, D, H, W), unchanged
    Knobs:
        p: the probability that a channel of a sample is dropped.
    Reference:  Klambauer, Unterthiner, Mayr and Hochreiter, Self-Normalizing Neural Networks, 2017.
    """
    require("feature_alpha_dropout", shape)
    return _dropout.AlphaDropout(p, "channel"), shape


def _channels(name: str, shape: Shape, p: float) -> "tuple[nn.Module, Shape]":
    """Check the shape, and make the module that drops whole channels."""
    require(name, shape)
    return _dropout.Dropout(p, "channel"), shape
