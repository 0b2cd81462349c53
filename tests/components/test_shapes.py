"""Data of drawn shapes and of a rare class, and the metrics of masks."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
import torch

from lossbench.errors import DataError
from lossbench.registry import dataset, metric


def make(name, seed=0, **knobs):
    return dataset[name].function(seed, **knobs)


def test_a_mask_says_where_the_brightness_is():
    """Without noise, what is bright has a class and what is dark has none."""
    data = make("shapes", samples=60, noise=0.0, empty=0.2)
    images, masks = data.samples.inputs, data.samples.targets
    assert images.shape == (60, 1, 32, 32)
    assert masks.shape == (60, 32, 32)
    assert set(np.unique(masks)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(images[:, 0] > 0, masks > 0)
    assert images.max() <= 1.5
    assert images[images > 0].min() >= 0.5


def test_empty_masks_are_as_many_as_asked_for():
    count = (make("shapes", samples=2000, size=8, empty=0.25).samples.targets == 0).all(axis=(1, 2))
    assert count.mean() == pytest.approx(0.25, abs=0.04)
    whole = make("shapes", samples=20, empty=1.0).samples.targets
    assert not whole.any()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_pixels_have_the_classes_that_were_asked_for(classes):
    data = make("shapes", samples=80, classes=classes)
    assert data.target.size == classes == len(np.unique(data.samples.targets))
    assert data.target.names[0] == "background"


def test_coloured_shapes_have_one_mask():
    data = make("shapes", samples=5, color=True, noise=0.0, size=20, empty=0.0)
    assert data.samples.inputs.shape == (5, 3, 20, 20)
    for channel in range(3):
        inside = data.samples.inputs[:, channel] > 0
        np.testing.assert_array_equal(inside, data.samples.targets > 0)


def test_solids_do_not_differ_in_their_mass():
    """A count of bright values must not tell the class: the mean volumes agree to a few percent."""
    data = make("volumes", samples=400, size=32, noise=0.0)
    mass = data.samples.inputs.sum(axis=(1, 2, 3, 4))
    means = [mass[data.samples.targets == k].mean() for k in range(4)]
    assert max(means) / min(means) < 1.1


def test_a_solid_lies_whole_within_its_volume():
    values = make("volumes", samples=80, noise=0.0).samples.inputs[:, 0]
    for axis in (1, 2, 3):
        ends = values.take([0, -1], axis=axis)
        assert ends.sum() <= 0.02 * values.sum()


def test_one_sample_in_a_hundred_is_rare_in_training_and_every_second_one_elsewhere():
    data = make("imbalanced", samples=5050, ratio=100.0, held_out=400)
    assert np.bincount(data.train.targets).tolist() == [5000, 50]
    assert np.bincount(data.validation.targets).tolist() == [200, 200]
    assert np.bincount(data.test.targets).tolist() == [200, 200]


@pytest.mark.parametrize("overlap", [0.4, 1.0, 3.0])
def test_the_nearer_centre_errs_as_often_as_the_floor_says(overlap):
    data = make("imbalanced", overlap=overlap, held_out=40_000)
    wrong = (data.test.inputs[:, 0] > 0) != data.test.targets
    error = data.floor["zero_one"]
    assert wrong.mean() == pytest.approx(error, abs=4 * math.sqrt(error / 40_000))


def test_too_few_rare_samples_are_refused_with_the_number_that_is_enough():
    with pytest.raises(DataError) as caught:
        make("imbalanced", samples=100, ratio=100.0)
    assert "leave 1 of the rare class" in caught.value.message
    assert "202" in str(caught.value.hint)
    assert (make("imbalanced", samples=202, ratio=100.0).train.targets == 1).sum() == 2


@pytest.mark.parametrize("background", [True, False])
def test_overlaps_agree_with_scikit_learn(background):
    random = np.random.default_rng(3)
    scores = torch.from_numpy(random.standard_normal((6, 4, 5, 7)).astype(np.float32))
    masks = torch.from_numpy(random.integers(0, 4, (6, 5, 7)))
    truth, chosen = masks.numpy().ravel(), scores.argmax(1).numpy().ravel()
    labels = range(0 if background else 1, 4)
    knobs = {"labels": labels, "average": "macro"}
    iou = float(metric["mean_iou"].function(scores, masks, background=background))
    dice = float(metric["dice_score"].function(scores, masks, background=background))
    assert iou == pytest.approx(reference.jaccard_score(truth, chosen, **knobs), abs=1e-12)
    assert dice == pytest.approx(reference.f1_score(truth, chosen, **knobs), abs=1e-12)


@pytest.mark.parametrize("name", ["mean_iou", "dice_score"])
def test_empty_masks_rightly_left_empty_are_perfect(name):
    scores = torch.zeros(2, 3, 4, 4)
    scores[:, 0] = 1
    masks = torch.zeros(2, 4, 4, dtype=torch.int64)
    assert float(metric[name].function(scores, masks, background=False)) == 1
    scores[0, 1, 0, 0] = 2  # one pixel too many
    assert float(metric[name].function(scores, masks, background=False)) == 0
