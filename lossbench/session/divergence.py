"""Why a loss may have become infinite or not a number, in words."""

from collections.abc import Sequence

from lossbench.config.spec import DatasetOptions, RunSpec

_GREW = 3.0  # a loss that has grown so much over its last steps was running away


def causes(spec: RunSpec, step: int, last_finite: Sequence[tuple[int, float]]) -> list[str]:
    """Return what probably made the loss of `step` not finite, the likeliest first.

    `last_finite` are the last finite losses before it, as (step, loss).
    """
    found = []
    rate = spec.optimizer.knobs.get("lr")
    losses = [loss for _, loss in last_finite]
    too_high = "the learning rate is too high" + (
        f": {rate:g}, try optimizer.lr={rate / 10:g}" if isinstance(rate, int | float) else ""
    )
    if len(losses) >= 2 and losses[-1] > _GREW * abs(losses[0]):
        found.append(f"the loss ran away ({losses[0]:.4g} became {losses[-1]:.4g}): {too_high}")
    elif step > 1:
        found.append(too_high)
    if spec.train.amp == "float16":
        found.append("float16 overflows above 65504: try train.amp=bfloat16")
    if _may_count_nothing(spec):
        found.append(
            "a batch in which no sample counts (ignore_index, a weight of 0) has no mean: "
            "try a larger train.batch_size"
        )
    options = spec.dataset.options
    if isinstance(options, DatasetOptions) and options.standardize is False:
        found.append("the inputs are not standardized: try dataset.standardize=true")
    if step == 1:
        found.append("already the first loss is not finite: look at the data and at the loss")
    found.append(
        f"{spec.loss.name} or the network takes exp of a large number, log of zero, "
        "or divides by zero"
    )
    if spec.train.clip_norm is None and spec.train.clip_value is None and step > 1:
        found.append("single large gradients: try train.clip_norm=1")
    return found


def _may_count_nothing(spec: RunSpec) -> bool:
    """Tell whether the loss leaves out samples, so that a batch may have none that counts."""
    knobs = spec.loss.knobs
    ignored, weights = knobs.get("ignore_index"), knobs.get("weight")
    return (isinstance(ignored, int) and ignored >= 0) or 0 in (weights or ())
