"""Names for runs side by side."""

from lossbench.rundir.labels import labels


def config(**optimizer: object) -> dict[str, object]:
    return {"name": "x", "loss": {"name": "mse"}, "optimizer": {"name": "adam", **optimizer}}


def test_runs_are_named_by_what_differs() -> None:
    configs = [config(lr=0.1), config(lr=0.01)]
    assert labels(configs, ["a", "b"]) == ["lr=0.1", "lr=0.01"]


def test_components_are_named_without_their_knobs() -> None:
    sgd = {"name": "y", "loss": {"name": "l1"}, "optimizer": {"name": "sgd", "momentum": 0.9}}
    assert labels([config(lr=0.1), sgd], ["a", "b"]) == ["mse, adam", "l1, sgd"]


def test_equal_labels_get_their_ids() -> None:
    configs = [config(lr=0.1), config(lr=0.1), config(lr=0.2)]
    assert labels(configs, ["a", "b", "c"]) == ["lr=0.1 (a)", "lr=0.1 (b)", "lr=0.2"]


def test_one_config_or_too_many_differences_leave_the_ids() -> None:
    assert labels([config(), config()], ["a", "b"]) == ["a", "b"]
    many = [config(a=1, b=1, c=1, d=1), config(a=2, b=2, c=2, d=2)]
    assert labels(many, ["a", "b"]) == ["a", "b"]
    assert labels([config()], ["a"]) == ["a"]


def test_ambiguous_keys_are_written_in_full() -> None:
    one = {"dataset": {"seed": 0}, "train": {"seed": 0}}
    other = {"dataset": {"seed": 1}, "train": {"seed": 2}}
    assert labels([one, other], ["a", "b"]) == [
        "dataset.seed=0, train.seed=0",
        "dataset.seed=1, train.seed=2",
    ]
