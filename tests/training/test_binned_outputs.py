"""Losses whose network has other outputs than one per class or value: trained, and understood."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lossbench.registry import loss
from lossbench.training.build import build
from lossbench.training.loop import train


def trained(one):
    """Train a run, and return its job and what its network gives on the training samples."""
    job = build([one])
    list(train(job))
    return job, job.step.evaluate(job.splits["train"])


@pytest.mark.parametrize("step", ["fused", "plain"])
def test_coral_learns_ranks_with_one_output_less_than_classes(step, spec, choice):
    one = spec(
        dataset="iris",
        loss="coral",
        optimizer=choice("optimizer", "adam", lr=0.03),
        metrics=("accuracy", "brier"),
        train_epochs=60,
        train_step=step,
    )
    job, seen = trained(one)
    assert job.facts["outputs"] == [2]
    target = job.targets["train"]
    values = job.metrics.compute(seen.outputs, target)
    ranks = (seen.outputs[0] > 0).sum(1)
    assert values["accuracy"][0] == pytest.approx(float((ranks == target).double().mean()))
    assert values["accuracy"][0] > 0.9
    assert values["brier"][0] < 0.2
    shown = job.metrics.scores.show(seen.outputs[0])["probabilities"]
    torch.testing.assert_close(shown.sum(1), torch.ones(len(target)))


def test_the_probabilities_of_ranks_by_hand_also_where_the_answers_contradict_each_other():
    raw = torch.logit(torch.tensor([[0.9, 0.6, 0.1], [0.2, 0.7, 0.4]]))
    show = loss["coral"].facts.show
    assert show is not None
    shown = show(raw)
    expected = torch.tensor([[0.1, 0.3, 0.5, 0.1], [0.8, 0.0, 0.0, 0.2]])
    torch.testing.assert_close(shown["probabilities"], expected)
    assert shown["scores"].argmax(1).tolist() == [2, 1]  # two yeses, one yes


def test_distribution_focal_learns_values_between_its_bins(tmp_path: Path, spec, choice):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)).astype(np.float32)
    y = (4 / (1 + np.exp(-x @ [[1.0], [-1.0]]))).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    data = choice("dataset", "npz", path=str(tmp_path / "data.npz"), task="real")
    plain = type(data.options)(standardize=False, standardize_target=False)
    one = spec(
        dataset=type(data)(data.kind, data.name, data.knobs, plain),
        loss=choice("loss", "distribution_focal", reg_max=4),
        optimizer=choice("optimizer", "adam", lr=0.03),
        metrics=("mae",),
        train_epochs=60,
    )
    job, seen = trained(one)
    assert job.facts["outputs"] == [5]
    mae = job.metrics.compute(seen.outputs, job.targets["train"])["mae"][0]
    mean = seen.outputs[0].softmax(1) @ torch.arange(5.0)
    off = (mean - job.targets["train"][:, 0]).abs().mean()
    assert mae == pytest.approx(float(off), rel=1e-5)
    assert mae < 0.2  # always the mean would be off by about 1
