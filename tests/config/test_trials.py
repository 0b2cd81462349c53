"""A comparison file: what it means, and every mistake in it explained at its place."""

from pathlib import Path
from typing import Any

import pytest

from lossbench.config.axes import spaced
from lossbench.config.read import load
from lossbench.config.trials import (
    ComparisonSpec,
    Tune,
    claim_facts,
    dump_comparison,
    is_comparison,
    load_comparison,
    load_comparison_text,
    trial_spec,
    value_of,
    with_value,
)
from lossbench.errors import ConfigError, Problem, UsageError
from lossbench.registry import KINDS

RUN = """\
name: cubic
dataset: {name: cubic, samples: 50}
loss: mse
optimizer: {name: adam, lr: 0.01, betas: [0.9, 0.99]}
train: {epochs: 5, batch_size: 15, seed: 10}
metrics: [mae, r2]
"""

FIVE = """\
extends: cubic.yaml
vary:
  optimizer:
    SGD:      {name: sgd, lr: 0.01}
    Momentum: {name: sgd, lr: 0.01, momentum: 0.6}
    AdaGrad:  {name: adagrad, lr: 0.01}
    RMSprop:  {name: rmsprop, lr: 0.01, alpha: 0.9}
    Adam:     {name: adam, lr: 0.01, betas: [0.9, 0.99]}
seeds: 20
tune: {optimizer.lr: {log_uniform: [1e-4, 1]}, trials: 16, seeds: 3, metric: validation/loss}
target: {train/loss: 0.01}
claims:
  - Adam below SGD on train/loss at the end
  - Momentum reaches train/loss 0.01 in fewer steps than SGD
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cubic.yaml").write_text(RUN)
    (tmp_path / "optimizers.yaml").write_text(FIVE)
    return tmp_path


def comparison(more: str, run: str = RUN) -> ComparisonSpec:
    return load_comparison_text(run + more).spec


def varied(*vary: str, **rest: Any) -> ComparisonSpec:
    """Return the comparison of the run above with these arguments."""
    mapping = rest.pop("mapping", {})
    run = {
        "dataset": {"name": "cubic", "samples": 50},
        "loss": "mse",
        "optimizer": {"name": "adam", "lr": 0.01, "betas": (0.9, 0.99)},
        "train": {"seed": 10},
    }
    return load_comparison(vary=vary, mapping={**run, **mapping}, **rest).spec


# --- what it means ----------------------------------------------------------------------------


def test_the_file_of_the_documentation(folder: Path) -> None:
    loaded = load_comparison(folder / "optimizers.yaml")
    spec = loaded.spec
    assert spec.name == "optimizers"  # not that of the run it extends
    assert spec.contenders == ("SGD", "Momentum", "AdaGrad", "RMSprop", "Adam")
    assert spec.problems == ("cubic",)
    assert spec.seeds == tuple(range(10, 30))
    assert spec.tune == (Tune("optimizer.lr", 1e-4, 1.0, 16, 3, "validation/loss"),)
    assert spec.target == ("train/loss", 0.01)
    assert len(spec.claims) == 2
    assert [place.line for place in loaded.claim_places] == [13, 14]
    assert loaded.text == FIVE
    assert len(spec.trials) == 100
    assert [trial.number for trial in spec.trials] == list(range(100))
    trial = spec.trials[37]
    assert (trial.contender, trial.seed, trial.spec.train.seed) == ("Momentum", 27, 27)
    assert trial.values == {"optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.6}}


def test_every_trial_is_the_run_that_its_config_alone_would_be(folder: Path) -> None:
    spec = load_comparison(folder / "optimizers.yaml").spec
    alone = load(
        folder / "cubic.yaml",
        ["optimizer={name: sgd, lr: 0.01, momentum: 0.6}", "train.seed=27", "name=optimizers"],
    ).spec
    assert spec.trials[37].spec == alone


def test_trials_go_by_problem_then_contender_then_seed() -> None:
    spec = varied("dataset=cubic,sine", "optimizer=sgd,adam", seeds=2)
    order = [(trial.problem, trial.contender, trial.seed) for trial in spec.trials]
    assert order == [
        (problem, contender, seed)
        for problem in ("cubic", "sine")
        for contender in ("sgd", "adam")
        for seed in (10, 11)
    ]
    assert [trial.number for trial in spec.firsts()] == [0, 2, 4, 6]


def test_several_axes_make_a_grid_the_first_one_slowest() -> None:
    spec = varied("optimizer=sgd,adam,rmsprop", "optimizer.lr=1e-3,1e-2", seeds=20)
    assert spec.contenders == (
        "sgd, lr=0.001", "sgd, lr=0.01", "adam, lr=0.001", "adam, lr=0.01",
        "rmsprop, lr=0.001", "rmsprop, lr=0.01",
    )  # fmt: skip
    assert len(spec.trials) == 120
    assert {t.spec.optimizer.knobs["lr"] for t in spec.trials} == {1e-3, 1e-2}


def test_a_knob_is_laid_over_the_block_that_another_axis_replaces_in_any_order() -> None:
    one = varied("optimizer.lr=0.5,0.25", "optimizer=sgd,adam", seeds=1)
    assert one.contenders[0] == "lr=0.5, sgd"
    assert [value_of(t.spec, "optimizer.lr") for t in one.trials] == [0.5, 0.5, 0.25, 0.25]
    assert [t.spec.optimizer.name for t in one.trials] == ["sgd", "adam", "sgd", "adam"]


def test_naming_another_component_drops_the_knobs_of_the_one_below() -> None:
    sgd, adam, slow = varied(seeds=1, mapping={
        "vary": {"optimizer": {"a": "sgd", "b": "adam", "c": {"lr": 1e-4}}},
    }).trials  # fmt: skip
    assert value_of(sgd.spec, "optimizer.lr") != 0.01
    assert value_of(adam.spec, "optimizer.betas") == (0.9, 0.99)
    assert (slow.spec.optimizer.name, value_of(slow.spec, "optimizer.lr")) == ("adam", 1e-4)


def test_zipped_axes_go_in_step() -> None:
    more = "vary: {optimizer: [sgd, adam], optimizer.lr: [0.1, 0.001], train.batch_size: [5, 9]}\n"
    spec = comparison(more + "zip: [optimizer.lr, optimizer]\nseeds: 1\n")
    assert spec.zipped == ("optimizer", "optimizer.lr")
    assert spec.contenders == (
        "sgd, lr=0.1, batch_size=5", "sgd, lr=0.1, batch_size=9",
        "adam, lr=0.001, batch_size=5", "adam, lr=0.001, batch_size=9",
    )  # fmt: skip
    both = comparison("vary: {optimizer: [sgd, adam], optimizer.lr: [0.1, 0.2]}\nzip: true\n")
    assert both.contenders == ("sgd, lr=0.1", "adam, lr=0.2")


def test_whatever_goes_in_step_with_the_data_belongs_to_the_problem() -> None:
    spec = varied(
        "dataset=cubic,digits", "loss=mse,cross_entropy", "optimizer=sgd,adam",
        seeds=1, mapping={"zip": ["dataset", "loss"]},
    )  # fmt: skip
    assert spec.problems == ("cubic", "digits")
    assert spec.contenders == ("sgd", "adam")
    assert [trial.spec.loss.name for trial in spec.trials] == ["mse"] * 2 + ["cross_entropy"] * 2
    assert [[m.name for m in t.spec.metrics] for t in spec.trials[1:3]] == [
        ["mae", "r2"], ["accuracy"],
    ]  # fmt: skip
    noisy = varied("dataset.noise=0,0.1", seeds=1)
    assert (noisy.problems, noisy.contenders) == (("noise=0", "noise=0.1"), ("run",))


def test_without_axes_there_is_one_contender_with_many_seeds() -> None:
    spec = comparison("seeds: 3\n")
    assert (spec.contenders, spec.problems, spec.seeds) == (("cubic",), ("cubic",), (10, 11, 12))
    assert len(comparison("vary: {optimizer: [sgd, adam]}\n").seeds) == 10
    assert comparison("seeds: [7, 3]\n").seeds == (7, 3)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ("{optimizer: [sgd, adam]}", ["sgd", "adam"]),
        ("{optimizer: [{name: sgd, lr: 0.1}, {name: sgd, lr: 1e-5}, adam]}",
         ["sgd(lr=0.1)", "sgd(lr=1e-5)", "adam"]),
        ("{optimizer: [sgd, {name: sgd, momentum: 0.9}]}", ["sgd", "sgd(momentum=0.9)"]),
        ("{optimizer: [{lr: 0.1}, {lr: 0.2, eps: 1e-7}]}", ["lr=0.1", "lr=0.2 eps=1e-7"]),
        ("{optimizer.name: [sgd, adam]}", ["sgd", "adam"]),
        ("{schedule: [null, linear]}", ["no schedule", "linear"]),
        ("{network.hidden: [[64], [64, 32]]}", ["hidden=[64]", "hidden=[64, 32]"]),
        ("{network.bias: [true, false]}", ["bias=true", "bias=false"]),
        ("{train: [{batch_size: 5}, {batch_size: 5, clip_norm: 1}]}",
         ["batch_size=5", "batch_size=5 clip_norm=1"]),
        ("{train.batch_size: {range: [4, 12, 3]}}",
         ["batch_size=4", "batch_size=8", "batch_size=12"]),
        ("{train.batch_size: {log_space: [4, 16, 3]}}",
         ["batch_size=4", "batch_size=8", "batch_size=16"]),
        ("{optimizer.lr: {log_space: [1e-4, 1, 5]}}",
         ["lr=0.0001", "lr=0.001", "lr=0.01", "lr=0.1", "lr=1"]),
        ("{optimizer.lr: {linear: [0, 0.3, 4]}}", ["lr=0", "lr=0.1", "lr=0.2", "lr=0.3"]),
        ("{optimizer.lr: {slow: 1e-3, fast: 0.1}}", ["slow", "fast"]),
    ],
)  # fmt: skip
def test_the_forms_of_an_axis_and_the_names_it_gives(values: str, labels: list[str]) -> None:
    assert list(comparison(f"vary: {values}\nseeds: 1\n").contenders) == labels


def test_spaced_numbers_have_both_ends_and_no_dust() -> None:
    assert spaced(0.1, 0.7, 7, logarithmic=False) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert spaced(1e-4, 1.0, 5, logarithmic=True) == [1e-4, 1e-3, 1e-2, 0.1, 1.0]
    assert spaced(16, 128, 4, logarithmic=True) == [16, 32, 64, 128]
    assert all(isinstance(value, int) for value in spaced(16, 128, 4, logarithmic=True))
    assert spaced(1, 2, 3, logarithmic=False) == [1.0, 1.5, 2.0]
    assert spaced(5, 1, 3, logarithmic=False) == [5, 3, 1]


def test_arguments_are_the_same_as_a_file(folder: Path) -> None:
    by_file = comparison("vary: {optimizer: [sgd, adam], optimizer.lr: [1e-3, 1e-2]}\nseeds: 4\n")
    by_arguments = load_comparison(
        folder / "cubic.yaml", vary=["optimizer=sgd,adam", "optimizer.lr=1e-3,1e-2"], seeds=4
    ).spec
    assert by_arguments == by_file
    spec = load_comparison(
        folder / "optimizers.yaml",
        ["dataset.samples=30", "train.seed=0"],
        vary=["optimizer={A: sgd, B: {name: sgd, momentum: 0.9}}", "network.hidden=[4],[8, 8]"],
        seeds=2,
        tune=["optimizer.lr=1e-3:1e-1"],
    ).spec  # fmt: skip
    assert spec.contenders[:2] == ("A, hidden=[4]", "A, hidden=[8, 8]")
    assert (len(spec.contenders), spec.seeds) == (4, (0, 1))
    assert spec.tune == (Tune("optimizer.lr", 1e-3, 0.1, 16, 3, "validation/loss"),)
    assert spec.trials[0].spec.dataset.knobs["samples"] == 30


def test_an_override_holds_for_every_value_of_an_axis_that_replaces_the_block() -> None:
    spec = varied("optimizer=sgd,adam", overrides=["optimizer.lr=0.3"], seeds=1)
    assert spec.contenders == ("sgd", "adam")
    assert [value_of(trial.spec, "optimizer.lr") for trial in spec.trials] == [0.3, 0.3]
    assert load_comparison_text(dump_comparison(spec)).spec == spec


def test_a_comparison_extends_another_axis_by_axis(folder: Path) -> None:
    (folder / "more.yaml").write_text(
        "extends: optimizers.yaml\n"
        "vary: {optimizer: [sgd, adam], activation: [relu, tanh]}\n"
        "tune: null\ntarget: {validation/mae: 0.1}\nclaims: []\n"
    )
    spec = load_comparison(folder / "more.yaml").spec
    assert spec.name == "more"
    assert spec.contenders == ("sgd, relu", "sgd, tanh", "adam, relu", "adam, tanh")
    assert (spec.tune, spec.target, spec.claims) == ((), ("validation/mae", 0.1), ())
    assert is_comparison(folder / "more.yaml")
    assert is_comparison(folder / "optimizers.yaml")
    assert not is_comparison(folder / "cubic.yaml")


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        ("optimizer.lr", (Tune("optimizer.lr"),)),
        ("[optimizer.lr, optimizer.eps]", (Tune("optimizer.lr"), Tune("optimizer.eps"))),
        ("{optimizer.lr: null, trials: 4}", (Tune("optimizer.lr", trials=4),)),
        ("{optimizer.lr: [0.1, 1], seeds: 1}", (Tune("optimizer.lr", 0.1, 1.0, seeds=1),)),
        ("{optimizer.lr: null, metric: validation/mae}",
         (Tune("optimizer.lr", metric="validation/mae"),)),
    ],
)  # fmt: skip
def test_the_forms_of_tune(tune: str, expected: tuple[Tune, ...]) -> None:
    assert comparison(f"tune: {tune}\n").tune == expected


def test_contenders_with_different_losses_are_tuned_on_a_metric() -> None:
    spec = varied("loss=mse,huber", tune=["optimizer.lr"], seeds=1)
    assert spec.tune[0].metric == "validation/mae"
    assert spec.losses() == {"mse": "mse", "huber": "huber(delta=1.0)"}
    alike = varied("loss.impl=formula,kernel", tune=["optimizer.lr"], seeds=1)
    assert alike.tune[0].metric == "validation/loss"  # computed otherwise, and the same loss


# --- single trials ----------------------------------------------------------------------------


def test_one_trial_is_found_by_its_number(folder: Path) -> None:
    spec = load_comparison(folder / "optimizers.yaml").spec
    assert trial_spec(spec, 17) == spec.trials[17]
    assert trial_spec(dump_comparison(spec), 99) == spec.trials[99]
    assert trial_spec(FIVE, 99, folder=folder).contender == "Adam"
    for number in (-1, 100):
        with pytest.raises(UsageError, match=f"no trial {number} in 'optimizers'") as caught:
            trial_spec(spec, number)
        assert caught.value.hint == "its trials are numbered 0 to 99"


def test_with_value_changes_one_key_and_checks_it() -> None:
    spec = varied(seeds=1).trials[0].spec
    assert with_value(spec, "optimizer.lr", 0.01) == spec
    faster = with_value(spec, "optimizer.lr", 0.5)
    assert value_of(faster, "optimizer.lr") == 0.5
    assert with_value(faster, "optimizer.lr", 0.01) == spec
    assert with_value(spec, "optimizer", "sgd").optimizer.name == "sgd"
    assert value_of(with_value(spec, "train.clip_norm", 1), "train.clip_norm") == 1
    for key, value, message in (
        ("optimizer.lr", -1, r"optimizer\.lr must be at least 0, got -1"),
        ("optimizer.lrr", 1, r"unknown key 'lrr' in optimizer \(adam\)"),
        ("optimiser.lr", 1, "unknown key 'optimiser'"),
        ("optimizer.betas.0", 1, r"optimizer\.betas is a list"),
    ):
        with pytest.raises(ConfigError, match=message):
            with_value(spec, key, value)


def test_what_claims_may_speak_of(folder: Path) -> None:
    facts = claim_facts(load_comparison(folder / "optimizers.yaml"))
    assert facts["contenders"] == ("SGD", "Momentum", "AdaGrad", "RMSprop", "Adam")
    assert facts["metrics"][:3] == ["train/loss", "train/mae", "train/r2"]
    assert {"validation/r2", "test/loss"} <= set(facts["metrics"])
    assert set(facts["losses"].values()) == {"mse"}
    assert len(facts["places"]) == 2


def test_the_users_own_files_are_found_from_anywhere(tmp_path: Path) -> None:
    own = tmp_path / "deep" / "mine.py"
    own.parent.mkdir()
    own.write_text("def loss(prediction, target, *, q: float = 2.0):\n    return prediction\n")
    for name in ("a.csv", "b.csv"):
        (own.parent / name).write_text("x,y\n1,2\n3,4\n")
    (own.parent / "c.yaml").write_text(
        "dataset: {name: csv, path: a.csv}\nloss: mine.py:loss\noptimizer: sgd\n"
        "vary:\n  loss: {mine: mine.py:loss, square: mse}\n"
        "  dataset: {a: {path: a.csv}, b: {name: csv, path: b.csv}}\nseeds: 1\n"
        "tune: {optimizer.lr: null, metric: null}\nmetrics: [mae]\n"
    )
    loaded = load_comparison(own.parent / "c.yaml")
    assert loaded.files == (own,)
    assert loaded.spec.problems == ("a", "b")
    text = dump_comparison(loaded.spec)
    assert load_comparison_text(text).spec == loaded.spec
    moved = dump_comparison(
        loaded.spec, files={own: "files/mine.py", own.parent / "a.csv": "files/a.csv"}, header="Hi."
    )
    assert moved.startswith("# Hi.\n")
    assert "mine: files/mine.py:loss" in moved
    assert "path: files/a.csv" in moved
    dotted = load_comparison_text(
        "dataset: {name: csv, path: a.csv}\nloss: mse\noptimizer: sgd\nmetrics: [mae]\n"
        "vary: {dataset.path: [a.csv, b.csv]}\n",
        folder=own.parent,
    ).spec
    assert dotted.problems == ("path=a.csv", "path=b.csv")
    assert load_comparison_text(dump_comparison(dotted)).spec == dotted


# --- mistakes ---------------------------------------------------------------------------------


def problems(more: str, run: str = RUN) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_comparison_text(run + more)
    assert caught.value.exit_code == 2
    return caught.value.problems


AXIS = "vary: {optimizer: [sgd, adam]}\n"


@pytest.mark.parametrize(
    ("more", "at", "message", "hint"),
    [
        # the keys that vary
        ("vary: {optimiser: [sgd]}", "optimiser", "a config has no key 'optimiser' to vary",
         "did you mean optimizer"),
        ("vary: {lr: [1]}", "lr", "no key 'lr' to vary", "did you mean optimizer.lr?"),
        ("vary: {epochs: [1]}", "epochs", "no key 'epochs'", "did you mean train.epochs?"),
        ("vary: {nonsense: [1]}", "nonsense", "no key 'nonsense'", "valid: activation"),
        ("vary: {optimizer.lrr: [1, 2]}", "optimizer.lrr",
         "unknown key 'lrr' in optimizer (adam)", "did you mean lr?"),
        ("vary: {train.epohcs: [1, 2]}", "train.epohcs", "unknown key 'epohcs' in train",
         "did you mean epochs?"),
        ("vary: {optimizer: [sgd, adam], optimizer.momentum: [0.9]}", "optimizer.momentum",
         "unknown key 'momentum' in optimizer (adam)", None),
        ("vary: {optimizer..lr: [1]}", "optimizer..lr", "has an empty part", "optimizer.lr"),
        ("vary: {seeds: [1]}", "seeds", "'seeds' stands beside 'vary', not in it", None),
        ("vary: {train.seed: [1]}", "train.seed", "'train.seed' cannot vary", "seeds: 20"),
        ("vary: {train: [{seed: 1}]}", "seed: 1", "'train.seed' cannot vary", "seeds: 20"),
        ("vary: {metrics: [[mae]]}", "metrics", "'metrics' cannot vary", "metrics"),
        ("vary: {name: [a]}", "name", "'name' cannot vary", None),
        ("vary: {optimizer: [sgd], optimizer.name: [adam]}", "optimizer.name",
         "'optimizer' is varied twice", "it stands first at 7:8"),
        ("vary: {network.hidden.0: [1]}\nnetwork: {hidden: [8]}", "1]",
         "network.hidden is a list: '0' is no key of it", None),
        ("vary: {train.epochs: [1, 2]}", "train.epochs", "contenders train for 1 and 2 epochs",
         "budgets must be equal"),
        ("vary: {}", "vary", "vary is empty: it names no key to vary", "leave it out"),
        # their values
        ("vary: [optimizer]", "[optimizer", "vary must be a block of keys", "vary: {optimizer"),
        ("vary: {optimizer: []}", "optimizer", "vary: optimizer has no values", "[adam, ...]"),
        ("vary: {optimizer: {}}", "optimizer", "vary: optimizer has no values", "[adam, ...]"),
        ("vary: {optimizer: null}", "optimizer", "vary: optimizer has no values", "[adam, ...]"),
        ("vary: {optimizer: sgd}", "sgd", "must be a list of values or a block of labels",
         "write 'optimizer: ['sgd']'"),
        ("vary: {optimizer: [sgd, adamm]}", "adamm", "there is no optimizer 'adamm'", "adam"),
        ("vary: {optimizer: {A: sgd, B: {name: sgd, lr: -1}}}", "-1",
         "optimizer.lr must be at least 0, got -1", None),
        ("vary: {optimizer.lr: [0.1, -1]}", "-1", "optimizer.lr must be at least 0", None),
        ("vary: {optimizer.lr: [0.1, fast]}", "fast", "optimizer.lr must be a number", None),
        ("vary: {optimizer: {A: {nam: sgd}}}", "nam", "unknown key 'nam'", "valid: "),
        ("vary: {loss: [mse, cross_entropy]}", "cross_entropy", "loss 'cross_entropy' is for",
         "losses that fit"),
        # names
        ("vary: {optimizer: [sgd, adam, sgd]}", "sgd]", "two contenders have one name: 'sgd'",
         "it stands first at 7:20"),
        ("vary: {dataset: [cubic, cubic]}", "cubic]", "two problems have one name: 'cubic'",
         "7:18"),
        ("vary: {optimizer: {'a, b': sgd, a: adam}, activation: {c: relu, 'b, c': tanh}}",
         "optimizer", "two contenders have one name: 'a, b, c'", "labels"),
        ("vary: {optimizer: {' ': sgd}}", "' '", "it is empty", None),
        ("vary: {optimizer: {' a': sgd}}", "' a'", "it begins or ends with a space", None),
        ('vary: {optimizer: {"a\\nb": sgd}}', '"a', "a character that cannot be printed", None),
        ("vary: {optimizer: {" + "x" * 101 + ": sgd}}", "xxx", "is longer than 100", None),
        # ranges
        ("vary: {optimizer.lr: {range: 3}}", "3}", "range must be [from, to, how many], got 3",
         "write 'range: ["),
        ("vary: {optimizer.lr: {range: [1, 2]}}", "[1, 2", "must be [from, to, how many]", None),
        ("vary: {optimizer.lr: {range: [1, x, 3]}}", "[1, x", "[from, to, how many]", None),
        ("vary: {optimizer.lr: {linear: [1, 2, 0]}}", "0]", "takes 2 to 10000 values, got 0", None),
        ("vary: {optimizer.lr: {linear: [1, 2, 1e9]}}", "1e9", "takes 2 to 10000 values", None),
        ("vary: {optimizer.lr: {linear: [1, 1, 3]}}", "[1, 1", "with the same number, 1", None),
        ("vary: {optimizer.lr: {log_space: [0, 1, 3]}}", "0, 1", "greater than 0, got 0", None),
        ("vary: {optimizer.lr: {log_space: [1, -1, 3]}}", "-1", "greater than 0, got -1", None),
        ("vary: {optimizer.lr: {linear: [.nan, 1, 3]}}", "[.nan", "[from, to, how many]", None),
        # pairs
        ("vary: {optimizer: [sgd, adam], loss: [mse]}\nzip: true", "true",
         "zip pairs axes of the same length: optimizer has 2, loss has 1", "grid"),
        (AXIS + "zip: [optimizer, los]", "los]", "zip: 'los' does not vary", "optimizer"),
        (AXIS + "zip: true", "true", "zip pairs at least two axes", None),
        (AXIS + "zip: 3", "3", "zip must be true or a list of keys", None),
        # seeds
        ("seeds: 0", "0", "seeds must be at least 1, got 0", "write 'seeds: 20'"),
        ("seeds: -3", "-3", "seeds must be at least 1, got -3", None),
        ("seeds: 1.5", "1.5", "seeds must be a whole number or a list of them, got 1.5", None),
        ("seeds: true", "true", "seeds must be a whole number", None),
        ("seeds: {a: 1}", "{a", "seeds must be a whole number", None),
        ("seeds: []", "[]", "seeds are empty", None),
        ("seeds: [1, -1]", "-1", "seeds[1] must be at least 0 and less", None),
        ("seeds: [1, 2, 1]", "1]", "seed 1 stands twice", "it stands first at 7:9"),
        ("seeds: 1000001", "1000001", "seeds must be at most 1000000", None),
        # tune
        ("tune: optimizer.betas", "tune", "takes a list of 2 numbers", None),
        ("tune: {optimizer.betas: null}", "optimizer.betas", "only a number is searched", None),
        ("tune: {train.batch_size: null}", "train.batch_size", "only a number is searched",
         None),
        ("tune: {optimizer.lrr: null}", "optimizer.lrr", "'cubic' has no knob 'optimizer.lrr'",
         "did you mean optimizer.lr"),
        ("tune: {lr: null}", "lr", "has no knob 'lr'", "did you mean optimizer.lr?"),
        ("vary: {optimizer: [rmsprop, adam]}\ntune: {optimizer.alpha: null}", "optimizer.alpha",
         "'adam' has no knob 'optimizer.alpha'", None),
        ("tune: {optimizer.weight_decay: null}", "optimizer.weight_decay",
         "has optimizer.weight_decay: 0.0, and a search cannot start there",
         "greater than 0"),
        ("tune: {dataset.noise: null}", "dataset.noise", "belongs to the problem", None),
        ("vary: {optimizer.lr: [1, 2]}\ntune: {optimizer.lr: null}", "optimizer.lr: null",
         "'optimizer.lr' is an axis already", None),
        ("tune: {optimizer.lr: {log_uniform: [1, 0.1]}}", "[1, 0.1]", "got 1.0 to 0.1", None),
        ("tune: {optimizer.lr: [0, 1]}", "[0, 1]",
         "above 0 up to a larger number, got 0.0 to 1.0", None),
        ("tune: {optimizer.lr: {uniform: [1, 2]}}", "uniform",
         "unknown key 'uniform' in tune: optimizer.lr", "did you mean log_uniform?"),
        ("tune: {optimizer.lr: {log_unifrm: [1, 2]}}", "log_unifrm",
         "unknown key 'log_unifrm' in tune: optimizer.lr", "did you mean log_uniform?"),
        ("tune: {optimizer.lr: {log_uniform: [1, 2], trials: 3}}", "trials",
         "unknown key 'trials' in tune: optimizer.lr", "stands beside 'optimizer.lr', not in it"),
        ("tune: {optimizer.lr: {log_uniform: 3}}", "{log_uniform", "with two numbers", None),
        ("tune: {optimizer.lr: null, metrc: validation/mae}", "metrc",
         "unknown key 'metrc' in tune", "did you mean metric?"),
        ("tune: {metrc: validation/mae}", "metrc", "unknown key 'metrc'", "did you mean metric?"),
        ("tune: {optimizer.lr: null, trails: 3}", "trails",
         "unknown key 'trails' in tune", "did you mean trials?"),
        ("tune: {optimizer.lr: null, budget: 3}", "budget", "unknown key 'budget' in tune",
         "valid: trials, seeds, metric, and knobs such as optimizer.lr"),
        ("tune: {optimizer.lr: null, trials: 0}", "0}", "tune.trials must be at least 1", None),
        ("tune: {optimizer.lr: null, trials: 500000}", "optimizer.lr",
         "tune takes 1500000 runs, at most 1000000", "lower tune.trials"),
        ("tune: {trials: 3}", "tune", "tune names no knob to search", "add 'optimizer.lr"),
        ("tune: 3", "3", "tune must name a knob, or be a block of knobs, got 3", None),
        ("tune: {optimizer.lr: null, metric: validation/mea}", "validation/mea",
         "not recorded on validation data", "validation/mae"),
        ("tune: {optimizer.lr: null, metric: train/loss}", "train/loss",
         "not recorded on validation data", None),
        ("vary: {loss: [mse, l1]}\ntune: {optimizer.lr: null, metric: validation/loss}",
         "validation/loss", "does not compare the contenders: there are mse, l1", "validation/mae"),
        # target
        ("target: {train/los: 1}", "train/los", "'train/los' is not recorded by 'cubic'",
         "did you mean train/loss?"),
        ("target: {test/mae: 1}", "test/mae", "not recorded by 'cubic' during training", None),
        ("target: {train/loss: low}", "low", "target: train/loss must be a number", None),
        ("target: {train/loss: .inf}", ".inf", "must be finite", None),
        ("target: train/loss", "train/loss", "one metric with the value to reach", "0.01"),
        ("target: {train/loss: 1, validation/loss: 1}", "{train", "one metric", None),
        ("vary: {loss: [mse, huber]}\ntarget: {validation/loss: 1}", "validation/loss",
         "the same 'validation/loss' means different things for mse, huber(delta=1.0)",
         "validation/mae"),
        # claims, and keys that are none
        ("claims: A below B", "A below", "claims must be a list", None),
        ("claims: [3]", "3", "a claim must be text, got 3", None),
        ("claims: ['']", "''", "a claim must be text", None),
        ("claims: [a b, a b]", "a b]", "the same claim stands twice", "7:10"),
        ("vray: {optimizer: [sgd]}", "vray", "unknown key 'vray'", "did you mean vary?"),
        ("claim: []", "claim", "unknown key 'claim'", "did you mean claims?"),
    ],
)  # fmt: skip
def test_a_mistake_is_explained_where_it_stands(
    more: str, at: str, message: str, hint: str | None
) -> None:
    found = _only(problems(more))
    assert message in found.message
    assert "pydantic" not in str(found)
    start = len(RUN) + more.index(at)
    before = (RUN + more)[:start]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert (found.place.line, found.place.column) == (line, column), str(found)
    assert hint is None or (found.hint is not None and hint in found.hint), found.hint


def _only(found: tuple[Problem, ...]) -> Problem:
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("kind", "argument", "message", "hint"),
    [
        ("vary", "optimizer", "names no values", "optimizer=sgd,adam"),
        ("vary", "=sgd", "names no values", "optimizer=sgd,adam"),
        ("vary", "optimizer=", "vary: optimizer has no values", "[adam, ...]"),
        ("vary", "optimizer=sgd,adamm", "there is no optimizer 'adamm'", "adam"),
        ("vary", "optimizer=sgd],[adam", "no valid YAML", None),
        ("vary", "optimizer.lr=1e-3,x", "optimizer.lr must be a number", None),
        ("vary", "optimizer.lr=1,1", "two contenders have one name: 'lr=1'", "leave one out"),
        ("vary", "nothing=1", "a config has no key 'nothing' to vary", None),
        ("tune", "optimizer.lr=1", "names no knob or no range", "optimizer.lr=1e-4:1"),
        ("tune", "optimizer.lr=a:b", "with two numbers, got ['a', 'b']", None),
        ("tune", "optimizer.lr=1:0.5", "from above 0 up to a larger number", None),
        ("tune", "=1:2", "names no knob or no range", None),
        ("tune", "optimizer.lrr", "no knob 'optimizer.lrr'", "optimizer.lr"),
    ],
)
def test_a_mistake_in_an_argument_points_at_it(
    kind: str, argument: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        varied(argument) if kind == "vary" else varied(tune=[argument])
    found = _only(caught.value.problems)
    assert found.place.argument == f"--{kind} {argument}"
    assert message in found.message
    assert hint is None or hint in (found.hint or "")


def test_other_mistakes_in_arguments() -> None:
    for seeds in (0, -1):
        with pytest.raises(
            ConfigError, match=rf"'--seeds {seeds}': seeds must be at least 1"
        ) as caught:
            varied(seeds=seeds)
        assert caught.value.problems[0].hint == "write '--seeds 20'"
    with pytest.raises(ConfigError, match=r"'seeds=0': seeds must be at least 1") as caught:
        varied(overrides=["seeds=0"])
    assert caught.value.problems[0].hint == "write 'seeds=20'"
    with pytest.raises(ConfigError, match=r"'optimizer\.lr' varies: one value of it has no effect"):
        varied("optimizer.lr=1,2", overrides=["optimizer.lr=3"])
    with pytest.raises(ConfigError, match="cannot reach into 'vary'") as caught:
        varied(overrides=["vary.optimizer.lr=[1, 2]"])
    assert caught.value.problems[0].hint == "write --vary optimizer.lr=VALUE,VALUE"
    with pytest.raises(ConfigError, match="'optimizer' is varied twice"):
        varied("optimizer=sgd", "optimizer=adam")
    with pytest.raises(ConfigError, match="no config is given"):
        load_comparison()


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_text() -> None:
    found = problems(
        "vary: {optimizer: [sgdd, adam], optimizer.lr: [-1, x]}\nseeds: [1, 1]\n"
        "tune: {trials: 0}\ntarget: 3\nclaims: [1, 2]\nnonsense: 1\n"
    )
    lines = [found_.place.line for found_ in found]
    assert lines == sorted(line for line in lines if line is not None)
    assert set(lines) == {7, 8, 9, 10, 11, 12}
    assert len(found) == 10


def test_a_mistake_of_one_contender_is_said_once() -> None:
    more = "vary: {optimizer: [sgd, adamm], activation: [relu, tanh, gelu]}\n"
    assert len(problems(more)) == 1
    assert len(problems(more, RUN.replace("loss: mse", "loss: mze"))) == 2


def test_a_mistake_of_the_base_is_said_once_however_the_contenders_word_it() -> None:
    axes = "vary: {optimizer: [sgd, adam], activation: [relu, leaky_relu]}\n"
    found = _only(problems(axes, RUN + "momentum: 0.9\n"))
    assert (found.message, found.hint) == (
        "unknown key 'momentum'", "did you mean optimizer.momentum?",
    )  # fmt: skip
    # "unknown key 'nope' in optimizer (sgd)" and "... (adam)": one mistake, at the axis.
    found = _only(problems("vary: {optimizer: [sgd, adam], optimizer.nope: [1, 2]}\n"))
    assert found.message == "unknown key 'nope' in optimizer (sgd)"
    found = _only(problems(axes + "target: {train/los: 1}\n"))
    assert "'train/los' is not recorded by any contender" in found.message
    found = _only(problems(axes + "tune: {optimizer.lrr: null}\n"))
    assert found.message == "tune: no contender has a knob 'optimizer.lrr'"


def test_a_mistake_of_some_contenders_names_the_first_of_them() -> None:
    base = "dataset: {name: cubic, samples: 60}\nloss: cross_entropy\noptimizer: sgd\n"
    found = _only(problems("vary: {dataset: [cubic, digits], optimizer.lr: [1, 2]}\n", base))
    assert found.message.endswith("are real numbers (in 'lr=1, cubic' and 1 more)")
    found = _only(problems("vary: {optimizer: [rmsprop, adam], optimizer.alpha: [0.9]}\n"))
    assert found.message == "unknown key 'alpha' in optimizer (adam) (in 'adam, alpha=0.9')"
    # What stands in a contender's own values is named by its place.
    found = _only(problems("vary: {optimizer: {A: sgd, B: {name: sgd, lr: -1}}}\n"))
    assert found.message == "optimizer.lr must be at least 0, got -1"


def test_a_metric_without_a_direction_is_nothing_to_tune_for() -> None:
    surface = (
        "dataset: {name: surface, function: booth}\nloss: value\noptimizer: {name: sgd, lr: 0.01}\n"
        "metrics: [first_coordinate, distance]\n"
    )
    found = _only(
        problems("tune: {optimizer.lr: null, metric: validation/first_coordinate}\n", surface)
    )
    assert found.message == (
        "tune.metric: no value of 'validation/first_coordinate' is better than another"
    )
    assert found.hint == "did you mean validation/distance?"
    loaded = load_comparison_text(
        surface + "tune: {optimizer.lr: null, metric: validation/distance}"
    )
    assert loaded.spec.tune[0].metric == "validation/distance"


def test_too_many_trials_are_refused_before_any_is_made() -> None:
    axes = ", ".join(
        f"{key}: {{linear: [0.1, 0.9, 1000]}}" for key in ("optimizer.lr", "optimizer.eps")
    )
    (found,) = problems(f"vary: {{{axes}}}\nseeds: 2\n")
    assert found.message == "1000000 contenders with 2 seeds are 2000000 trials"
    assert found.place.line == 7
    values = ", ".join(map(str, range(10_001)))
    (found,) = problems(f"vary: {{optimizer.lr: [{values}]}}")
    assert "has 10001 values, at most 10000" in found.message
    (found,) = problems("train: {seed: 9223372036854775807}\nseeds: 2", RUN.replace("train", "#"))
    assert "exceed 2^63 - 1" in found.message


def test_so_many_problems_are_enough() -> None:
    (first, *rest) = problems("vary: {optimizer.lr: {linear: [-2, -1, 5000]}}")
    assert "optimizer.lr must be at least 0" in first.message
    assert len(rest) < 200


def test_data_sets_of_different_targets_do_not_share_a_metric() -> None:
    with pytest.raises(ConfigError) as caught:
        varied(
            "dataset=cubic,digits", "loss=mse,cross_entropy",
            mapping={"zip": True, "metrics": ["mae"]},
        )  # fmt: skip
    assert "metric 'mae' is for real numbers" in caught.value.problems[0].message
    with pytest.raises(ConfigError, match="'validation/mae' is not recorded by 'run' on 'digits'"):
        varied(
            "dataset=cubic,digits", "loss=mse,cross_entropy",
            mapping={"zip": True, "target": {"validation/mae": 0.1}},
        )  # fmt: skip
    with pytest.raises(ConfigError, match="tune needs a metric") as caught:
        varied(
            "dataset=cubic,digits", "loss=mse,cross_entropy", tune=["loss.x"],
            mapping={"zip": True},
        )  # fmt: skip
    assert len(caught.value.problems) == 2


def test_tuning_needs_validation_data_as_far_as_the_config_tells() -> None:
    run = RUN.replace("name: cubic, samples: 50", "name: diabetes, split: [0.8, 0, 0.2]")
    (found,) = problems("tune: {optimizer.lr: null}\n", run)
    assert "tune needs validation data, and the split of 'diabetes' leaves none" in found.message
    assert found.place.line == 7
    # curves bring validation points of their own, whatever the split
    curve = RUN.replace("samples: 50", "split: [1, 0, 0]")
    assert comparison("tune: optimizer.lr\n", curve).tune


@pytest.mark.parametrize("name", [n for n, e in KINDS["dataset"].items() if not e.facts.real])
def test_data_sets_declare_whether_they_bring_validation_samples(name: str) -> None:
    entry = KINDS["dataset"][name]
    if any(knob.required for knob in entry.knobs):
        pytest.skip("its knobs must be given")
    assert (entry.function(0).validation is not None) == entry.facts.validation


def test_a_run_is_told_that_its_config_is_a_comparison(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'vary'") as caught:
        load(folder / "optimizers.yaml")
    assert "lossbench compare" in (caught.value.problems[0].hint or "")


def test_ten_thousand_trials_share_what_does_not_differ() -> None:
    spec = varied("optimizer=sgd,adam", "optimizer.lr={log_space: [1e-4, 1, 250]}", seeds=20)
    assert len(spec.trials) == 10_000
    assert len({id(trial.spec.dataset) for trial in spec.trials}) == 1  # read once
    assert len({id(trial.spec.optimizer) for trial in spec.trials}) == 500
    assert len({id(trial.spec.train) for trial in spec.trials}) == 20
