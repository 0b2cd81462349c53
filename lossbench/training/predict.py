"""What a trained network says about new inputs, in the data's own units and names."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench.components.vocabulary import Target
from lossbench.config.spec import RunSpec
from lossbench.errors import DataError, RunError
from lossbench.training.data import Scaling
from lossbench.training.model import is_setting
from lossbench.training.parts import Parts
from lossbench.training.survey import scores_of

Array = np.ndarray[Any, Any]

ROWS_AT_ONCE = 4096


def predict(
    spec: RunSpec, record: Mapping[str, Any], weights: Mapping[str, Tensor], inputs: Array
) -> dict[str, Array]:
    """Return the predictions for inputs [N, ...] in the data's own units.

    `record` is what the run's Job recorded about its data. Real targets and counts give
    `prediction` [N, d]; classes give `class` (its index), `label` (its name, where it has one) and
    `probability` [N, C], or `score` [N, C] where the loss has no probabilities.
    Raises DataError where the inputs do not have the shape that the run was trained on.
    """
    shape = tuple(record["inputs"])
    if inputs.shape[1:] != shape:
        raise DataError(
            f"the inputs have shape {list(inputs.shape[1:])}, the run was trained on {list(shape)}"
        )
    target = _target(record)
    parts = Parts(spec, target, shape)
    model = parts.model(spec.train.seed)
    missing, unexpected = model.load_state_dict(dict(weights), strict=False)
    missing = [name for name in missing if not is_setting(name)]
    if missing or unexpected:
        raise RunError(f"the weights do not fit the network: {', '.join([*missing, *unexpected])}")
    model.eval()
    scaling = _scaling(record, "input")
    scaled = (inputs if scaling is None else scaling.apply(inputs)).astype(np.float32)
    scores = scores_of(target, parts.heads, _scaling(record, "target"))
    with torch.no_grad():
        chunks = torch.from_numpy(scaled).split(ROWS_AT_ONCE)
        shown = scores.show(torch.cat([model(chunk) for chunk in chunks]))
    return _readable({name: tensor.numpy() for name, tensor in shown.items()}, target)


def _target(record: Mapping[str, Any]) -> Target:
    described = record["target"]
    return Target(described["kind"], described["size"], tuple(described["names"]))


def _scaling(record: Mapping[str, Any], name: str) -> Scaling | None:
    saved = record["scaling"][name]
    if saved is None:
        return None
    return Scaling(np.array(saved["mean"]), np.array(saved["scale"]))


def _readable(shown: Mapping[str, Array], target: Target) -> dict[str, Array]:
    """Return what a person wants to read of the forms of prediction there are."""
    if "values" in shown:
        return {"prediction": shown["values"]}
    strength = "probability" if "probabilities" in shown else "score"
    strengths = shown.get("probabilities", shown["scores"])
    if target.kind == "multilabel":
        return {strength: strengths, "present": (shown["scores"] > 0).astype(np.int64)}
    index = shown["scores"].argmax(axis=1)
    result: dict[str, Array] = {"class": index}
    if target.names:
        result["label"] = np.array(target.names)[index]
    return result | {strength: strengths}
