"""What metrics are shown, held against the loss that the network was trained on."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from lossbench.training.build import build


@pytest.mark.parametrize("loss", ["bce_with_logits", "bce", "logistic", "cross_entropy", "nll"])
def test_two_classes_have_the_probabilities_that_the_loss_believes(loss, spec):
    job = build([spec(dataset="breast_cancer", loss=loss, metrics=["brier", "roc_auc"])])
    split, target = job.splits["validation"], job.targets["validation"]
    seen = job.step.evaluate(split)
    shown = job.metrics.scores.show(seen.outputs[0])["probabilities"]
    torch.testing.assert_close(shown.sum(1), torch.ones(len(split)))
    truth, chance = target.numpy(), shown[:, 1].double().numpy()
    # The mean surprise at the truth, of these probabilities, is the loss itself.
    assert log_loss(truth, chance) == pytest.approx(float(seen.loss[0]), rel=1e-4)
    values = job.metrics.compute(seen.outputs, target)
    assert values["brier"][0] == pytest.approx(2 * brier_score_loss(truth, chance), rel=1e-5)
    assert values["roc_auc"][0] == pytest.approx(roc_auc_score(truth, chance), rel=1e-9)


@pytest.mark.parametrize(
    ("dataset", "loss", "outputs"),
    [
        ("breast_cancer", "bce_with_logits", 1),  # two classes: one sign decides
        ("breast_cancer", "hinge", 1),
        ("breast_cancer", "cross_entropy", 2),
        ("iris", "bce_with_logits", 3),  # one against the rest
        ("iris", "hinge", 3),
        ("iris", "cross_entropy", 3),
        ("diabetes", "mse", 1),
        ("diabetes", "gaussian_nll", 2),  # mean and variance
    ],
)
def test_the_last_layer_has_as_many_outputs_as_the_loss_needs(dataset, loss, outputs, spec):
    job = build([spec(dataset=dataset, loss=loss)])
    assert job.facts["outputs"] == [outputs]
    assert job.step.evaluate(job.splits["train"]).outputs.shape[2:] == (outputs,)


@pytest.mark.parametrize("loss", ["cross_entropy", "nll", "kl_div", "multi_margin"])
def test_the_highest_score_is_the_answer(loss, spec):
    job = build([spec(dataset="iris", loss=loss, metrics=["accuracy"])])
    seen = job.step.evaluate(job.splits["train"])
    target = job.targets["train"]
    values = job.metrics.compute(seen.outputs, target)
    right = seen.outputs[0].argmax(1) == target
    assert values["accuracy"][0] == pytest.approx(float(right.double().mean()))


@pytest.mark.parametrize(
    "loss", ["hinge", "exponential", "logistic", "bce_with_logits", "multi_margin", "kl_div"]
)
@pytest.mark.parametrize("dataset", ["iris", "breast_cancer"])
def test_outputs_that_the_loss_likes_are_right_answers(loss, dataset, spec):
    """Descend on the outputs themselves: where the loss is low, the metric must be high."""
    job = build([spec(dataset=dataset, loss=loss, metrics=["accuracy"])])
    model, split = job.step._model, job.splits["train"]
    outputs = torch.zeros(len(split), model.heads.outputs, requires_grad=True)
    for _ in range(20):
        terms = model.loss(model.heads.split(outputs), split.target)
        (slope,) = torch.autograd.grad(terms.total(), outputs)
        outputs = (outputs - 0.5 * slope).detach().requires_grad_()
    values = job.metrics.compute(outputs.detach()[None], job.targets["train"])
    assert values["accuracy"][0] == 1.0


def test_real_values_are_shown_in_the_datas_own_units(spec):
    job = build([spec(dataset="diabetes", metrics=["rmse"])])
    encoded, plain = job.splits["train"].target, job.targets["train"]
    shown = job.metrics.scores.show(encoded)["values"]
    np.testing.assert_allclose(shown, plain, rtol=1e-5)
    assert job.metrics.compute(encoded[None], plain)["rmse"][0] == pytest.approx(0, abs=1e-4)
