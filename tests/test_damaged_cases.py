"""Records that cannot be computed as they are written: each fails with the reason in words."""

from typing import Any

import pytest

from lossbench.evaluate.cases import run_case

MSE = {"kind": "loss", "component": "mse_loss", "inputs": {"input": [1.0, 2.0]}, "expected": 0.5}
SGD = {"kind": "optimizer", "component": "sgd", "expected": [0.5]}
STEP = {"kind": "scheduler", "component": "StepLR", "params": {"step_size": 2}, "expected": [1]}
DEEP: Any = 1.0
for _ in range(80):
    DEEP = [DEEP]

DAMAGED = [
    (MSE | {"target": [1, 2, 3]}, "the prediction is [2], and the target [3]"),
    (MSE | {"target": [[1], [2]]}, "the prediction is [2], and the target [2, 1]"),
    (MSE, "target is missing"),
    (MSE | {"inputs": {}, "target": [1, 2]}, "prediction is missing"),
    (MSE | {"inputs": {"input": []}, "target": []}, "holds no numbers"),
    (MSE | {"inputs": {"input": ["a", "b"]}, "target": [1, 2]}, "no array of numbers"),
    (MSE | {"inputs": {"input": [[1, 2], [3]]}, "target": [1, 2]}, "all rows of one length"),
    (MSE | {"inputs": {"input": DEEP}, "target": [1, 2]}, "lists deep"),
    (MSE | {"inputs": {"input": [1.0, None]}, "target": [1, 2]}, "no array of numbers"),
    (MSE | {"inputs": {"input": [1, float("nan")]}, "target": [1, 2]}, "not a number, at [1]"),
    (MSE | {"target": [1, 2], "tolerance": {"atol": "x"}}, "atol must be a number of at least 0"),
    (MSE | {"target": [1, 2], "tolerance": {"rtol": None}}, "rtol must be a number"),
    (MSE | {"target": [1, 2], "tolerance": {"atol": -1}}, "got -1"),
    (MSE | {"target": [1, 2], "tolerance": {"abs": 1}}, "a tolerance has atol and rtol"),
    (MSE | {"target": [1, 2], "reduction": "average"}, "there is no reduction 'average'"),
    (MSE | {"target": [1, 2], "reduction": 3}, "there is no reduction '3'"),
    (MSE | {"target": [1, 2], "expected": "abc"}, "expected is no array of numbers"),
    (MSE | {"target": [1, 2], "expected": []}, "the shape is [], expected is [0]"),
    (MSE | {"target": [1, 2], "expected": [None]}, "the shape is [], expected is [1]"),
    (MSE | {"target": [1, 2], "params": {"delta": 1}}, "there is no knob of mse 'delta'"),
    (MSE | {"target": [1, 0], "component": "huber", "params": {"d": 1, "delta": 2}}, "given twice"),
    (MSE | {"target": [1, 0], "component": "bce"}, "is 2.0"),
    (
        MSE | {"component": "cross_entropy", "inputs": {"input": [[1, 2]]}, "target": [5]},
        "target[0] is class 5, and there are 2 classes",
    ),
    (
        MSE | {"component": "hinge_gan", "inputs": {"d_real": [1]}, "params": {"part": "judge"}},
        "there is no part of hinge_gan 'judge'",
    ),
    (
        MSE
        | {
            "component": "hinge_gan",
            "inputs": {"d_real": [1]},
            "params": {"part": "discriminator"},
        },
        "d_fake is missing",
    ),
    (SGD | {"inputs": {"grads": [[1]]}}, "an optimizer takes param and grads"),
    (SGD | {"inputs": {"param": [1], "grads": [[1, 2]]}}, "a gradient is [2]"),
    (SGD | {"inputs": {"param": [1], "grads": [[1]], "repeat": "x"}}, "repeat must be a whole"),
    (
        SGD
        | {
            "component": "lookahead",
            "params": {"base": {"name": "sgd", "params": 3}},
            "inputs": {"param": [1], "grads": [[1]]},
        },
        "is given by its name, or as name and knobs",
    ),
    (STEP | {"inputs": {"base_lr": "x", "steps": [0]}}, "base_lr must be a number"),
    (STEP | {"inputs": {"base_lr": 1, "steps": 3}}, "steps must be a list of whole numbers"),
    (STEP | {"inputs": {"base_lr": 1, "steps": [-1]}}, "at least 0"),
    (STEP | {"inputs": {"base_lr": 1, "steps": [0]}, "params": {}}, "needs step_size"),
    (
        {"kind": "distance", "component": "cdist", "expected": 1}
        | {"inputs": {"x1": [[1]], "x2": [[1, 2]]}},
        "compares points of one length",
    ),
    (
        {"kind": "activation", "component": "relu", "expected": 1, "inputs": {"x": [1], "y": [2]}},
        "relu takes x, and no y",
    ),
]


@pytest.mark.parametrize(("record", "words"), DAMAGED, ids=[words for _, words in DAMAGED])
def test_damaged_record(record: dict[str, Any], words: str):
    outcome = run_case(1, record)
    assert outcome.verdict == "failed"
    assert words in outcome.words
    assert "Error:" not in outcome.words


def test_what_lossbench_does_not_have_is_skipped():
    outcome = run_case(1, MSE | {"component": "mze", "target": [1, 2]})
    assert outcome.verdict == "skipped"
    assert "did you mean mse?" in outcome.words
