"""Data sets: their published sizes and values, their formulas, and files in every bad shape."""

import gzip
import hashlib
import io
import math
import struct
import subprocess
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.components.datasets import _download, _idx, _inputs, _table, mnist
from lossbench.components.vocabulary import Target
from lossbench.errors import DataError, LossbenchError, MissingError
from lossbench.registry import dataset

FROM_FILES = ("csv", "npz", "mnist", "fashion_mnist")
MADE = [name for name in dataset if name not in FROM_FILES]
# What brings a function to be minimised has another contract: see test_problems.py.
RANDOM = [n for n in MADE if not (dataset[n].facts.real or dataset[n].facts.network)]


def make(name, seed=0, **knobs):
    return dataset[name].function(seed, **knobs)


def outcome(name, path):
    """Return what reading a file gives: data, or the message of an error of our own."""
    try:
        return make(name, path=str(path)), ""
    except LossbenchError as error:
        return None, str(error)


def parts(data):
    """Return the parts of Data that are there, by name."""
    names = ("samples", "train", "validation", "test")
    return {name: getattr(data, name) for name in names if getattr(data, name) is not None}


def content(data):
    """Return all bytes of Data."""
    return b"".join(part.inputs.tobytes() + part.targets.tobytes() for part in parts(data).values())


# --- what holds for all that need no file ------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_data_are_what_is_declared(name):
    facts, data = dataset[name].facts, make(name)
    declared = facts.target
    assert data.target == declared if isinstance(declared, Target) else data.target.kind == declared
    for samples in parts(data).values():
        assert len(samples.inputs) == len(samples.targets) > 0
        assert facts.inputs in (None, samples.inputs.shape[1:])
        # The values of drawn images have no names: there are thousands, and they mean nothing.
        drawn = name in ("shapes", "volumes")
        assert len(data.input_names) == (0 if drawn else math.prod(samples.inputs.shape[1:]))
        assert np.isfinite(samples.inputs).all()
        if data.target.kind == "class":
            assert samples.targets.dtype == np.int64
            assert set(np.unique(samples.targets)) == set(range(data.target.size))
            assert len(data.target.names) == data.target.size
        else:
            assert samples.targets.shape[-1:] == (data.target.size,)


@pytest.mark.parametrize("name", MADE)
def test_the_same_seed_gives_the_same_bytes(name):
    assert content(make(name, 7)) == content(make(name, 7))


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_gives_other_bytes(name):
    knobs = {"noise": 0.1} if any(k.name == "noise" for k in dataset[name].knobs) else {}
    assert content(make(name, 1, **knobs)) != content(make(name, 2, **knobs))


@pytest.mark.parametrize("name", RANDOM)
def test_the_global_random_state_plays_no_part(name):
    np.random.seed(1)
    before, state = content(make(name)), np.random.get_state()[1].tobytes()
    assert state == np.random.get_state()[1].tobytes()
    np.random.seed(2)
    assert content(make(name)) == before


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("samples", [8, 33])
def test_as_many_samples_as_were_asked_for(name, samples):
    knobs = {"ratio": 3.0} if name == "imbalanced" else {}  # two of the rare class, of only eight
    data = make(name, samples=samples, **knobs)
    assert len(data.samples or data.train) == samples


@pytest.mark.parametrize("name", [n for n in RANDOM if n not in ("blobs", "imbalanced")])
def test_noise_is_one_draw_scaled(name):
    def noisy(noise):
        data = make(name, 3, noise=noise)
        samples = data.samples or data.train
        return np.concatenate([samples.inputs.ravel(), samples.targets.ravel()])

    once, twice = noisy(0.25) - noisy(0.0), noisy(0.5) - noisy(0.0)
    assert np.abs(once).max() > 0
    np.testing.assert_allclose(twice, 2 * once, atol=1e-9)


@pytest.mark.parametrize("name", MADE)
def test_every_knob_is_explained(name):
    entry = dataset[name]
    assert [knob.name for knob in entry.knobs if not knob.doc] == []
    assert entry.doc.sections["Shapes"]


def test_listing_the_data_sets_imports_neither_torch_nor_numpy_nor_scikit_learn():
    program = (
        "import sys; from lossbench.registry import dataset, metric; list(dataset), list(metric)"
        "; print(sorted({'torch', 'numpy', 'sklearn', 'urllib.request'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- curves ------------------------------------------------------------------------------------


def test_cubic_is_x_cubed_at_evenly_spaced_points():
    data = make("cubic")
    x, y = data.train.inputs[:, 0], data.train.targets[:, 0]
    assert len(x) == 500
    assert (x[0], x[-1]) == (-1, 1)
    np.testing.assert_allclose(np.diff(x), 2 / 499, rtol=1e-12)
    np.testing.assert_array_max_ulp(y, x * x * x, maxulp=2)


@pytest.mark.parametrize("name", ["cubic", "chebyshev", "sine"])
def test_curves_validate_between_their_points_without_noise(name):
    clean, noisy = make(name), make(name, noise=0.5, outliers=0.1)
    assert clean.samples is None
    assert clean.test is None
    x = clean.train.inputs[:, 0]
    np.testing.assert_allclose(clean.validation.inputs[:, 0], (x[1:] + x[:-1]) / 2)
    assert not set(clean.validation.inputs.ravel()) & set(x)
    np.testing.assert_array_equal(noisy.validation.targets, clean.validation.targets)
    np.testing.assert_array_equal(noisy.train.inputs, clean.train.inputs)


@pytest.mark.parametrize("degree", range(8))
def test_chebyshev_agrees_with_numpy(degree):
    data = make("chebyshev", degree=degree, samples=101)
    expected = np.polynomial.chebyshev.Chebyshev.basis(degree)(data.train.inputs)
    np.testing.assert_allclose(data.train.targets, expected, atol=1e-12)


def test_sine_has_its_frequency_and_phase():
    data = make("sine", frequency=3.0, phase=0.5, samples=601)
    x, y = data.train.inputs[:, 0], data.train.targets[:, 0]
    np.testing.assert_allclose(y[np.isclose(x, 0, atol=1e-12)], math.sin(0.5), atol=1e-12)
    np.testing.assert_allclose(y[:-200], y[200:], atol=1e-9)  # 200 points are 2/3: two periods


def test_outliers_replace_the_error_of_their_share():
    clean = make("cubic").train.targets
    error = make("cubic", 1, noise=0.0, outliers=0.2, outlier_size=50.0).train.targets - clean
    assert (error != 0).sum() == 100
    assert 30 < error[error != 0].std() < 70


# --- formulas with many inputs -----------------------------------------------------------------


def test_linear_regression_is_linear_with_the_noise_it_says():
    data = make("linear_regression", samples=20_000, features=4, noise=0.5)
    x, y = data.samples.inputs, data.samples.targets[:, 0]
    design = np.column_stack([x, np.ones(len(x))])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert residual.std() == pytest.approx(0.5, rel=0.02)
    assert data.floor["mse"] == pytest.approx(np.square(residual).mean(), rel=0.04)
    assert data.floor["mae"] == pytest.approx(np.abs(residual).mean(), rel=0.04)


@pytest.mark.parametrize("condition", [1.0, 100.0, 1e4])
def test_linear_regression_has_the_condition_it_says(condition):
    x = make("linear_regression", samples=50_000, features=5, condition=condition).samples.inputs
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(condition, rel=0.05)
    if condition > 1:  # rotated: no rescaling of single features mends it
        assert np.abs(np.corrcoef(x.T) - np.eye(5)).max() > 0.1


@pytest.mark.parametrize("function", [1, 2, 3])
def test_friedman_agrees_with_scikit_learn(function):
    """Recompute our targets by scikit-learn's formula, fed with our inputs."""
    data = make("friedman", function=function, samples=50)
    x = data.samples.inputs
    ranges = np.array([[0, 100], [40 * np.pi, 560 * np.pi], [0, 1], [1, 11]])

    class Ours(np.random.RandomState):
        """Gives scikit-learn our own draws, as numbers from 0 to 1."""

        def uniform(self, *_, **__):
            return x if function == 1 else (x - ranges[:, 0]) / np.diff(ranges, axis=1)[:, 0]

    theirs = getattr(reference, f"make_friedman{function}")
    inputs, targets = theirs(50, random_state=Ours(0))
    np.testing.assert_allclose(inputs, x, rtol=1e-12)
    np.testing.assert_allclose(data.samples.targets[:, 0], targets, rtol=1e-9)


def test_friedman_has_more_inputs_for_function_one_only():
    assert make("friedman", features=20).samples.inputs.shape[1] == 20
    with pytest.raises(DataError, match="function 2 always has 4"):
        make("friedman", function=2, features=20)


# --- points in classes -------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "samples"), [("moons", 100), ("circles", 100)])
def test_shapes_of_scikit_learn(name, samples):
    data = make(name, samples=samples, noise=0.0)
    x, y = getattr(reference, f"make_{name}")(
        samples, shuffle=False, **({"factor": 0.5} if name == "circles" else {})
    )
    np.testing.assert_allclose(data.samples.inputs, x, atol=1e-12)
    np.testing.assert_array_equal(data.samples.targets, y)


@pytest.mark.parametrize("name", ["moons", "circles", "spirals", "blobs", "xor"])
@given(samples=st.integers(4, 60))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_classes_are_shared_out_evenly(name, samples):
    data = make(name, samples=samples)
    sizes = np.bincount(data.samples.targets, minlength=data.target.size)
    # The corners of xor go in turns, and a class has every second or both of two.
    assert sizes.max() - sizes.min() <= (2 if name == "xor" else 1)


def test_spirals_wind_as_often_as_they_say():
    data = make("spirals", classes=3, turns=2.0, noise=0.0, samples=900)
    for arm in range(3):
        x = data.samples.inputs[data.samples.targets == arm]
        radius, angle = np.hypot(*x.T), np.unwrap(np.arctan2(x[:, 1], x[:, 0]))
        np.testing.assert_allclose(radius, np.arange(1, 301) / 300)
        np.testing.assert_allclose(np.diff(angle), 2 * np.pi * 2.0 / 300)
        expected = 2 * np.pi * arm / 3
        assert math.cos(angle[-1] - expected) == pytest.approx(1)


def test_blobs_are_round_clouds_of_their_spread():
    data = make("blobs", samples=6000, classes=3, features=4, spread=0.7)
    assert data.target.names == ("blob 1", "blob 2", "blob 3")
    for k in range(3):
        cloud = data.samples.inputs[data.samples.targets == k]
        np.testing.assert_allclose(np.cov(cloud.T), 0.49 * np.eye(4), atol=0.05)


@pytest.mark.parametrize("features", [2, 3])
def test_xor_is_parity_and_knows_its_floor(features):
    corners = make("xor", noise=0.0, features=features, samples=16)
    odd = (corners.samples.inputs > 0).sum(1) % 2
    np.testing.assert_array_equal(corners.samples.targets, odd)
    assert corners.floor["zero_one"] == 0
    noisy = make("xor", noise=0.8, features=features, samples=100_000).samples
    data = make("xor", noise=0.8, features=features)
    error = np.mean((noisy.inputs > 0).sum(1) % 2 != noisy.targets)
    assert data.floor["zero_one"] == pytest.approx(error, rel=0.03)


# --- measured data -----------------------------------------------------------------------------

PUBLISHED = {
    # name: inputs, the first inputs, the first targets, the size of each class
    "iris": ((150, 4), [5.1, 3.5, 1.4, 0.2], [0, 0, 0], [50, 50, 50]),
    "wine": ((178, 13), [14.23, 1.71, 2.43], [0, 0, 0], [59, 71, 48]),
    "breast_cancer": ((569, 30), [17.99, 10.38, 122.8], [0, 0, 0], [212, 357]),
    "digits": (
        (1797, 1, 8, 8),
        [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13],
        [0, 1, 2, 3, 4],
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    ),
    "diabetes": ((442, 10), [59, 2, 32.1, 101, 157], [151, 75, 141], None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_measured_data_are_the_published_ones(name):
    shape, inputs, targets, sizes = PUBLISHED[name]
    data = make(name)
    assert data.samples.inputs.shape == shape
    np.testing.assert_allclose(data.samples.inputs[0].ravel()[: len(inputs)], inputs, rtol=1e-6)
    np.testing.assert_array_equal(data.samples.targets.ravel()[: len(targets)], targets)
    if sizes is None:
        assert data.samples.targets.mean() == pytest.approx(152.13348416)
        assert data.standardize_target
    else:
        np.testing.assert_array_equal(np.bincount(data.samples.targets), sizes)
    theirs = getattr(reference, f"load_{name}")()
    assert data.input_names == tuple(map(str, theirs.feature_names))
    if sizes is not None:
        assert data.target.names == tuple(map(str, theirs.target_names))


def test_all_measured_data_are_held_against_their_publication():
    assert {name for name in MADE if dataset[name].facts.real} == set(PUBLISHED)


# --- csv ---------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """Write a table, and read it as a dataset."""

    def read(text, **knobs):
        path = tmp_path / "data.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return make("csv", path=str(path), **knobs)

    return read


FLOWERS = "length,color,species\n1.5,red,rose\n2.5,blue,iris\n3,red,rose\n4e0,blue,rose\n"


def test_csv_reads_numbers_categories_and_classes(table):
    data = table(FLOWERS)
    assert data.input_names == ("length", "color=blue", "color=red")
    np.testing.assert_array_equal(
        data.samples.inputs, [[1.5, 0, 1], [2.5, 1, 0], [3, 0, 1], [4, 1, 0]]
    )
    assert data.target == Target("class", 2, ("iris", "rose"))
    np.testing.assert_array_equal(data.samples.targets, [1, 0, 1, 1])
    assert "texts" in data.notes[0]


def test_csv_reads_double_precision(table):
    data = table("time,y\n1700000000.25,1.5\n1700000001.5,2.5\n")
    np.testing.assert_array_equal(data.samples.inputs[:, 0], [1700000000.25, 1700000001.5])


@pytest.mark.parametrize(
    ("text", "knobs"),
    [
        (FLOWERS.replace(",", ";"), {}),
        (FLOWERS.replace(",", "\t"), {}),
        (FLOWERS.replace(",", "|"), {"delimiter": "|"}),
        (FLOWERS.replace(",", "\t"), {"delimiter": "tab"}),
        (FLOWERS.replace("\n", "\r\n"), {}),
        (FLOWERS.replace("\n", "\r"), {}),
        (FLOWERS.replace("\n", "\n\n").replace(",", " , "), {}),
        ("\ufeff" + FLOWERS, {}),
        (FLOWERS.rstrip("\n"), {}),
        (FLOWERS.replace("red", '"red"').replace("length", '"length"'), {}),
        (FLOWERS, {"target": "species"}),
        (FLOWERS, {"target": 2}),
        (FLOWERS, {"header": "yes"}),
        ("\n".join(",".join(reversed(row.split(","))) for row in FLOWERS.split()), {"target": 0}),
    ],
)
def test_csv_however_it_is_written(table, text, knobs):
    data, plain = table(text, **knobs), table(FLOWERS)
    assert data.target == plain.target
    assert sorted(data.input_names) == sorted(plain.input_names)
    order = [data.input_names.index(name) for name in plain.input_names]
    np.testing.assert_array_equal(data.samples.inputs[:, order], plain.samples.inputs)
    np.testing.assert_array_equal(data.samples.targets, plain.samples.targets)


def test_csv_without_a_header_names_its_columns_by_index(table):
    data = table("1.5,red,3.5\n2,blue,4\n")
    assert data.input_names == ("column 0", "column 1=blue", "column 1=red")
    assert data.target == Target("real", 1, ("column 2",))


def test_csv_quoted_cells_hold_separators_and_line_ends(table):
    data = table('t,y\n"a, b",0.5\n"a\nb",1.5\n')
    assert data.input_names == ("t=a\nb", "t=a, b")


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ("0 1 0 1", "class"),
        ("3 4 3 4 4", "class"),
        ("1.0 2.0 1 2", "class"),
        ("a b a c", "class"),
        ("1 2 3 4", "real"),
        ("0.5 1.5 0.5 1.5", "real"),
    ],
)
def test_csv_guesses_the_task_and_says_so(table, cells, kind):
    data = table("x,y\n" + "".join(f"{i}.5,{cell}\n" for i, cell in enumerate(cells.split())))
    assert data.target.kind == kind
    assert f"taken as {kind}" in data.notes[0]
    assert data.standardize_target == (kind == "real")


def test_csv_takes_the_task_it_is_told(table):
    text = "x,y\n1.5,10\n2.5,9\n3.5,10\n4.5,9\n"
    assert table(text, task="real").target == Target("real", 1, ("y",))
    assert table(text, task="count").target == Target("count", 1, ("y",))
    data = table(text, task="class")
    assert data.target == Target("class", 2, ("9", "10"))  # by value, not by the alphabet
    assert data.notes == ()


def test_csv_columns_are_ignored_and_categorical_on_request(table):
    data = table("id,zone,y\n7,1,0.5\n8,2,1.5\n9,1,2.5\n", ignore=("id",), categorical=("zone",))
    assert data.input_names == ("zone=1", "zone=2")


BAD_TABLES = {
    "empty": ("", {}, r"data.csv: the file is empty"),
    "blank": ("\n \n", {}, r"data.csv: the file is empty"),
    "header only": ("a,b\n", {}, r"nothing below the header"),
    "missing": ("a,b,y\n1,2,0\n3,,1\n", {}, r"data.csv:3: no value in column 'b'"),
    "missing, in words": ("a,y\n1,0\nNaN,1\n?,1\n", {}, r"data.csv:3: .*'a' but 'NaN' \(2 values"),
    "missing target": ("a,y\n1,0\n2,\n", {}, r"data.csv:3: no value in column 'y'"),
    "text among numbers": (
        "a,b,y\n1,2,0\n3,4,1\n5,oops,1\n",
        {},
        r"(?s)data.csv:4: 'oops' in column 'b' is not a number.*categorical: \[b\]",
    ),
    "text in a real target": (
        "a,y\n1,2.5\n2,x\n3,4\n",
        {"task": "real"},
        r"data.csv:3: 'x' in column 'y' is not a number",
    ),
    "after a quoted line end": (
        't,a,y\n"two\nlines",1,0\nz,2,1\n"two\nlines",4,1\nz,bad,0\n',
        {},
        r"data.csv:7: 'bad'",
    ),
    "infinite": ("a,y\n1,0\ninf,1\n", {}, r"data.csv:3: 'inf' in column 'a' is infinite"),
    "too large": ("a,y\n1,0\n1e39,1\n", {}, r"data.csv:3: '1e39' .* is infinite in single"),
    "ragged": ("a,b,y\n1,2,0\n1,2\n", {}, r"data.csv:3: 2 cells, where line 1 has 3"),
    "no such column": (
        "weight,y\n1,0\n2,1\n",
        {"target": "wieght"},
        r"(?s)no column 'wieght'.*did you mean weight\?",
    ),
    "no such index": ("a,y\n1,0\n", {"target": 2}, r"(?s)no column 2.*count from 0 to 1"),
    "name without header": ("1,0\n2,1\n", {"target": "y"}, r"(?s)no column 'y'.*has no header"),
    "twins": ("a,b,a,y\n1,2,3,4\n", {}, r"data.csv:1: 2 columns are named 'a' \(columns 0, 2,"),
    "no name": (",a,y\n0,1,2\n1,2,3\n", {}, r"(?s)column 0 has no name.*ignore: \[0\]"),
    "one column": ("y\n1\n2\n", {}, r"(?s)no column is left for the inputs.*delimiter=auto"),
    "one class": ("a,y\n1,x\n2,x\n", {}, r"holds one class only: 'x'"),
    "identifiers": (
        "id,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(30)),
        {},
        r"(?s)column 'id' holds 30 different texts in 30 rows.*ignore: \[id\]",
    ),
    "as many classes as rows": (
        "a,y\n" + "".join(f"{i},n{i}\n" for i in range(30)),
        {},
        r"target 'y' holds 30 different classes in 30 rows",
    ),
    "no count": ("a,y\n1,2\n2,1.5\n", {"task": "count"}, r"data.csv:3: '1.5' .* is not a count"),
    "negative count": ("a,y\n1,-2\n", {"task": "count"}, r"data.csv:2: '-2' .* is not a count"),
    "mixed classes": (
        "a,y\n1,2\n2,3\n3,x\n4,2\n5,3\n",
        {"task": "class"},
        r"data.csv:4: 'x' in column 'y' is not a number",
    ),
    "header or sample": (
        "1,2,target\n3,4,5\n6,7,8\n",
        {},
        r"(?s)data.csv:1: 'target' stands above numbers.*header: yes or header: no",
    ),
    "open quote": ('a,y\n1,"2\n3,4\n', {}, r"data.csv:2: "),
    "target ignored": ("a,y\n1,2\n", {"ignore": ("y",)}, r"column 'y' is the target"),
    "bad delimiter": ("a,y\n1,2\n", {"delimiter": "ab"}, r"'ab' cannot separate cells"),
    "not text": (b"a,y\n1,\xff\n", {}, r"data.csv:2: not UTF-8 text"),
    "thousands": ("a,y\n1_000,2\n2,3\n3,4\n", {}, r"data.csv:2: '1_000' .* is not a number"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_refused_where_they_are_bad(table, case):
    text, knobs, message = BAD_TABLES[case]
    with pytest.raises(DataError, match=message) as caught:
        table(text, **knobs)
    assert caught.value.exit_code == 2


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"absent.csv: cannot be read \(No such file"):
        make("csv", path=str(tmp_path / "absent.csv"))
    with pytest.raises(DataError, match="cannot be read"):
        make("csv", path=str(tmp_path))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80) | st.binary())
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_file_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    data, message = outcome("csv", path)
    assert np.isfinite(data.samples.inputs).all() if data else str(path) in message


CELL = st.text("ab ,;\"'\n=1.", min_size=1, max_size=5).filter(
    lambda cell: cell.strip().lower() not in _table.MISSING
)


@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=8))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_what_python_writes_is_read_back(tmp_path_factory, rows):
    import csv

    path = tmp_path_factory.getbasetemp() / "written.csv"
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["p", "q", "r"], *rows])
    path.write_text(stream.getvalue(), newline="")
    table = _table.read_table(path, header="yes", delimiter=",")
    assert table.names == ("p", "q", "r")
    assert list(zip(*table.columns, strict=True)) == [tuple(c.strip() for c in row) for row in rows]


# --- the inputs that a trained network is asked about ------------------------------------------


def test_inputs_are_found_by_their_names(table, tmp_path):
    data = table(FLOWERS)
    path = tmp_path / "new.csv"
    path.write_text("color,species,note,length\nred,,?,7\nblue,,x,8\n")
    found = _inputs.read_inputs(path, data.input_names, (3,))
    np.testing.assert_array_equal(found, [[7, 0, 1], [8, 1, 0]])


def test_inputs_of_the_training_file_are_the_training_inputs(table, tmp_path):
    data = table("a=b,c\n1,2\n".replace("1", "x") + "y,3\nx,4\n")
    assert data.input_names == ("a=b=x", "a=b=y")
    found = _inputs.read_inputs(tmp_path / "data.csv", data.input_names, (2,))
    np.testing.assert_array_equal(found, data.samples.inputs)


def test_inputs_without_a_header_stand_in_order(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("1,2,3,4\n5,6,7,8\n")
    found = _inputs.read_inputs(path, ("p", "q", "r", "s"), (1, 2, 2))
    np.testing.assert_array_equal(found, np.arange(1, 9).reshape(2, 1, 2, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("color\nred\n", r"no column 'length'"),
        (
            "length,color\n1,green\n",
            r"new.csv:2: 'green' in column 'color' was not in the training",
        ),
        ("length,color\n,red\n", r"new.csv:2: no value in column 'length'"),
        ("lenght,color\n1,red\n", r"(?s)no column 'length'.*did you mean lenght\?"),
        ("1,2,3\n", r"(?s)needs a header.*the columns are length, color"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path, text, message):
    path = tmp_path / "new.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        _inputs.read_inputs(path, ("length", "color=blue", "color=red"), (3,))


def test_columns_of_other_names_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"(?s)named as in training \(p, q.*remove the header"):
        _inputs.read_inputs(path, ("p", "q"), (2,))


def test_inputs_from_arrays(tmp_path):
    path = tmp_path / "new.npz"
    np.savez(path, x=np.arange(12).reshape(2, 6), other=np.zeros(3))
    np.testing.assert_array_equal(_inputs.read_inputs(path, (), (6,)), np.arange(12).reshape(2, 6))
    assert _inputs.read_inputs(path, (), (1, 2, 3)).shape == (2, 1, 2, 3)
    with pytest.raises(DataError, match="takes numbers"):
        _inputs.read_inputs(path, (), (5,))
    with pytest.raises(DataError, match=r"(?s)no array 'otter'.*did you mean other"):
        _inputs.read_inputs(path, (), (6,), "otter")
    np.savez(path, only=[[1.0], [np.nan]])
    with pytest.raises(DataError, match="NaN or infinity in sample 1"):
        _inputs.read_inputs(path, (), (1,))


# --- npz ---------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """Save arrays, and read them as a dataset."""

    def read(knobs=None, **arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return make("npz", path=str(path), **(knobs or {}))

    return read


X = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("y", "knobs", "target"),
    [
        ([0, 2, 1, 0], {}, Target("class", 3)),
        ([[0], [2], [1], [0]], {}, Target("class", 3)),
        ([True, False, True, True], {}, Target("class", 2)),
        ([0, 2, 1, 0], {"classes": 5}, Target("class", 5)),
        ([0.0, 2.0, 1.0, 0.0], {"task": "class"}, Target("class", 3)),
        (["b", "a", "b", "c"], {}, Target("class", 3, ("a", "b", "c"))),
        ([0.0, 2.0, 1.0, 0.0], {}, Target("real", 1)),
        ([0, 2, 1, 0], {"task": "real"}, Target("real", 1)),
        ([0, 2, 1, 0], {"task": "count"}, Target("count", 1)),
        ([[0, 1], [1, 1], [0, 0], [1, 0]], {}, Target("multilabel", 2)),
        ([[0, 1], [1, 2], [0, 0], [1, 0]], {}, Target("class", 3)),
        ([[0.0, 1.0]] * 4, {"task": "multilabel"}, Target("multilabel", 2)),
        ([[0.25, 0.75]] * 4, {"task": "distribution"}, Target("distribution", 2)),
        ([[0.25, 0.75]] * 4, {}, Target("real", 2)),
        (np.zeros((4, 2, 2), int), {}, Target("class", 2)),
    ],
)
def test_npz_knows_or_guesses_its_target(stored, y, knobs, target):
    data = stored(knobs, x=X, y=np.array(y))
    assert data.target == target
    assert len(data.notes) == ("task" not in knobs)


def test_npz_numbers_classes_that_go_by_names(stored):
    data = stored(x=X, y=["b", "a", "b", "c"], x_test=X[:1], y_test=["d"])
    assert data.target.names == ("a", "b", "c", "d")
    np.testing.assert_array_equal(data.train.targets, [1, 0, 1, 2])
    np.testing.assert_array_equal(data.test.targets, [3])


def test_npz_has_the_splits_that_the_file_has(stored):
    data = stored(
        {"inputs": "images", "targets": "labels"},
        images=X, labels=[0, 1, 0, 1], images_validation=X[:2], labels_validation=[1, 2],
    )  # fmt: skip
    assert data.samples is None
    assert (len(data.train), len(data.validation), data.test) == (4, 2, None)
    assert data.target.size == 3  # the highest label of all parts


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "labels": [0] * 4}, r"there is no array 'y'"),
        ({"x": X, "y": [0] * 4, "x_test": X}, r"(?s)no array 'y_test'"),
        ({"x": X, "y": [0] * 4, "x_test": X[:, :2], "y_test": [0] * 4}, r"'x_test' has shape"),
        ({"x": np.float64(3), "y": [0]}, r"'x' has shape \(\)"),
        ({"x": X, "y": np.array([0, None, 1, 1], dtype=object)}, r"'y' holds objects"),
    ],
)
def test_npz_that_does_not_fit_is_refused(stored, arrays, message):
    with pytest.raises(DataError, match=message):
        stored(**arrays)


@pytest.mark.parametrize("damage", ["text", "cut", "npy", "empty", "absent"])
def test_npz_that_is_damaged_is_refused(tmp_path, damage):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((50, 3)), y=np.arange(50))
    whole = path.read_bytes()
    if damage == "text":
        path.write_text("a,b\n1,2\n")
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, X)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"data\.npz: "):
        make("npz", path=str(path))


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_any_damage_to_an_npz_is_refused_or_read_over(tmp_path_factory, place, byte):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    np.savez_compressed(path, x=X, y=[0, 1, 0, 1])
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    data, message = outcome("npz", path)
    assert data or str(path) in message


# --- MNIST and its format ----------------------------------------------------------------------


def idx(values, code=0x08):
    """Write an array in the IDX format, as its description has it."""
    values = np.asarray(values)
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape)
    return header + values.astype(_idx.TYPES[code]).tobytes()


@pytest.mark.parametrize("code", _idx.TYPES)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_is_read_in_every_type(tmp_path, code, packed):
    values = np.arange(24).reshape(2, 3, 4)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(values, code)) if packed else idx(values, code))
    found = _idx.read_idx(path)
    assert found.dtype == np.dtype(_idx.TYPES[code]).newbyteorder("=")
    np.testing.assert_array_equal(found, values)


IMAGE = idx(np.arange(24).reshape(2, 3, 4))
BAD_IDX = {
    "empty": (b"", "not an IDX file"),
    "text": (b"<html>not found</html>", r"not an IDX file \(it begins with 3c 68 74 6d\)"),
    "unknown type": (b"\0\0\x07" + IMAGE[3:], "not an IDX file"),
    "no dimension": (b"\0\0\x08\0", "not an IDX file"),
    "cut off in the header": (IMAGE[:9], "cut off"),
    "cut off in the values": (
        IMAGE[:-1],
        r"cut off: 23 bytes of values, where \[2, 3, 4\] needs 24",
    ),
    "too long": (IMAGE + b"\0", r"longer than its \[2, 3, 4\] values"),
    "packed, cut off": (gzip.compress(IMAGE)[:-12], "damaged or cut off"),
    "packed, damaged": (gzip.compress(IMAGE)[:-8] + b"\0" * 8, "damaged or cut off"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx_is_refused(tmp_path, case):
    content, message = BAD_IDX[case]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        _idx.read_idx(path)


IMAGES = {"train": np.arange(5 * 784).reshape(5, 28, 28) % 256, "t10k": np.full((2, 28, 28), 255)}
LABELS = {"train": [3, 1, 4, 1, 5], "t10k": [9, 2]}


def write_family(folder, packed=False, images=IMAGES, labels=LABELS):
    """Write the four files of MNIST, with few images."""
    for name in mnist.FILES:
        values = (images if "images" in name else labels)[name.partition("-")[0]]
        file = Path(folder, name if packed else name.removesuffix(".gz"))
        file.write_bytes(gzip.compress(idx(values), mtime=0) if packed else idx(values))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_is_read_from_a_folder(tmp_path, name):
    write_family(tmp_path)
    data = make(name, folder=str(tmp_path), download=False)
    assert data.train.inputs.shape == (5, 1, 28, 28)
    assert data.train.inputs.dtype == np.float32
    assert data.train.inputs.ravel()[255] == 1
    np.testing.assert_array_equal(data.train.targets, LABELS["train"])
    np.testing.assert_array_equal(data.test.targets, LABELS["t10k"])
    assert data.validation is None
    assert (data.test.inputs == 1).all()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, {**LABELS, "train": [1, 2]}, r"labels \(2,\) for 5 images"),
        (IMAGES, {**LABELS, "train": [1, 2, 3, 4, 10]}, "a label 10, where they are 0 to 9"),
        ({**IMAGES, "t10k": np.zeros((2, 8, 8))}, LABELS, "where images are 28 x 28"),
    ],
)
def test_mnist_files_must_belong_together(tmp_path, images, labels, message):
    write_family(tmp_path, images=images, labels=labels)
    with pytest.raises(DataError, match=message):
        make("mnist", folder=str(tmp_path), download=False)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Put a folder in the place of the network; returns it and the addresses asked for."""
    folder, asked = tmp_path / "server", []
    folder.mkdir()
    write_family(folder, packed=True)

    def urlopen(url, timeout):
        asked.append(url)
        assert timeout > 0
        file = folder / url.rpartition("/")[2]
        if not file.exists():
            raise urllib.error.URLError("Name or service not known")
        return io.BytesIO(file.read_bytes())

    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in mnist.FILES}
    monkeypatch.setattr(_download, "urlopen", urlopen)
    monkeypatch.setattr(mnist, "MNIST_SUMS", tuple(sums.values()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder, asked


def test_mnist_is_downloaded_once_and_kept(server, tmp_path):
    _, asked = server
    first = make("mnist")
    assert asked == [mnist.MNIST_URL + name for name in mnist.FILES]
    kept = tmp_path / "cache" / "lossbench" / "mnist"
    assert sorted(file.name for file in kept.iterdir()) == sorted(mnist.FILES)
    assert content(make("mnist")) == content(first)
    assert len(asked) == 4


def test_mnist_without_a_network_says_what_to_fetch_and_where_to_put_it(server, tmp_path):
    folder, _ = server
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(MissingError) as caught:
        make("mnist")
    message = str(caught.value)
    assert caught.value.exit_code == 4
    for part in (
        *mnist.FILES,
        mnist.MNIST_URL,
        str(tmp_path / "cache/lossbench/mnist"),
        "not known",
    ):
        assert part in message
    assert list((tmp_path / "cache/lossbench/mnist").iterdir()) == []  # no half of a file


def test_mnist_without_leave_to_download(server, tmp_path):
    with pytest.raises(MissingError, match="download is off"):
        make("mnist", folder=str(tmp_path), download=False)
    assert server[1] == []


def test_a_download_of_something_else_is_not_kept(server, tmp_path):
    folder, _ = server
    (folder / mnist.FILES[0]).write_bytes(b"<html>sign in to the network</html>")
    with pytest.raises(MissingError, match="gives another file than was published"):
        make("mnist")
    assert list((tmp_path / "cache/lossbench/mnist").iterdir()) == []


def test_a_kept_file_that_was_damaged_is_noticed(server, tmp_path):
    make("mnist")
    kept = tmp_path / "cache/lossbench/mnist" / mnist.FILES[2]
    kept.write_bytes(kept.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match=r"(?s)t10k-images.*damaged.*delete it"):
        make("mnist")


def test_a_folder_that_cannot_be_made(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match=r"(?i)not a directory|exists"):
        make("mnist", folder=str(tmp_path / "file" / "mnist"))


@pytest.mark.parametrize("home", ["", "relative/path"])
def test_the_cache_is_at_home_unless_xdg_says_otherwise(monkeypatch, home):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    assert _download.cache_folder("mnist") == Path.home() / ".cache" / "lossbench" / "mnist"


def test_the_published_sums_are_sums():
    for sums in (mnist.MNIST_SUMS, mnist.FASHION_SUMS):
        assert len(set(sums)) == len(mnist.FILES) == 4
        assert all(len(bytes.fromhex(one)) == 16 for one in sums)
