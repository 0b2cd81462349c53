"""What a trained network says later is what it said when it was evaluated."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris

from lossbench.errors import DataError
from lossbench.training.build import build
from lossbench.training.events import Finished
from lossbench.training.loop import train
from lossbench.training.predict import predict


@pytest.fixture
def trained(spec, choice):
    """A job whose network has dropout, batch norm and units of its own; and its best weights."""

    def make(dataset: str, **parts):
        network = choice("network", "mlp", hidden=(8,), dropout=0.5, norm="batch")
        one = spec(dataset=dataset, network=network, train_drop_last=True, **parts)
        job = build([one])
        (end,) = (event for event in train(job) if isinstance(event, Finished))
        return one, job, end.best(0)

    return make


def raw_inputs(job, split: str) -> np.ndarray:
    """A split's inputs in the data's own units."""
    scaling = job.facts["scaling"]["input"]
    return job.splits[split].inputs.numpy() * np.array(scaling["scale"]) + np.array(scaling["mean"])


def test_classes_come_with_their_names_and_probabilities(trained):
    spec, job, weights = trained("iris", loss="cross_entropy")
    said = predict(spec, job.record(), weights, raw_inputs(job, "test"))
    outputs = job.step.evaluate(job.splits["test"], best=True).outputs[0]
    np.testing.assert_allclose(said["probability"], outputs.softmax(1), rtol=1e-4, atol=1e-6)
    assert said["class"].tolist() == outputs.argmax(1).tolist()
    names = load_iris().target_names
    assert said["label"].tolist() == names[said["class"]].tolist()


def test_numbers_come_in_the_datas_own_units(trained):
    spec, job, weights = trained("diabetes")
    inputs = raw_inputs(job, "test")
    known = load_diabetes(scaled=False).data
    assert np.abs(known[None] - inputs[:, None]).max(2).min(1).max() < 1e-3 * known.max()
    said = predict(spec, job.record(), weights, inputs)["prediction"]
    outputs = job.step.evaluate(job.splits["test"], best=True).outputs[0].double().numpy()
    units = job.facts["scaling"]["target"]
    np.testing.assert_allclose(
        said, outputs * np.array(units["scale"]) + np.array(units["mean"]), rtol=1e-4
    )


def test_a_sample_is_predicted_alone_as_among_others(trained):
    spec, job, weights = trained("iris", loss="cross_entropy")
    inputs = raw_inputs(job, "validation")
    together = predict(spec, job.record(), weights, inputs)["probability"]
    alone = [predict(spec, job.record(), weights, row[None])["probability"][0] for row in inputs]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)


def test_inputs_of_another_shape_are_refused(trained):
    spec, job, weights = trained("iris", loss="cross_entropy")
    with pytest.raises(DataError, match=r"\[3\].*\[4\]"):
        predict(spec, job.record(), weights, np.zeros((2, 3)))


def test_the_random_state_of_the_caller_is_left_alone(trained):
    spec, job, weights = trained("iris", loss="cross_entropy")
    before = torch.get_rng_state()
    predict(spec, job.record(), weights, raw_inputs(job, "test"))
    assert torch.equal(before, torch.get_rng_state())
