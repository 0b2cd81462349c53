"""Preparing data: splits, units, noise, the fingerprint, and data that cannot be trained on."""

import dataclasses
import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from lossbench.components.declarations import DatasetFacts
from lossbench.components.vocabulary import Data, Samples, Target
from lossbench.config.spec import Choice, DatasetOptions
from lossbench.errors import DataError
from lossbench.registry import dataset
from lossbench.training.data import Scaling, fingerprint, load
from lossbench.training.splits import divide

OFFLINE = [name for name in dataset if name not in ("csv", "npz", "mnist", "fashion_mnist")]
DRAWN = settings(deadline=None, derandomize=True, max_examples=200)


def prepare(name, knobs=None, **options):
    """Prepare a built-in dataset."""
    choice = Choice("dataset", name, knobs or {}, DatasetOptions(**options))
    return load(choice, dataset[name])


def prepare_own(data, **options):
    """Prepare what a user's own dataset returns."""

    def own(seed):
        """Return what the test made."""
        return data

    entry = dataset.entry(own, target=None)
    return load(Choice("dataset", "own", {}, DatasetOptions(**options)), entry)


def classes(count, size=3, **more):
    """Make data of classes whose input is the number of the sample."""
    x = np.arange(float(count))[:, None]
    return Data(Target("class", size), Samples(x, np.arange(count) % size), **more)


# --- all built-in data -------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFLINE)
def test_every_dataset_is_ready_to_train_on(name):
    prepared = prepare(name)
    assert isinstance(dataset[name].facts, DatasetFacts)
    assert list(prepared.splits)[:2] == ["train", "validation"]
    for samples in prepared.splits.values():
        assert samples.inputs.shape[1:] == prepared.inputs
        assert samples.inputs.dtype == np.float32
        assert samples.targets.dtype == (
            np.int64 if prepared.target.kind == "class" else np.float32
        )
        assert samples.inputs.flags.c_contiguous
        assert samples.targets.flags.c_contiguous
        assert np.isfinite(samples.inputs).all()


@pytest.mark.parametrize("name", OFFLINE)
def test_the_same_seed_gives_the_same_data(name):
    first, again = prepare(name, seed=4), prepare(name, seed=4)
    assert first.fingerprint == again.fingerprint
    for split, samples in first.splits.items():
        assert samples.inputs.tobytes() == again.splits[split].inputs.tobytes()
        assert samples.targets.tobytes() == again.splits[split].targets.tobytes()


@pytest.mark.parametrize("name", OFFLINE)
def test_another_seed_gives_other_data(name):
    fixed = name in ("cubic", "chebyshev", "sine")  # nothing random without noise
    knobs = {"noise": 0.1} if fixed else {}
    assert prepare(name, knobs, seed=4).fingerprint != prepare(name, knobs, seed=5).fingerprint


def test_cubic_trains_on_all_its_points():
    prepared = prepare("cubic")
    train = prepared.splits["train"]
    x = np.linspace(-1, 1, 500)
    np.testing.assert_array_equal(train.inputs[:, 0], x.astype(np.float32))
    np.testing.assert_allclose(train.targets[:, 0], x**3, rtol=1e-7, atol=1e-12)
    assert list(prepared.splits) == ["train", "validation"]
    assert len(prepared.splits["validation"]) == 499
    assert (prepared.input_scaling, prepared.target_scaling) == (None, None)


def test_the_usual_split_of_iris():
    prepared = prepare("iris")
    sizes = {split: len(samples) for split, samples in prepared.splits.items()}
    assert sum(sizes.values()) == 150
    assert sizes["train"] == 105
    for split, share in {"train": 35, "validation": 7.5, "test": 7.5}.items():
        counts = np.bincount(prepared.splits[split].targets)
        assert (np.abs(counts - share) <= 1).all()


@pytest.mark.parametrize("name", ["diabetes", "friedman"])
def test_real_targets_are_standardised_where_the_data_say_so(name):
    prepared = prepare(name)
    train = prepared.splits["train"].targets
    assert (train.mean(), train.std()) == pytest.approx((0, 1), abs=1e-5)
    raw = prepare(name, standardize_target=False).splits
    for split, samples in prepared.splits.items():
        back = prepared.target_scaling.invert(samples.targets)
        np.testing.assert_allclose(back, raw[split].targets, rtol=1e-5, atol=1e-4)


# --- splitting ---------------------------------------------------------------------------------


@DRAWN
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=120),
    shares=st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.98, 0.02)]),
    seed=st.integers(0, 2**31),
)
def test_rows_are_divided_once_each_and_class_by_class(labels, shares, seed):
    labels = np.array(labels)
    parts = divide(len(labels), labels, shares, np.random.default_rng(seed))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for c in np.unique(labels):
        held = np.array([(labels[part] == c).sum() for part in parts])
        count = held.sum()
        assert held[0] >= 1
        if count >= len(shares):
            assert held.min() >= 1
        # Rounding, what it carries over, and the one that each part gets at least.
        assert (np.abs(held - count * np.array(shares)) <= len(shares)).all()


@DRAWN
@given(sizes=st.lists(st.integers(20, 60), min_size=1, max_size=12), seed=st.integers(0, 999))
def test_sizes_of_the_parts_are_those_of_the_whole(sizes, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    parts = divide(len(labels), labels, (0.7, 0.15, 0.15), np.random.default_rng(seed))
    for part, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
        assert abs(len(part) - share * len(labels)) <= 1.01


def test_a_split_does_not_repeat_the_draws_of_the_data():
    """A dataset that shuffles by the seed itself is not put back into order by the split."""
    order = np.random.default_rng(0).permutation(1000)
    data = Data(
        Target("real", 1), Samples(order[:, None].astype(float), np.zeros(1000)), standardize=False
    )
    train = prepare_own(data).splits["train"].inputs.ravel()
    assert abs(np.corrcoef(train, np.arange(len(train)))[0, 1]) < 0.2
    assert abs(np.corrcoef(train, order[: len(train)])[0, 1]) < 0.2


def test_the_split_depends_on_the_seed_alone():
    one, other = (prepare_own(classes(60), seed=2, standardize=flag) for flag in (False, True))
    back = other.input_scaling.invert(other.splits["test"].inputs)
    np.testing.assert_allclose(one.splits["test"].inputs, back, atol=1e-5)


def test_shares_of_zero_leave_a_split_out():
    assert list(prepare_own(classes(30), split=(1, 0, 0)).splits) == ["train"]
    assert list(prepare_own(classes(30), split=(0.8, 0, 0.2)).splits) == ["train", "test"]


def test_a_missing_validation_split_is_cut_from_the_training_split():
    whole = classes(100).samples
    data = Data(Target("class", 3), train=whole, test=whole.take(np.arange(7)), standardize=False)
    prepared = prepare_own(data, split=(0.6, 0.2, 0.2))
    sizes = {split: len(samples) for split, samples in prepared.splits.items()}
    assert sizes == {"train": 75, "validation": 25, "test": 7}
    np.testing.assert_array_equal(prepared.splits["test"].inputs, whole.inputs[:7])
    assert "validation" not in prepare_own(data, split=(1, 0, 0)).splits


def test_ready_splits_stay_as_they_are():
    whole = classes(20).samples
    data = Data(Target("class", 3), train=whole, validation=whole, standardize=False)
    prepared = prepare_own(data)
    np.testing.assert_array_equal(prepared.splits["train"].inputs, whole.inputs)
    assert "test" not in prepared.splits


def test_classes_that_are_too_rare_are_named():
    labels = np.array([0] * 20 + [1] * 20 + [2])
    data = Data(
        Target("class", 4, ("ant", "bee", "cat", "dog")), Samples(np.zeros((41, 1)), labels)
    )
    notes = prepare_own(data).notes
    assert "no sample of class dog in the train split" in notes
    assert "no sample of class cat, dog in the test split" in notes


# --- units -------------------------------------------------------------------------------------


def test_standardisation_agrees_with_scikit_learn_and_sees_the_training_split_only():
    plain, prepared = prepare("wine", standardize=False), prepare("wine")
    scaler = StandardScaler().fit(plain.splits["train"].inputs.astype(np.float64))
    for split, samples in prepared.splits.items():
        expected = scaler.transform(plain.splits[split].inputs.astype(np.float64))
        np.testing.assert_allclose(samples.inputs, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(prepared.input_scaling.mean, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(prepared.input_scaling.scale, scaler.scale_, rtol=1e-6)


def test_images_are_standardised_per_channel():
    values = np.random.default_rng(0).normal([[[1.0]], [[50.0]]], [[[2.0]], [[9.0]]], (60, 2, 4, 5))
    scaling = Scaling.fit(values)
    assert scaling.mean.shape == scaling.scale.shape == (2, 1, 1)
    scaled = scaling.apply(values)
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3)), 1, rtol=1e-6)
    np.testing.assert_allclose(scaling.invert(scaled), values, rtol=1e-5, atol=1e-5)


def test_a_constant_feature_becomes_zero_and_stays_finite_elsewhere():
    # 0.1 is no sum of powers of two: its computed deviation is not 0.
    x = np.column_stack([np.full(30, 0.1), np.arange(30.0)])
    other = Samples(np.array([[5.1, 3.0]]), np.array([0]))
    data = Data(Target("class", 2), train=Samples(x, np.arange(30) % 2), validation=other)
    prepared = prepare_own(data)
    np.testing.assert_array_equal(prepared.splits["train"].inputs[:, 0], 0)
    assert prepared.splits["validation"].inputs[0, 0] == pytest.approx(5)


def test_large_offsets_do_not_cost_digits():
    seconds = 1.7e9 + np.arange(40.0)
    data = Data(Target("real", 1), Samples(seconds[:, None], seconds), standardize_target=True)
    prepared = prepare_own(data, split=(1, 0, 0))
    train = prepared.splits["train"]
    assert len(np.unique(train.inputs)) == len(np.unique(train.targets)) == 40
    back = prepared.target_scaling.invert(train.targets.astype(np.float64))
    np.testing.assert_allclose(np.sort(back.ravel()), seconds, atol=1e-5)


def test_the_options_decide_over_the_data():
    assert prepare("iris", standardize=False).input_scaling is None
    assert prepare("moons").input_scaling is None
    assert prepare("moons", standardize=True).input_scaling is not None
    assert prepare("cubic", standardize_target=True).target_scaling is not None


@pytest.mark.parametrize("name", ["iris", "moons"])
def test_classes_have_no_units(name):
    with pytest.raises(DataError, match="standardize_target is for real targets"):
        prepare(name, standardize_target=True)


# --- label noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_label_noise_changes_its_share_of_the_training_labels_only(share):
    clean, noisy = prepare("digits"), prepare("digits", label_noise=share)
    changed = clean.splits["train"].targets != noisy.splits["train"].targets
    assert changed.sum() == round(share * len(changed))
    for split in ("validation", "test"):
        np.testing.assert_array_equal(clean.splits[split].targets, noisy.splits[split].targets)
    np.testing.assert_array_equal(clean.splits["train"].inputs, noisy.splits["train"].inputs)
    if share == 1:  # every other class, equally often
        moved = (noisy.splits["train"].targets - clean.splits["train"].targets) % 10
        assert np.bincount(moved)[1:].min() > 0.7 * len(moved) / 9


def test_more_label_noise_changes_more_of_the_same_labels():
    clean, some, more = (
        prepare("digits", label_noise=share).splits["train"].targets for share in (0.0, 0.2, 0.4)
    )
    changed = some != clean
    np.testing.assert_array_equal(more[changed], some[changed])


def test_label_noise_of_numbers_is_refused():
    with pytest.raises(DataError, match="label_noise is for classes, and the targets are real"):
        prepare("cubic", label_noise=0.1)


# --- the fingerprint ---------------------------------------------------------------------------


def test_the_fingerprint_is_a_sum_over_names_shapes_types_and_bytes():
    x, y = np.float32([[1, 2]]), np.int64([3])
    total = hashlib.sha256()
    total.update(b"train.inputs <f4 (1, 2)\n" + x.tobytes())
    total.update(b"train.targets <i8 (1,)\n" + y.tobytes())
    assert fingerprint({"train": Samples(x, y)}) == total.hexdigest()
    assert fingerprint({"train": Samples(x.astype(">f4"), y)}) == total.hexdigest()


def test_any_change_changes_the_fingerprint():
    x, y = np.zeros((4, 6), np.float32), np.zeros(4, np.int64)
    x2, y2 = x.copy(), y.copy()
    x2[3, 5], y2[0] = 1e-30, 1
    different = [
        {"train": Samples(x, y)},
        {"train": Samples(x2, y)},
        {"train": Samples(x, y2)},
        {"train": Samples(x.reshape(4, 3, 2), y)},
        {"test": Samples(x, y)},
        {"train": Samples(x, y), "test": Samples(x, y)},
    ]
    assert len({fingerprint(splits) for splits in different}) == len(different)


# --- data that cannot be trained on ------------------------------------------------------------

ONES = np.ones((6, 2))
BAD = {
    "no data": ([1, 2], "returned list, where a dataset returns Data"),
    "nothing given": (Data(Target("class", 2)), "either `samples` or `train`"),
    "both given": (
        dataclasses.replace(classes(6), train=classes(6).samples),
        "either `samples` or `train`",
    ),
    "no samples": (Data(Target("class", 2), Samples(ONES[:0], np.arange(0))), "no samples"),
    "unequal": (Data(Target("class", 2), Samples(ONES, np.arange(5))), "same number of samples"),
    "texts": (
        Data(Target("class", 2), Samples(ONES.astype(str), np.arange(6))),
        "where both must be real numbers",
    ),
    "label too high": (
        Data(Target("class", 3), Samples(ONES, np.array([0, 1, 2, 3, 0, 1]))),
        r"a target is 3, in sample 3[\s\S]*classes are 0 to 2",
    ),
    "label below 0": (
        Data(Target("class", 3), Samples(ONES, np.array([0, 1, -1, 0, 0, 1]))),
        "a target is -1, in sample 2",
    ),
    "half a label": (
        Data(Target("class", 3), Samples(ONES, np.array([0, 1, 0.5, 0, 0, 1]))),
        "a target is 0.5, in sample 2",
    ),
    "negative count": (
        Data(Target("count", 1), Samples(ONES, np.array([0, 1, 2, 3, 4, -5]))),
        "a target is -5, in sample 5",
    ),
    "half a count": (
        Data(Target("count", 1), Samples(ONES, np.array([0.5, 1, 2, 3, 4, 5]))),
        "a target is 0.5, in sample 0",
    ),
    "two of a label": (Data(Target("multilabel", 2), Samples(ONES, 2 * ONES)), "marked by 0 and 1"),
    "no distribution": (
        Data(Target("distribution", 2), Samples(ONES, 0.4 * ONES)),
        "a target's sum is 0.8, in sample 0",
    ),
    "negative probability": (
        Data(Target("distribution", 2), Samples(ONES, np.tile([1.5, -0.5], (6, 1)))),
        r"probabilities lie in \[0, 1\]",
    ),
    "another width": (Data(Target("real", 3), Samples(ONES, ONES)), r"shape \(2,\).*rows of 3"),
    "another shape in a split": (
        Data(
            Target("real", 2), train=Samples(ONES, ONES), test=Samples(ONES[:, :1], ONES)
        ),
        r"own, test: one input is \(1,\), and \(2,\) elsewhere",
    ),
    "names": (
        Data(Target("real", 2), Samples(ONES, ONES), input_names=("a",)),
        "1 input_names for 2 inputs",
    ),
    "too few": (
        Data(Target("real", 2), Samples(ONES[:2], ONES[:2])),
        r"2 samples cannot be divided into train and validation and test[\s\S]*\[1, 0, 0\]",
    ),
    "beyond single precision": (
        Data(Target("real", 2), Samples(1e39 * ONES, ONES), standardize=False),
        "an input in single precision is inf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_data_that_cannot_be_trained_on_are_refused(case):
    data, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        prepare_own(data)
    assert str(caught.value).startswith("own")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["inputs", "targets"])
def test_what_is_not_finite_is_refused_with_its_place(bad, side):
    samples = Samples(ONES.copy(), ONES.copy())
    getattr(samples, side)[4, 1] = bad
    with pytest.raises(DataError, match=rf"an? {side[:-1]} is {bad}, in sample 4"):
        prepare_own(Data(Target("real", 2), samples))


def test_a_split_that_comes_out_empty_is_refused():
    # Five classes with a sample each: all of them are needed for training.
    data = Data(Target("class", 5), Samples(np.zeros((5, 1)), np.arange(5)))
    with pytest.raises(DataError, match=r"(?s)5 samples leave none for .*split: "):
        prepare_own(data)


@pytest.mark.parametrize(
    "split",
    [(0.7, 0.2, 0.2), (0.5, 0.1, 0.1), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0, 0)],
)
def test_shares_that_divide_nothing_are_refused(split):
    with pytest.raises(DataError, match=re.escape(f"split {list(split)}")):
        prepare("iris", split=split)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"label_noise": 1.5}, "label_noise is 1.5"), ({"seed": -1}, "seed is -1")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        prepare("iris", **options)


def test_a_file_with_bad_values_is_named(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, x=ONES, y=[0, 1, 0, 1, 7, 0])
    with pytest.raises(DataError, match=r"npz \(.*bad.npz\): a target is 7, in sample 4"):
        prepare("npz", {"path": str(path), "classes": 2})


def test_a_table_is_prepared_whole(tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"{i},{'ab'[i % 2]},{2.0 * i + 0.5}" for i in range(40)]
    path.write_text("\n".join(["size,kind,price", *rows]))
    prepared = prepare("csv", {"path": str(path)})
    assert prepared.target == Target("real", 1, ("price",))
    assert prepared.inputs == (3,)
    assert prepared.input_names == ("size", "kind=a", "kind=b")
    assert len(prepared.splits["train"]) == 28
    raw = prepared.input_scaling.invert(prepared.splits["test"].inputs)
    price = prepared.target_scaling.invert(prepared.splits["test"].targets)
    np.testing.assert_allclose(2 * raw[:, :1] + 0.5, price, atol=1e-4)


def test_a_split_is_drawn_at_random_and_each_seed_draws_another():
    labels = np.repeat([0, 1, 2], 40)
    chosen = np.zeros(len(labels))
    for seed in range(400):
        parts = divide(len(labels), labels, (0.7, 0.15, 0.15), np.random.default_rng(seed))
        chosen[parts[2]] += 1
    # Each sample is in the test part 60 times of 400, give or take seven; nothing is preferred.
    assert chosen.min() > 60 - 5 * 7.2
    assert chosen.max() < 60 + 5 * 7.2
    assert np.corrcoef(chosen, np.arange(len(labels)))[0, 1] < 0.35
