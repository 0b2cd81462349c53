"""What a config means by what it leaves out: the only names of components in this folder.

Everything but dataset, loss and optimizer has a default. Which metrics a run without `metrics`
records depends on the kind of its targets; a name that no component bears is left out.
"""

from collections.abc import Mapping

from lossbench.components.vocabulary import TargetKind

COMPONENTS: Mapping[str, str] = {"network": "mlp", "activation": "relu"}

METRICS: Mapping[TargetKind, tuple[str, ...]] = {
    "real": ("mae", "r2"),
    "count": ("mae", "r2"),
    "class": ("accuracy",),
    "multilabel": ("f1",),
    "distribution": (),
    "objective": ("distance", "first_coordinate", "second_coordinate"),
}
"""By the kind of target, where the dataset declares it; none where only the data tell. A metric
that needs more values per target than the dataset is known to have is left out."""

EXAMPLES: Mapping[str, str] = {"dataset": "digits", "loss": "cross_entropy", "optimizer": "adam"}
"""The line to paste for a block that must not be missing."""
