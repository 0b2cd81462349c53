"""Metrics against scikit-learn, on drawn inputs: with ties, absent classes and constant targets."""

import inspect
import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.exceptions import UndefinedMetricWarning

from lossbench.errors import UsageError
from lossbench.registry import metric

DRAWN = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

SIZES = st.integers(2, 5)
AVERAGES = ("macro", "micro", "weighted")


def value(name, prediction, target, **knobs):
    """Call a metric on arrays, as the loop calls it: scores and values in single precision."""
    prediction = torch.from_numpy(np.asarray(prediction, dtype=np.float32))
    return float(metric[name].function(prediction, torch.from_numpy(np.asarray(target)), **knobs))


def quietly(function, *inputs, **knobs):
    """Call scikit-learn without the warnings about what is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.simplefilter("ignore", UserWarning)
        return function(*inputs, **knobs)


@st.composite
def classified(draw, classes=SIZES, levels=4):
    """Draw scores from a few levels (so that many are equal) and classes (some of them absent)."""
    size, count = draw(classes), draw(st.integers(1, 30))
    scores = draw(arrays(np.float32, (count, size), elements=st.integers(-levels, levels)))
    return scores, draw(arrays(np.int64, count, elements=st.integers(0, size - 1)))


@st.composite
def labelled(draw):
    """Draw scores and sets of labels, empty ones among them."""
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 4))
    scores = draw(arrays(np.float32, shape, elements=st.integers(-3, 3)))
    return scores, draw(arrays(np.float32, shape, elements=st.integers(0, 1)))


@st.composite
def measured(draw):
    """Draw predicted and true numbers of one to three outputs, constant ones among them."""
    shape = draw(st.integers(2, 20)), draw(st.integers(1, 3))
    number = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e3, 1e3, width=32))
    prediction = draw(arrays(np.float32, shape, elements=number))
    target = draw(arrays(np.float32, shape, elements=number))
    if draw(st.booleans()):
        target[:, 0] = target[0, 0]
    return prediction, target


# --- the class that was chosen -----------------------------------------------------------------


@DRAWN
@given(classified())
def test_accuracy_and_zero_one_agree_with_scikit_learn(drawn):
    scores, classes = drawn
    expected = reference.accuracy_score(classes, scores.argmax(1))
    assert value("accuracy", scores, classes) == pytest.approx(expected, abs=1e-12)
    expected = reference.zero_one_loss(classes, scores.argmax(1))
    assert value("zero_one", scores, classes) == pytest.approx(expected, abs=1e-12)


def assert_as_scikit_learn(scores, predicted, target, average):
    """Precision, recall and F1 are scikit-learn's, which computes all three at once."""
    theirs = reference.precision_recall_fscore_support
    expected = quietly(theirs, target, predicted, average=average, zero_division=0)[:3]
    found = [value(name, scores, target, average=average) for name in ("precision", "recall", "f1")]
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("average", AVERAGES)
@DRAWN
@given(classified())
def test_averages_over_classes_agree_with_scikit_learn(average, drawn):
    scores, classes = drawn
    assert_as_scikit_learn(scores, scores.argmax(1), classes, average)


@DRAWN
@given(classified(classes=st.just(2)))
def test_binary_average_is_that_of_class_one(drawn):
    scores, classes = drawn
    assert_as_scikit_learn(scores, scores.argmax(1), classes, "binary")


@pytest.mark.parametrize("average", AVERAGES)
@DRAWN
@given(labelled())
def test_averages_over_labels_agree_with_scikit_learn(average, drawn):
    scores, labels = drawn
    assume(labels.shape[1] > 1)  # one column is a binary problem to scikit-learn
    assert_as_scikit_learn(scores, scores > 0, labels, average)


@DRAWN
@given(labelled())
def test_accuracy_of_labels_wants_all_of_them_right(drawn):
    scores, labels = drawn
    expected = reference.accuracy_score(labels, scores > 0)
    assert value("accuracy", scores, labels) == pytest.approx(expected, abs=1e-12)
    assert value("zero_one", scores, labels) == pytest.approx(1 - expected, abs=1e-12)


@DRAWN
@given(classified(classes=st.integers(3, 6)), st.data())
def test_top_k_agrees_with_scikit_learn(drawn, data):
    scores, classes = drawn
    size = scores.shape[1]
    k = data.draw(st.integers(1, size - 1))
    # Among equal scores scikit-learn prefers the higher number, and we, as argmax, the lower one:
    # with the classes in reverse order both prefer the same.
    expected = reference.top_k_accuracy_score(
        size - 1 - classes, scores[:, ::-1], k=k, labels=range(size)
    )
    assert value("top_k_accuracy", scores, classes, k=k) == pytest.approx(expected, abs=1e-12)


@DRAWN
@given(classified(classes=st.integers(3, 6)))
def test_top_one_is_accuracy(drawn):
    assert value("top_k_accuracy", *drawn, k=1) == value("accuracy", *drawn)


@pytest.mark.parametrize("k", [3, 4])
def test_top_k_of_all_classes_is_refused(k):
    with pytest.raises(UsageError, match=f"k={k} is 1 for any answer: the data have 3 classes"):
        value("top_k_accuracy", np.zeros((2, 3)), [0, 1], k=k)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_binary_average_of_three_classes_is_refused(name):
    with pytest.raises(UsageError, match="for two classes, and there are 3"):
        value(name, np.eye(3), [0, 1, 2], average="binary")


# --- scores and probabilities ------------------------------------------------------------------


@DRAWN
@given(classified(classes=st.just(2)))
def test_roc_auc_of_two_classes_agrees_with_scikit_learn(drawn):
    scores, classes = drawn
    expected = quietly(reference.roc_auc_score, classes, scores[:, 1] - scores[:, 0])
    assert value("roc_auc", scores, classes) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@DRAWN
@given(st.integers(0, 2**32 - 1), st.integers(3, 5))
def test_roc_auc_of_many_classes_counts_pairs_of_the_softmax(seed, size):
    random = np.random.default_rng(seed)
    # Rows are drawn again and again, so that whole rows are equal.
    scores = random.standard_normal((8, size)).astype(np.float32)[random.integers(0, 8, size=24)]
    classes = np.arange(24) % (size - 1)  # the last class is absent
    softmax = torch.from_numpy(scores).double().softmax(1).numpy()
    expected = np.mean([_pairs(softmax[:, c], classes == c) for c in range(size - 1)])
    assert value("roc_auc", scores, classes) == pytest.approx(expected, abs=1e-9)


def _pairs(scores, positive):
    """Count the pairs that are in order, equal ones (to rounding) by half."""
    difference = scores[positive][:, None] - scores[~positive][None, :]
    return np.mean((difference > 1e-12) + 0.5 * (np.abs(difference) <= 1e-12))


def test_roc_auc_of_many_classes_agrees_with_scikit_learn():
    random = np.random.default_rng(3)
    scores, classes = random.standard_normal((200, 4)).astype(np.float32), np.arange(200) % 4
    scores[np.arange(200), classes] += 1
    softmax = torch.from_numpy(scores).double().softmax(1).numpy()
    expected = reference.roc_auc_score(classes, softmax, multi_class="ovr", average="macro")
    assert value("roc_auc", scores, classes) == pytest.approx(expected, abs=1e-12)


def test_roc_auc_sees_what_a_saturated_softmax_hides():
    # In single and in double precision, the softmax of class 0 is exactly 1 in both rows.
    scores, classes = [[900.0, 0, 0], [800.0, 0, 0], [0, 9, 0], [0, 0, 9]], [0, 1, 1, 2]
    odds = [[900, 800, -9, -9], [-900, -800, 9, -9], [-900, -800, -9, 9]]
    expected = np.mean([reference.roc_auc_score(np.equal(classes, c), odds[c]) for c in range(3)])
    assert value("roc_auc", scores, classes) == pytest.approx(expected, abs=1e-12)


@DRAWN
@given(labelled())
def test_roc_auc_of_labels_agrees_with_scikit_learn(drawn):
    scores, labels = drawn
    varied = [c for c in range(labels.shape[1]) if 0 < labels[:, c].sum() < len(labels)]
    areas = [reference.roc_auc_score(labels[:, c], scores[:, c]) for c in varied]
    expected = np.mean(areas) if areas else math.nan
    assert value("roc_auc", scores, labels) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@st.composite
def believed(draw):
    """Draw probabilities [N, C] that sum to one, sure ones among them, and classes."""
    scores, classes = draw(classified())
    factor = draw(st.sampled_from([0.0, 0.3, 1.0, 50.0]))
    return torch.from_numpy(scores * np.float32(factor)).softmax(1).numpy(), classes


@DRAWN
@given(believed())
def test_brier_agrees_with_scikit_learn(drawn):
    probabilities, classes = drawn
    size = probabilities.shape[1]
    expected = np.square(probabilities.astype(np.float64) - np.eye(size)[classes]).sum(1).mean()
    assert value("brier", probabilities, classes) == pytest.approx(expected, abs=1e-12)
    half = value("brier", probabilities, classes, scale_by_half=True)
    assert half == pytest.approx(expected / 2, abs=1e-12)
    if "scale_by_half" not in inspect.signature(reference.brier_score_loss).parameters:
        return  # before scikit-learn 1.7: two classes only
    exact = probabilities.astype(np.float64)
    theirs = quietly(
        reference.brier_score_loss,
        classes,
        exact[:, 1] if size == 2 else exact / exact.sum(1, keepdims=True),
        labels=list(range(size)),
        scale_by_half=False,
    )
    assert value("brier", probabilities, classes) == pytest.approx(theirs, abs=1e-6)


@DRAWN
@given(believed(), st.integers(1, 20))
def test_calibration_error_bin_by_bin(drawn, bins):
    probabilities, classes = drawn
    gaps = {}
    for row, label in zip(probabilities, classes, strict=True):
        confidence = float(row.max())
        place = min(math.ceil(round(confidence * bins, 9)), bins)
        # An edge that rounding may move to either side is no test of ours.
        assume(abs(confidence * bins - round(confidence * bins)) > 1e-6 or confidence == 1)
        gaps.setdefault(place, []).append(float(row.argmax() == label) - confidence)
    expected = sum(abs(sum(gap)) for gap in gaps.values()) / len(classes)
    found = value("calibration_error", probabilities, classes, bins=bins)
    assert found == pytest.approx(expected, abs=1e-9)
    worst = max(abs(np.mean(gap)) for gap in gaps.values())
    found = value("calibration_error", probabilities, classes, bins=bins, norm="max")
    assert found == pytest.approx(worst, abs=1e-9)


def test_calibration_error_agrees_with_the_calibration_curve_of_scikit_learn():
    from sklearn.calibration import calibration_curve

    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.6, 0.6, 0.6], size=3000).astype(np.float32)
    classes = random.integers(0, 3, size=3000)
    confidence, right = probabilities.max(1).astype(np.float64), probabilities.argmax(1) == classes
    shares, means = calibration_curve(right, confidence, n_bins=15)
    edges = np.linspace(0, 1, 16)
    sizes = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=15)
    expected = (np.abs(shares - means) * sizes[sizes > 0]).sum() / 3000
    found = value("calibration_error", probabilities, classes)
    assert found == pytest.approx(expected, abs=1e-9)
    assert found > 0.1  # these classes have nothing to do with the probabilities


def test_a_constant_honest_answer_is_calibrated():
    probabilities = np.tile(np.float32([0.75, 0.25]), (400, 1))
    assert value("calibration_error", probabilities, np.arange(400) % 4 == 0) == 0


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("mae", reference.mean_absolute_error),
        ("mse", reference.mean_squared_error),
        ("rmse", reference.root_mean_squared_error),
        ("r2", reference.r2_score),
        ("explained_variance", reference.explained_variance_score),
    ],
)
@DRAWN
@given(measured())
def test_metrics_of_numbers_agree_with_scikit_learn(name, theirs, drawn):
    prediction, target = drawn
    expected = theirs(target.astype(np.float64), prediction.astype(np.float64))
    # A target that varies by next to nothing makes an enormous ratio of two rounding errors.
    assume(abs(expected) < 1e12)
    assert value(name, prediction, target) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["r2", "explained_variance"])
def test_a_constant_target_is_met_or_missed(name):
    # 0.1 is no sum of powers of two: a mean of ten of them is off in the last place.
    constant = np.full((10, 1), 0.1, dtype=np.float32)
    assert value(name, constant, constant) == 1
    assert value(name, np.arange(10.0)[:, None], constant) == 0


def test_r2_of_one_sample_is_undefined():
    assert math.isnan(value("r2", [[1.0]], np.float32([[2.0]])))


# --- what holds for all of them ----------------------------------------------------------------


def _example(entry, *shape):
    """Make a random prediction and target that fit the metric's declarations."""
    generator = torch.Generator().manual_seed(5)
    if "objective" in entry.facts.target:
        points = torch.randn(24, 3, generator=generator)
        return points, torch.randn(24, 2, 3, generator=generator)
    if "class" not in entry.facts.target:
        return (torch.randn(24, 2, generator=generator) for _ in range(2))
    scores = torch.randn(24, 6, *shape, generator=generator)
    target = torch.randint(0, 6, (24, *shape), generator=generator)
    shown = scores.softmax(1) if entry.facts.prediction == "probabilities" else scores
    return shown, target


@pytest.mark.parametrize("name", metric)
def test_the_order_of_the_samples_does_not_matter(name):
    entry = metric[name]
    prediction, target = _example(entry)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    first, second = (
        float(entry.function(*pair))
        for pair in ((prediction, target), (prediction[order], target[order]))
    )
    assert first == pytest.approx(second, rel=1e-13)


@pytest.mark.parametrize("name", [n for n in metric if metric[n].facts.lower_is_better is not None])
def test_a_perfect_prediction_is_best(name):
    entry = metric[name]
    worse, target = _example(entry)
    if "class" in entry.facts.target:
        best = torch.nn.functional.one_hot(target, 6).float()
    else:
        best = target[:, 0].clone() if "objective" in entry.facts.target else target.clone()
    sign = -1 if entry.facts.lower_is_better else 1
    at_best, at_worse = (float(entry.function(shown, target)) for shown in (best, worse))
    assert sign * at_best > sign * at_worse
    assert at_best == pytest.approx(0 if entry.facts.lower_is_better else 1)


@pytest.mark.parametrize("name", [name for name in metric if "class" in metric[name].facts.target])
def test_a_class_per_place_counts_as_a_sample_each(name):
    entry = metric[name]
    prediction, target = _example(entry, 3, 2)
    flat = prediction.movedim(1, -1).reshape(-1, 6)
    expected = float(entry.function(flat, target.reshape(-1)))
    assert float(entry.function(prediction, target)) == expected


@pytest.mark.parametrize("name", [name for name in metric if metric[name].facts.vmaps])
def test_all_trials_at_once_have_the_values_that_they_have_alone(name):
    entry = metric[name]
    prediction, target = _example(entry)
    trials = torch.stack([prediction, prediction.flip(0), torch.full_like(prediction, torch.nan)])
    together = torch.vmap(lambda one: entry.function(one, target))(trials)
    alone = torch.stack([entry.function(one, target) for one in trials])
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", metric)
def test_a_prediction_that_is_not_a_number_is_never_good(name):
    entry = metric[name]
    prediction, target = _example(entry)
    nothing = torch.full_like(prediction, torch.nan)
    found = float(entry.function(nothing, target))
    assert math.isnan(found) or found == (1 if entry.facts.lower_is_better else 0)


@pytest.mark.parametrize("name", metric)
def test_metrics_leave_their_inputs_alone(name):
    entry = metric[name]
    prediction, target = _example(entry)
    before = prediction.clone(), target.clone()
    entry.function(prediction, target)
    assert torch.equal(prediction, before[0])
    assert torch.equal(target, before[1])
