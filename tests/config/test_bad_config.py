"""Every mistake gets one clear message, at its place, with the nearest valid name."""

from pathlib import Path

import pytest

from lossbench.config.read import load, load_text
from lossbench.errors import ConfigError, Problem

GOOD = {
    "dataset": "cubic",
    "network": "{name: mlp, hidden: [10]}",
    "loss": "mse",
    "optimizer": "adam",
}


def written(**changes: str | None) -> str:
    """Return a good config with these changes."""
    lines = {**GOOD, **changes}
    return "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)


def problems(**changes: str | None) -> tuple[Problem, ...]:
    """Return what is wrong with a good config after these changes."""
    with pytest.raises(ConfigError) as caught:
        load_text(written(**changes))
    assert caught.value.exit_code == 2
    return caught.value.problems


def problem(**changes: str | None) -> Problem:
    (found,) = problems(**changes)
    assert "pydantic" not in str(found)
    return found


def test_the_unchanged_config_is_good() -> None:
    load_text(written())


@pytest.mark.parametrize(
    ("changes", "at", "message", "hint"),
    [
        # unknown names
        ({"losss": "mse"}, "losss", "unknown key 'losss'", "did you mean loss?"),
        ({"epochs": "3"}, "epochs", "unknown key 'epochs'", "did you mean train.epochs?"),
        ({"lr": "3"}, "lr", "unknown key 'lr'", "did you mean optimizer.lr?"),
        ({"train": "{lr: 3}"}, "lr", "unknown key 'lr' in train", "did you mean optimizer.lr?"),
        ({"loss": "msee"}, "msee", "there is no loss 'msee'", "did you mean mse"),
        ({"loss": "relu"}, "relu", "there is no loss 'relu'", "'relu' is an activation, not loss"),
        ({"loss": "zero_one"}, "zero_one", "'zero_one' cannot be a loss", "metric"),
        ({"loss": "{nam: mse}"}, "loss", "loss has no name", "write 'loss: "),
        ({"loss": "{name: 3}"}, "3", "loss.name must be text, got 3", "write 'loss: "),
        ({"loss": "[mse]"}, "[mse]", "loss must be the name of a loss or a block", "write 'loss: "),
        ({"loss": "{name: huber, dleta: 1}"}, "dleta", "unknown key 'dleta' in loss (huber)",
         "did you mean delta?"),
        ({"optimizer": "{name: adam, lrr: 1}"}, "lrr", "unknown key 'lrr' in optimizer (adam)",
         "did you mean lr?"),
        ({"dataset": "{name: cubic, sed: 1}"}, "sed", "unknown key 'sed' in dataset (cubic)",
         "did you mean seed?"),
        ({"train": "{epohcs: 1}"}, "epohcs", "unknown key 'epohcs'", "did you mean epochs?"),
        # out of range
        ({"optimizer": "{name: adam, lr: -1}"}, "-1",
         "optimizer.lr must be at least 0, got -1", None),
        ({"optimizer": "{name: adam, betas: [0.9, 1.2]}"}, "1.2",
         "optimizer.betas[1] must be at least 0 and less than 1, got 1.2", None),
        ({"network": "{name: mlp, dropout: 2}"}, "2",
         "network.dropout must be at least 0 and less than 1, got 2", None),
        ({"network": "{name: mlp, hidden: []}"}, "[]}", "network.hidden must not be empty", None),
        ({"network": "{name: mlp, hidden: [8, 0]}"}, "0",
         "network.hidden[1] must be at least 1, got 0", None),
        ({"train": "{epochs: 0}"}, "0}", "train.epochs must be at least 1, got 0", None),
        ({"train": "{batch_size: 0}"}, "0}", "train.batch_size must be at least 1, got 0", None),
        ({"train": "{clip_norm: 0}"}, "0}", "train.clip_norm must be greater than 0", None),
        ({"train": "{seed: -1}"}, "-1", "train.seed must be at least 0", None),
        ({"train": "{early_stopping: {patience: 0}}"}, "0}",
         "train.early_stopping.patience must be at least 1, got 0", None),
        ({"dataset": "{name: cubic, split: [0.5, 0.1, 0.1]}"}, "[0.5, 0.1, 0.1",
         "dataset.split must be shares that sum to 1 (these sum to 0.7)", None),
        ({"dataset": "{name: cubic, samples: 1}"}, "1",
         "dataset.samples must be at least 2, got 1", None),
        ({"optimizer": "{name: adam, lr: .inf}"}, ".inf", "must be finite", None),
        ({"optimizer": "{name: adam, lr: .nan}"}, ".nan", "must be finite", None),
        # wrong types
        ({"network": "{name: mlp, hidden: [8, x]}"}, "x",
         "network.hidden must be a list of whole numbers of at least 1, got 'x'", None),
        ({"network": "{name: mlp, hidden: 64}"}, "64",
         "network.hidden must be a list of whole numbers of at least 1, got 64", "write [64]"),
        ({"network": "{name: mlp, bias: yes}"}, "yes",
         "network.bias must be true or false, got 'yes'", "write true"),
        ({"optimizer": "{name: adam, lr: true}"}, "true",
         "optimizer.lr must be a number of at least 0, got true", None),
        ({"optimizer": "{name: adam, lr: '1e-3'}"}, "'1e-3'", "got '1e-3'", "without quotes"),
        ({"optimizer": "{name: adam, lr: null}"}, "null", "got null", None),
        ({"optimizer": "{name: adam, betas: [0.9]}"}, "[0.9]}", "a list of 2 numbers", None),
        ({"train": "{epochs: 1.5}"}, "1.5", "a whole number of at least 1, got 1.5", None),
        ({"train": "{amp: fp16}"}, "fp16", "must be 'off', 'bfloat16' or 'float16'", None),
        ({"train": "{batch_size: ful}"}, "ful", "or 'full', got 'ful'", "did you mean full?"),
        ({"train": "{device: gpu}"}, "gpu", "must be auto, cpu, mps, cuda or cuda:0", None),
        ({"train": "3"}, "3", "train must be a block of keys, got 3", "epochs"),
        ({"name": "a/b"}, "a/b", "name must be at most 100 letters", None),
        ({"metrics": "mae"}, "mae", "metrics must be a list of names", "metrics: ["),
        # missing
        ({"loss": None}, "dataset", "loss is missing", "add 'loss: "),
        ({"optimizer": None}, "dataset", "optimizer is missing", "add 'optimizer: "),
        ({"dataset": None}, "network", "dataset is missing", "add 'dataset: "),
        ({"dataset": "null"}, "dataset", "dataset is missing", "add 'dataset: "),
        ({"dataset": "csv"}, "dataset", "dataset (csv) needs path", "add 'path: ...'"),
        ({"dataset": "{name: csv, path: nowhere.csv}"}, "nowhere.csv", "there is no file", None),
        # what does not fit
        ({"dataset": "digits"}, "mse", "loss 'mse' is for real numbers", "cross_entropy"),
        ({"loss": "cross_entropy"}, "cross_entropy", "targets of dataset 'cubic' are real", "mse"),
        ({"dataset": "{name: cubic, label_noise: 0.1}"}, "0.1", "label_noise", None),
        ({"train": "{monitor: validation/nothing}"}, "validation/nothing",
         "train.monitor: 'validation/nothing' is not recorded", "validation/loss"),
        ({"train": "{early_stopping: {metric: los}}"}, "los}", "'los' is not recorded", None),
        # the way it is computed
        ({"loss": "{name: mse, impl: fast}"}, "fast", "'auto', 'formula' or 'kernel'", None),
        ({"activation": "{name: hardtanh, min_val: 2}"}, "2", "min_val", None),
    ],
)  # fmt: skip
def test_a_mistake_is_explained_where_it_stands(
    changes: dict[str, str | None], at: str, message: str, hint: str | None
) -> None:
    found = problem(**changes)
    assert message in found.message
    before = written(**changes).partition(at)[0]  # `at` is what stands at the place
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert (found.place.line, found.place.column) == (line, column), str(found)
    assert hint is None or (found.hint is not None and hint in found.hint), found.hint


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_text() -> None:
    found = problems(
        dataset="{name: cubic, sample: 3}",
        network="{name: mlp, hidden: [0], norm: wrong}",
        loss="mze",
        optimizer="{name: adam, lr: -1, betas: [2, 2]}",
        train="{epochs: 0, seed: x}",
        nonsense="1",
    )
    assert len(found) == 10
    places = [(p.place.line, p.place.column) for p in found]
    assert places == sorted(places)


def test_two_faults_in_one_list_are_two_problems() -> None:
    found = problems(optimizer="{name: adam, betas: [-1, 1]}")
    assert [p.place.column for p in found] == [33, 37]


def test_an_empty_config_says_what_it_needs() -> None:
    for text in ("", "\n# only a comment\n", "---\n"):
        with pytest.raises(ConfigError) as caught:
            load_text(text)
        assert [p.message for p in caught.value.problems] == [
            "dataset is missing", "loss is missing", "optimizer is missing",
        ]  # fmt: skip


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", "42"])
def test_a_config_is_a_block(text: str) -> None:
    with pytest.raises(ConfigError, match="a config is a block") as caught:
        load_text(text)
    assert caught.value.problems[0].place.line == 1


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "cubic.yaml").write_text("")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "qubic.yaml")
    (found,) = caught.value.problems
    assert found.place.file == tmp_path / "qubic.yaml"
    assert found.message == "there is no such file"
    assert found.hint == "did you mean cubic.yaml?"
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="no config"):
        load()


def test_the_metrics_are_held_against_the_targets() -> None:
    found = problems(metrics="[mae, accuracy, mae]")
    assert [p.place.column for p in found] == [16, 26]
    assert "metric 'accuracy' is for classes" in found[0].message
    assert found[1].message == "metric 'mae' stands twice"
    assert found[0].hint is not None
    assert "mae" in found[0].hint


def test_python_values_are_plain() -> None:
    good = {"dataset": "cubic", "loss": "mse", "optimizer": "adam"}
    with pytest.raises(ConfigError, match="got a object"):
        load(mapping=good | {"train": {"epochs": object()}})
    with pytest.raises(ConfigError, match="key must be text"):
        load(mapping=good | {"train": {3: 1}})
    with pytest.raises(ConfigError, match=r"optimizer\.lr must be at least 0, got -1"):
        load(mapping=good | {"optimizer": {"name": "adam", "lr": -1}})


def test_the_layers_of_a_network_are_checked_one_by_one() -> None:
    found = problems(network="{name: layers, layers: [{linear: 8}, batch_norn, {linear: x}]}")
    assert [p.place.column for p in found] == [47, 59]
    assert "batch_norn" in found[0].message
    assert found[0].hint == "did you mean batch_norm?"
