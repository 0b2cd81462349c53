"""Two classes of which one is rare: where the share of right answers says little."""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le

from lossbench.components.vocabulary import Data, Samples, Target
from lossbench.errors import DataError
from lossbench.lazy import np
from lossbench.registry import dataset

IMBALANCED = Target("class", 2, ("common", "rare"))

LEAST = 2
"""Rare samples in the training part below which nothing can be learned from them."""


@dataset(target=IMBALANCED, inputs=(2,), validation=True)
def imbalanced(
    seed: int,
    *,
    samples: Annotated[int, Ge(8)] = 4000,
    ratio: Annotated[float, Ge(1)] = 100.0,
    overlap: Annotated[float, Gt(0), Le(4)] = 0.6,
    held_out: Annotated[int, Ge(4)] = 2000,
) -> Data:
    """A round cloud and a rare one beside it; validation and test hold as many of each.

    Formula: x = centre of the class + e, with e standard normal in the plane; the centres are
             2 / overlap apart; there are `ratio` common training samples for each rare one
    Shapes:  inputs [N, 2], targets [N]
    Knobs:
        samples: the number of training samples of both classes together.
        ratio: how many common samples there are for each rare one; 1 is balanced.
        overlap: how far the clouds reach into each other: their deviation over half of the distance
            of their centres.
        held_out: the number of samples for validation, and again for test, half of them rare.
    Note:    balanced evaluation is the protocol of long-tailed recognition: accuracy there is
             balanced accuracy. The best classifier for it takes the nearer centre, and its error is
             the floor of zero_one: Phi(-1 / overlap).
    Errors:  so few samples that fewer than two would be rare.
    Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
             2019.
    """
    rare = round(samples / (1 + ratio))
    if rare < LEAST:
        raise DataError(
            f"imbalanced: {samples} samples at a ratio of {ratio:g} leave {rare} of the rare class",
            hint=f"at least {math.ceil(LEAST * (1 + ratio))} samples, or a lower ratio",
        )
    random = np.random.default_rng(seed)

    def draw(common: int, rare: int) -> Samples:
        labels = np.repeat(np.arange(2, dtype=np.int64), (common, rare))
        x = random.standard_normal((common + rare, 2))
        x[:, 0] += (2 * labels - 1) / overlap
        return Samples(x, labels)

    half = held_out // 2
    return Data(
        target=IMBALANCED,
        train=draw(samples - rare, rare),
        validation=draw(held_out - half, half),
        test=draw(held_out - half, half),
        input_names=("x1", "x2"),
        standardize=False,
        floor={"zero_one": math.erfc(1 / (overlap * math.sqrt(2))) / 2},
    )
