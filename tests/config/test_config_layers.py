"""extends and key=value: one config over another."""

from pathlib import Path
from typing import Any

import pytest

from lossbench.config.read import Loaded, load
from lossbench.errors import ConfigError, Place

BASE = """\
dataset: {name: cubic, samples: 50, seed: 3}
network: {name: mlp, hidden: [10]}
loss: {name: huber, delta: 2.0}
optimizer: {name: adam, lr: 0.01, betas: [0.9, 0.99], weight_decay_on: all}
train: {epochs: 5, batch_size: 15}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base.yaml"
    file.write_text(BASE)
    return file


def child(base: Path, text: str) -> Path:
    file = base.parent / "sub" / "child.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def knobs(loaded: Loaded, kind: str) -> Any:
    return getattr(loaded.spec, kind).knobs


def test_blocks_merge_key_by_key_and_lists_are_replaced(base: Path) -> None:
    file = child(base, "extends: ../base.yaml\noptimizer: {lr: 1}\nnetwork: {hidden: [3, 4]}\n")
    loaded = load(file)
    assert loaded.spec.name == "child"
    assert loaded.spec.optimizer.name == "adam"
    assert knobs(loaded, "optimizer")["lr"] == 1.0
    assert knobs(loaded, "optimizer")["betas"] == (0.9, 0.99)
    assert knobs(loaded, "network")["hidden"] == (3, 4)
    assert loaded.spec.train.batch_size == 15
    assert loaded.text == file.read_text()


@pytest.mark.parametrize("text", ["optimizer: sgd", "optimizer: {name: sgd}"])
def test_naming_another_component_drops_the_old_knobs(base: Path, text: str) -> None:
    loaded = load(child(base, f"extends: ../base.yaml\n{text}\n"))
    assert "betas" not in knobs(loaded, "optimizer")
    assert knobs(loaded, "optimizer") == load(mapping={
        "dataset": "cubic", "loss": "mse", "optimizer": "sgd"
    }).spec.optimizer.knobs  # fmt: skip
    # what belongs to the block, not to the component, stays
    assert loaded.spec.optimizer.options.weight_decay_on == "all"  # type: ignore[union-attr]


def test_naming_the_same_component_keeps_its_knobs(base: Path) -> None:
    assert knobs(load(base, ["loss=HuberLoss"]), "loss") == {"delta": 2.0}


def test_overrides(base: Path) -> None:
    loaded = load(
        base,
        [
            "optimizer.lr=1e-3",
            "loss=mse",
            "train.early_stopping.patience=3",
            "network.hidden=[64, 32]",
            "schedule=null",
            "activation.negative_slope=0.2",
            "activation=leaky_relu",
        ],
    )
    spec = loaded.spec
    assert spec.optimizer.knobs["lr"] == 0.001
    assert (spec.loss.name, dict(spec.loss.knobs)) == ("mse", {})
    assert spec.train.early_stopping is not None
    assert (spec.train.early_stopping.patience, spec.train.epochs) == (3, 5)
    assert spec.network.knobs["hidden"] == (64, 32)
    assert spec.schedule is None
    assert spec.activation.knobs == {"negative_slope": 0.2}  # in whatever order they were typed


def test_a_bare_name_is_a_block_without_knobs() -> None:
    config = {"dataset": "cubic", "loss": "huber", "optimizer": "sgd"}
    short = load(mapping=config, overrides=["loss.delta=3"])
    assert knobs(short, "loss") == {"delta": 3.0}
    assert load(mapping=config).spec == load(
        mapping={key: {"name": name} for key, name in config.items()}
    ).spec  # fmt: skip


def test_an_override_of_a_nested_component(base: Path) -> None:
    wrapped = load(base, ["optimizer={name: ema, base: {name: adam, lr: 0.5}}"])
    again = load(base, ["optimizer={name: ema, base: {name: adam, lr: 0.5}}", "optimizer.base=sgd"])
    assert wrapped.spec.optimizer.knobs["base"].knobs["lr"] == 0.5
    assert again.spec.optimizer.knobs["base"].name == "sgd"
    assert again.spec.optimizer.knobs["base"].knobs["lr"] != 0.5


def test_values_are_yaml_and_never_evaluated(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr must be a number of at least 0"):
        load(base, ["optimizer.lr=__import__('os').getpid()"])


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ("optimizer.lrr=1", "unknown key 'lrr' in optimizer (adam)", "did you mean lr?"),
        ("optimiser.lr=1", "unknown key 'optimiser'", "did you mean optimizer?"),
        ("epochs=3", "unknown key 'epochs'", "did you mean train.epochs?"),
        ("loss=hubber", "there is no loss 'hubber'", "did you mean huber?"),
        ("train.epochs=0", "train.epochs must be at least 1, got 0", None),
        ("optimizer.lr", "is no override", "key=value"),
        ("=3", "empty key", "key=value"),
        ("train..epochs=3", "empty key", "key=value"),
        ("schedule=", "no value", "schedule=null"),
        ("network.hidden=[1", "no valid YAML", None),
        ("network.hidden.0=3", "is a list", "network.hidden=[...]"),
        ("train=3", "must be a block", "epochs"),
    ],
)
def test_an_error_of_an_override_points_at_the_argument(
    base: Path, argument: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(base, [argument])
    (problem,) = caught.value.problems
    assert problem.place == Place(argument=argument)
    assert message in problem.message
    assert hint is None or (problem.hint is not None and hint in problem.hint)


def test_several_files_later_ones_over_earlier(base: Path) -> None:
    (base.parent / "loss.yaml").write_text("loss: mse\ntrain: {epochs: 7}\n")
    spec = load(child(base, "extends: [../base.yaml, ../loss.yaml]\n")).spec
    assert (spec.loss.name, spec.train.epochs, spec.train.batch_size) == ("mse", 7, 15)


def test_a_circle_of_files_is_refused(base: Path) -> None:
    base.write_text("extends: sub/child.yaml\n")
    child(base, "extends: ../base.yaml\n")
    with pytest.raises(ConfigError, match=r"circle: base\.yaml -> child\.yaml -> base\.yaml"):
        load(base)
    base.write_text("extends: base.yaml\n")
    with pytest.raises(ConfigError, match="circle"):
        load(base)


def test_a_missing_base_is_named_at_the_line_that_asks_for_it(base: Path) -> None:
    file = child(base, "loss: mse\nextends: ../bass.yaml\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert problem.place == Place(file, 2, 10)
    assert "no such file" in problem.message
    assert problem.hint == "did you mean base.yaml?"


@pytest.mark.parametrize("value", ["3", "{a: 1}", "[1]"])
def test_extends_names_files(base: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="must name a file"):
        load(child(base, f"extends: {value}\n"))


def test_an_error_in_a_base_points_into_the_base(base: Path) -> None:
    base.write_text(BASE.replace("delta", "dellta"))
    with pytest.raises(ConfigError) as caught:
        load(child(base, "extends: ../base.yaml\n"))
    (problem,) = caught.value.problems
    assert (problem.place.file or Path()).resolve() == base.resolve()
    assert (problem.place.line, problem.place.column) == (3, 21)


def test_paths_are_relative_to_the_file_that_holds_them(base: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    base.write_text(
        BASE.replace("{name: cubic, samples: 50, seed: 3}", "{name: csv, path: table.csv}")
    )
    spec = load(child(base, "extends: ../base.yaml\n")).spec
    assert Path(spec.dataset.knobs["path"]).is_absolute()
    assert Path(spec.dataset.knobs["path"]).samefile(tmp_path / "table.csv")


def test_a_mapping_is_laid_over_a_file(base: Path) -> None:
    spec = load(base, mapping={"train": {"epochs": 9}, "network": {"hidden": [1, 2]}}).spec
    assert (spec.train.epochs, spec.train.batch_size) == (9, 15)
    assert spec.network.knobs["hidden"] == (1, 2)
