"""What a review found: each would have been silently wrong."""

import numpy as np
import pytest
import torch

from lossbench.errors import UsageError
from lossbench.training.build import build
from lossbench.training.loop import train


def test_a_distance_is_a_score_turned_round(spec, choice):
    one = spec(
        dataset="breast_cancer",
        loss="hinge_embedding",
        optimizer=choice("optimizer", "adam", lr=0.01),
        metrics=("accuracy",),
        train_epochs=5,
    )
    job = build([one])
    shown = [e.values["accuracy"][0] for e in train(job) if getattr(e, "split", "") == "train"]
    assert shown[-1] > 0.9


@pytest.mark.parametrize("step", ["fused", "plain"])
@pytest.mark.parametrize("base", ["adafactor", "muon", "adamw"])
def test_a_wrapped_optimizer_spares_biases_too(base, step, spec, choice):
    inner = choice("optimizer", base, weight_decay=0.5, lr=0.1)
    one = spec(optimizer=choice("optimizer", "ema", base=inner, decay=0.0), train_step=step)
    job = build([one])
    before = {n: v for n, v in job.step.weights(0).items() if n.endswith("bias")}
    # Without a gradient only weight decay moves anything.
    updater = job.step._rule._updater if step == "plain" else job.step._blocks[0].updater
    flat = updater._flat
    updater.step(torch.zeros_like(flat), 1, 0.1)
    after = job.step.weights(0)
    assert before
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_plateau_that_looks_the_wrong_way_is_refused(spec, choice):
    watching = choice("schedule", "reduce_on_plateau", mode="min")
    one = spec(
        dataset="iris",
        loss="cross_entropy",
        schedule=watching,
        metrics=("accuracy",),
        train_monitor="validation/accuracy",
    )
    with pytest.raises(UsageError, match="higher is better"):
        build([one])


def test_a_reduced_loss_counts_each_piece_of_a_split_by_its_samples(
    spec, own, tmp_path, monkeypatch
):
    (tmp_path / "reduced.py").write_text(
        "def reduced(prediction, target):\n    return ((prediction - target) ** 2).mean()\n"
    )
    one = spec(loss=own("loss", tmp_path / "reduced.py", "reduced"))
    job = build([one])
    whole = job.step.evaluate(job.splits["train"])
    target = job.splits["train"].target
    expected = ((whole.outputs[0] - target) ** 2).mean()
    np.testing.assert_allclose(float(whole.loss[0]), float(expected), rtol=1e-6)
    monkeypatch.setattr("lossbench.training.fused.EVALUATE_ELEMENTS", 7, raising=False)
    pieces = job.step.evaluate(job.splits["train"])
    np.testing.assert_allclose(float(pieces.loss[0]), float(expected), rtol=1e-6)
