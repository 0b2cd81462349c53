"""What a run is made of, before it is decided how to train it: data, network, loss, sizes.

Everything that can be wrong between them is found here. All trials of a group share a survey.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench.components.modules import batch_statistics
from lossbench.components.vocabulary import Target
from lossbench.config.spec import RunSpec
from lossbench.errors import UsageError
from lossbench.plugins import resolve, user_code
from lossbench.training.applied import applied
from lossbench.training.data import Prepared, Scaling, load
from lossbench.training.encode import encode
from lossbench.training.model import Activation, Heads
from lossbench.training.order import Order
from lossbench.training.parts import Parts
from lossbench.training.plan import Sizes
from lossbench.training.probe import probe
from lossbench.training.scoring import Metrics, Scores
from lossbench.training.step import Split


@dataclass(frozen=True)
class Survey:
    """The data on the host, the pieces of the run, its batches, and how large it all is."""

    spec: RunSpec
    prepared: Prepared
    parts: Parts
    splits: dict[str, Split]
    order: Order
    sizes: Sizes
    metrics: Metrics
    facts: dict[str, Any]

    def targets(self, name: str) -> Tensor:
        """Return a split's targets for the metrics: real ones in the data's own units."""
        return _plain_targets(self.prepared, name)


def survey(spec: RunSpec) -> Survey:
    """Load the data of a run and send one batch through its network and loss.

    Raises UsageError (or DataError, MissingError) where something does not fit.
    """
    with user_code(*spec.own_files()):
        prepared = load(spec.dataset, resolve(spec.dataset))
        parts = Parts(spec, prepared.target, prepared.inputs, prepared.model)
        batch_size = _batch_size(spec, prepared)
        order = _order(spec, prepared, batch_size)
        _check_batches(spec, parts, order, batch_size)
        splits = {name: _split(prepared, name, parts.heads) for name in prepared.splits}
        sizes, raw = _probe(parts, spec, splits["train"], batch_size)
        _check_values(spec, parts, raw, splits["train"])
        metrics = _metrics(spec, parts.heads, prepared)
        # A metric whose knobs do not fit these classes is refused before anything is trained.
        metrics.compute(raw[None], _plain_targets(prepared, "train")[: len(raw)])
        facts = _facts(prepared, parts.heads, sizes, tuple(raw.shape))
    return Survey(spec, prepared, parts, splits, order, sizes, metrics, facts)


def _batch_size(spec: RunSpec, prepared: Prepared) -> int:
    samples = len(prepared.splits["train"])
    size = spec.train.batch_size
    if size == "full":
        return samples
    if size > samples:
        raise UsageError(
            f"train.batch_size is {size}, but there are only {samples} training samples",
            hint=f"take at most {samples}, or batch_size: full",
        )
    return size


def _order(spec: RunSpec, prepared: Prepared, batch_size: int) -> Order:
    train = spec.train
    return Order(
        [train.seed],
        len(prepared.splits["train"]),
        batch_size,
        accumulate=train.accumulate,
        drop_last=train.drop_last,
        shuffle=not prepared.ordered,
    )


def _check_batches(spec: RunSpec, parts: Parts, order: Order, batch_size: int) -> None:
    """Refuse batches that the network or the loss cannot take."""
    model = parts.model(spec.train.seed)
    for part in model.network.modules():
        if isinstance(part, Activation) and part.knobs().get("dim") == 0:
            raise UsageError(
                f"activation '{part.name}' with dim: 0 goes along the batch: what a sample becomes "
                "would depend on the others, in training and in every prediction",
                hint="the dimensions of a sample count from 1, or from the end: dim: -1",
            )
    normed = batch_statistics(model)
    if normed and order.smallest_batch == 1:
        raise UsageError(
            f"{normed[0]} needs at least 2 samples in a batch, but the smallest batch has 1",
            hint=f"set train.drop_last: true, or another train.batch_size than {batch_size}",
        )
    if spec.train.accumulate == 1:
        return
    if normed:
        raise UsageError(
            f"train.accumulate cannot be used with batch statistics ({normed[0]}): "
            "several small batches have other means than one large one",
            hint="use layer or group norm, or a larger train.batch_size",
        )
    if parts.loss.facts.whole_batch:
        raise UsageError(
            f"train.accumulate cannot be used with loss '{parts.loss.name}': "
            "it is computed over a whole batch, not per sample"
        )


def _probe(parts: Parts, spec: RunSpec, split: Split, batch_size: int) -> tuple[Sizes, Tensor]:
    model = parts.model(spec.train.seed)
    inputs, target = split.inputs[:batch_size], split.target[:batch_size]
    sizes, raw = probe(model, inputs, target, spec.own_files())
    if raw.shape[1] != parts.heads.outputs:
        raise UsageError(
            f"the network gives {raw.shape[1]} outputs, "
            f"the loss '{parts.loss.name}' on this data needs {parts.heads.outputs}"
        )
    return sizes, raw


def _check_values(spec: RunSpec, parts: Parts, raw: Tensor, split: Split) -> None:
    """Refuse a loss of the user's own whose values belong to nothing.

    A mean over [N, N] values, which come of [N] - [N, 1], would train, and on something else. One
    value for the batch is good, but cannot be accumulated.
    """
    if parts.loss.file is None or len(raw) == 1:
        return
    model = parts.model(spec.train.seed).eval()
    heads, target = parts.heads.split(raw), split.target[: len(raw)]
    with torch.no_grad():
        terms = model.loss(heads, target)
    count, prediction = terms.values.numel(), heads["prediction"]
    if terms.weight is None and count not in (1, len(raw), prediction.numel(), target.numel()):
        raise UsageError(
            f"{parts.loss.file}:{parts.loss.line}: the loss '{parts.loss.name}' returned {count} "
            f"values, of shape {list(terms.values.shape)}, for a batch of {len(raw)} samples",
            hint="return one value per sample or element, or a single one for the batch; "
            f"the prediction has shape {list(prediction.shape)}, the target {list(target.shape)}",
        )
    if spec.train.accumulate > 1 and count == 1:
        raise UsageError(
            f"train.accumulate cannot be used with loss '{parts.loss.name}': it returns one value "
            "for a batch, and how the values of several batches make one is not known",
            hint="return one value per sample or element, without .mean()",
        )


def _split(prepared: Prepared, name: str, heads: Heads) -> Split:
    """Return a split on the host, its targets in the form that the loss wants."""
    samples = prepared.splits[name]
    target = encode(torch.from_numpy(samples.targets), prepared.target, heads)
    return Split(torch.from_numpy(samples.inputs), target)


def _plain_targets(prepared: Prepared, name: str) -> Tensor:
    """Return a split's targets for the metrics: real ones in the data's own units."""
    targets, scaling = prepared.splits[name].targets, prepared.target_scaling
    if scaling is not None:
        targets = scaling.invert(targets).astype(np.float32)
    return torch.from_numpy(targets)


def scores_of(target: Target, heads: Heads, scaling: Scaling | None) -> Scores:
    """Return what turns raw outputs into what metrics and people are shown."""
    if scaling is None:
        return Scores(target, heads)
    mean = torch.as_tensor(scaling.mean, dtype=torch.float32)
    scale = torch.as_tensor(scaling.scale, dtype=torch.float32)
    return Scores(target, heads, mean, scale)


def _metrics(spec: RunSpec, heads: Heads, prepared: Prepared) -> Metrics:
    scores = scores_of(prepared.target, heads, prepared.target_scaling)
    metrics = Metrics(tuple(applied(choice) for choice in spec.metrics), scores)
    metrics.check()
    return metrics


def _facts(
    prepared: Prepared, heads: Heads, sizes: Sizes, raw_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return what was found out about the data and the network, as plain data."""
    target = prepared.target
    scalings = {"input": prepared.input_scaling, "target": prepared.target_scaling}
    return {
        "inputs": list(prepared.inputs),
        "input_names": list(prepared.input_names),
        "target": {"kind": target.kind, "size": target.size, "names": list(target.names)},
        "encoding": heads.encoding,
        "outputs": list(raw_shape[1:]),
        "samples": {name: len(samples) for name, samples in prepared.splits.items()},
        "parameters": sizes.parameters,
        "largest_activation": sizes.largest_activation,
        "activations": sizes.activations,
        "fingerprint": prepared.fingerprint,
        "floor": dict(prepared.floor),
        "notes": list(prepared.notes),
        "scaling": {
            name: None
            if scaling is None
            else {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()}
            for name, scaling in scalings.items()
        },
    }
