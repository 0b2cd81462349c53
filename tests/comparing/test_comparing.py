"""A comparison from its file to its directory: every trial is the trial alone, what was searched is
trained, and what fails is a result."""

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from comparisons import (
    BASE,
    THREE_GROUPS,
    TUNED,
    TWO_NETWORKS,
    assert_same,
    begin,
    directory_of,
    done,
    result_record,
)

from lossbench.config.trials import load_comparison, trial_spec
from lossbench.errors import (
    ConfigError,
    TrainingError,
)
from lossbench.session import comparing
from lossbench.training import chunks, groups
from lossbench.training.build import build
from lossbench.training.chunks import ChunkResult, Progress
from lossbench.training.events import Evaluated, StepsDone
from lossbench.training.loop import train

# --- the same trial ---------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "optimizers": {},
    "two networks": {"vary": {**BASE["vary"], **TWO_NETWORKS}},
    "losses": {
        "vary": {"loss": ["cross_entropy", "multi_margin", "bce_with_logits"]},
        "optimizer": {"name": "adam", "lr": 0.02},
    },
    "two data sets": {
        "vary": {"dataset": ["iris", "wine"], "optimizer.lr": [0.1, 0.01]},
        "optimizer": "sgd",
    },
    "noisy labels, dropout and decay": {
        "dataset": {"name": "iris", "label_noise": 0.2},
        "network": {"name": "mlp", "hidden": [5], "dropout": 0.3},
        "vary": {"optimizer.weight_decay": [0.0, 0.1]},
        "optimizer": {"name": "adamw", "lr": 0.05},
    },
    "accumulation, clipping and a schedule": {
        "train": {**BASE["train"], "batch_size": 7, "accumulate": 3, "clip_norm": 0.5},
        "schedule": "cosine_annealing",
    },
    "early stopping": {
        "train": {
            **BASE["train"], "epochs": 6,
            "early_stopping": {"metric": "validation/accuracy", "patience": 1},
        },
    },
    "what cannot be fused": {"vary": {"optimizer": ["lbfgs", {"name": "sgd", "lr": 0.05}]}},
    "an activation that draws": {"vary": {"activation": ["rrelu", "relu"]}, "optimizer": "adam"},
    "a learned slope": {"vary": {"activation": ["prelu"], "optimizer.lr": [0.05, 0.01]},
                        "optimizer": "adam"},
}  # fmt: skip


def alone(spec: Any) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Train one run by itself; returns its curves, and the last value of each split."""
    losses, evaluated, last = [], {}, {}
    for event in train(build([spec])):
        if isinstance(event, StepsDone):
            losses.append(event.losses[0])
        elif isinstance(event, Evaluated):
            for name, values in event.values.items():
                last[f"{event.split}/{name}"] = float(values[0])
                if event.split == "validation":
                    evaluated.setdefault(f"validation/{name}", []).append(float(values[0]))
    curves = {"train/loss": np.concatenate(losses)}
    return curves | {name: np.array(values) for name, values in evaluated.items()}, last


@pytest.mark.parametrize("case", CASES)
def test_every_trial_is_that_trial_alone(case, tmp_path):
    result = done(tmp_path, **{"optimizer": "sgd", "seeds": 2, **CASES[case]})
    directory = directory_of(result)
    spec = load_comparison(directory.config).spec
    rows, (curves, _) = directory.read_trials(), directory.read_curves()
    assert len(rows) == len(spec.trials)
    for number in range(1, len(rows), 2):
        row, trial = rows[number], trial_spec(spec, number)
        assert (int(row["trial"]), row["contender"]) == (number, trial.contender)
        own, last = alone(trial.spec)
        for name, values in own.items():
            shared = curves[f"curve/{name}"][number]
            assert np.isnan(shared[len(values) :]).all()
            np.testing.assert_allclose(shared[: len(values)], values, rtol=2e-6, atol=1e-6)
        for name, value in last.items():
            kind = "best" if name.startswith("test/") else "final"
            assert float(row[f"{kind}/{name}"]) == pytest.approx(value, rel=2e-6, abs=1e-6)


def test_trials_say_whether_they_ran_fused(tmp_path):
    vary = {"optimizer": {"L-BFGS": "lbfgs", "SGD": {"name": "sgd", "lr": 0.05}}}
    result = done(tmp_path, vary=vary, seeds=2)
    rows = directory_of(result).read_trials()
    assert [(row["contender"], row["fused"]) for row in rows] == [
        ("L-BFGS", "False"), ("L-BFGS", "False"), ("SGD", "True"), ("SGD", "True"),
    ]  # fmt: skip
    record = directory_of(result).read_record()
    reasons = [chunk["plan"]["reason"] for chunk in record["work"]["final"]["chunks"]]
    assert "lbfgs" in reasons[0]
    assert "traced" in reasons[-1]


def test_the_same_seeds_give_the_same_batches_and_weights_to_all(tmp_path):
    """A contender under two names is one contender: its trials are identical bit for bit."""
    twice = {
        "optimizer": {"one": {"name": "adam", "lr": 0.02}, "two": {"name": "adam", "lr": 0.02}}
    }
    result = done(tmp_path, vary=twice)
    curves, _ = directory_of(result).read_curves()
    for name, values in curves.items():
        if name.startswith("curve/"):
            np.testing.assert_array_equal(values[:3], values[3:])


def test_the_size_of_the_pieces_changes_no_number(tmp_path, monkeypatch):
    """Bit for bit, whatever the estimate of the time cuts."""
    whole = begin(tmp_path / "whole", seeds=7)
    assert whole.outlook()["pieces"] == 1
    monkeypatch.setattr(groups, "SECONDS_PER_PIECE", 0.0)
    monkeypatch.setattr(groups, "MOST_OVERHEAD", 1e9)
    cut = begin(tmp_path / "cut", seeds=7)
    assert cut.outlook()["pieces"] == 14
    assert_same(whole.result().path, cut.result().path)
    monkeypatch.setattr(chunks, "piece_size", lambda *_: 5)
    fives = begin(tmp_path / "fives", seeds=7)
    assert fives.outlook()["pieces"] == 3
    assert_same(whole.result().path, fives.result().path)


# --- tuning -----------------------------------------------------------------------------------


def test_a_tuned_comparison_trains_what_was_chosen_and_the_defaults_beside(tmp_path):
    session = comparing.start(load_comparison(mapping=TUNED), runs_dir=tmp_path, workers=1)
    assert session.outlook()["stage"] == "search"
    assert session.outlook()["trials"] == 4 * 3 * 2
    stages = [advance.stage for advance in session]
    assert stages.index("final") > 0
    assert stages == sorted(stages, reverse=True)
    result = session.result()
    rows = directory_of(result).read_trials()
    searches = result.summary["tuned"]
    assert len(searches) == 4
    for search in searches:
        own = [row for row in rows if row["contender"] == search["contender"]]
        tuned = [row for row in own if row["role"] == "tuned"]
        default = [row for row in own if row["role"] == "default"]
        assert len(tuned) == 3
        rate = search["chosen"]["optimizer.lr"]
        assert {float(row["optimizer.lr"]) for row in tuned} == {rate}
        assert bool(default) == (rate != search["default"]["optimizer.lr"])
        came_to = [float(row["final/validation/loss"]) for row in default]
        assert search["default_median"] == (median(came_to) if default else None)
        assert search["score"] == max(tried["score"] for tried in search["tried"])
        assert search["tried"][0]["optimizer.lr"] == search["default"]["optimizer.lr"]
        for tried in search["tried"]:
            assert len(tried["values"]) == 2
            assert tried["score"] == pytest.approx(median(tried["values"]))
    assert len(result.table) == 12  # defaults are told beside, they are no trials of the table


def test_the_estimate_knows_of_evaluations_and_of_what_follows_a_search():
    def seconds(*overrides, **blocks):
        loaded = load_comparison(mapping={**BASE, **blocks}, overrides=overrides)
        return comparing.dry_run(loaded, workers=1)["seconds"]

    # 400 steps with an evaluation each take seconds, with few evaluations far less.
    full = ("train.batch_size=full", "train.epochs=400")
    assert seconds(*full) > 1
    assert seconds(*full) > 2 * seconds(*full, "train.evaluate_every=200")
    search = {"optimizer.lr": None, "trials": 4, "seeds": 3}
    outlook = comparing.dry_run(load_comparison(mapping={**BASE, "tune": search}), workers=1)
    assert outlook["trials"] == 2 * 4 * 3
    alone = seconds(seeds=12)  # as many trials as the search has
    assert outlook["seconds"] > 1.2 * alone


def test_a_candidate_that_diverges_is_never_chosen(tmp_path):
    result = done(
        tmp_path,
        dataset={"name": "friedman", "samples": 100},
        metrics=[],
        loss="mse",
        vary={
            "optimizer": {"SGD": {"name": "sgd", "lr": 1e18}, "Adam": {"name": "adam", "lr": 0.01}}
        },
        tune={"optimizer.lr": {"log_uniform": [1e-3, 1e-1]}, "trials": 3, "seeds": 2},
    )
    search = next(found for found in result.summary["tuned"] if found["contender"] == "SGD")
    assert search["tried"][0]["score"] is None  # infinite
    assert search["tried"][0]["values"] == [None, None]
    assert search["chosen"]["optimizer.lr"] < 1
    assert (result.table.status == "done").all()


# --- failures are results ---------------------------------------------------------------------


def test_a_contender_that_diverges_in_every_trial(tmp_path):
    result = done(
        tmp_path,
        dataset={"name": "friedman", "samples": 100},
        metrics=[],
        loss="mse",
        vary={
            "optimizer": {"wild": {"name": "sgd", "lr": 1e25}, "calm": {"name": "sgd", "lr": 0.01}}
        },
        seeds=6,
        claims=["calm below wild on validation/loss"],
    )
    rows = directory_of(result).read_trials()
    wild = [row for row in rows if row["contender"] == "wild"]
    assert {row["status"] for row in wild} == {"diverged"}
    assert all(
        row["detail"].startswith("the loss of step") and int(row["ended"]) > 0 for row in wild
    )
    assert all(row["final/train/loss"] == "" for row in wild)
    assert any("failed in every trial" in text for text in result.comparison.warnings)
    assert result.comparison.verdicts[0].holds
    assert result.comparison.standings[0].contender == "calm"
    assert result.comparison.standings[-1].diverged.trials == 6


BREAKS = """
def sound(prediction, target):
    return (prediction - target) ** 2

def breaks(prediction, target):
    breaks.calls = getattr(breaks, "calls", 0) + 1
    if breaks.calls > 12:
        raise ValueError("enough")
    return (prediction - target) ** 2
"""


def own_losses(tmp_path: Path, *names: str) -> dict[str, Any]:
    (tmp_path / "mine.py").write_text(BREAKS)
    return {
        "dataset": {"name": "friedman", "samples": 100},
        "metrics": ["mae"],
        "train": {**BASE["train"], "step": "plain", "epochs": 3},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "vary": {"loss": {name: f"{tmp_path}/mine.py:{name}" for name in names}},
    }


def test_an_error_in_one_contenders_code_fails_its_trials_and_no_others(tmp_path):
    result = done(tmp_path / "runs", **own_losses(tmp_path, "sound", "breaks"))
    rows = directory_of(result).read_trials()
    assert {row["status"] for row in rows if row["contender"] == "sound"} == {"done"}
    failed = [row for row in rows if row["contender"] == "breaks"]
    assert {row["status"] for row in failed} == {"failed"}
    assert "mine.py:" in failed[0]["detail"]
    assert "enough" in failed[0]["detail"]
    assert set(result.table.status.tolist()) == {"done", "failed"}
    assert [place.contender for place in result.comparison.standings] == ["sound", "breaks"]


def test_an_error_in_every_trial_is_an_error(tmp_path):
    session = begin(tmp_path / "runs", **own_losses(tmp_path, "breaks"))
    with pytest.raises(TrainingError, match=r"an error ended every trial: .*enough"):
        session.result()
    assert session.directory.read_record()["status"] == "failed"


# --- several problems, several metrics --------------------------------------------------------


def test_two_problems_are_told_apart_and_profiled(tmp_path):
    result = done(
        tmp_path,
        vary={"dataset": ["iris", "wine"], **BASE["vary"]},
        claims=["Adam below SGD on validation/loss at the end"],
    )
    assert result.table.problems == ("iris", "wine")
    assert len(result.comparison.standings) == 4
    curves, _ = directory_of(result).read_curves()
    assert curves["steps/train"].ndim == 2  # the data sets have other numbers of batches
    assert len(set(result_record(result)["data"])) == 2


def test_a_claim_about_test_data_is_judged_by_the_best_weights(tmp_path):
    result = done(tmp_path, seeds=6, claims=["Adam above SGD on test/accuracy"])
    (verdict,) = result.comparison.verdicts
    rows = directory_of(result).read_trials()
    column = [float(row["best/test/accuracy"]) for row in rows]
    np.testing.assert_allclose(result.table.values("test/accuracy"), column)
    assert verdict.sentence


def test_contenders_of_unequal_length_are_flagged(tmp_path):
    result = done(tmp_path, vary={"train.batch_size": [21, 35]}, optimizer="sgd")
    assert any("steps" in text for text in result.comparison.warnings)


def test_contenders_with_unequal_budgets_are_refused():
    with pytest.raises(ConfigError, match="epochs"):
        load_comparison(mapping={**BASE, "vary": {"train.epochs": [1, 2]}, "optimizer": "sgd"})


# --- progress ---------------------------------------------------------------------------------


def test_progress_counts_trials_and_steps_and_names_losses(tmp_path):
    session = begin(tmp_path)
    advances = list(session)
    assert [a.trials for a in advances] == [6] * len(advances)
    assert advances[0].trials_done == 0
    made = [a.steps_done for a in advances]
    assert made == sorted(made)
    assert made[-1] == advances[-1].steps == 6 * 10
    first = advances[0].losses
    curves, _ = session.directory.read_curves()
    steps = advances[0].steps_done // 6
    expected = curves["curve/train/loss"][:3, steps - 1].mean()
    assert first["SGD"] == pytest.approx(float(expected), rel=1e-6)


def test_late_news_of_a_worker_do_not_turn_the_steps_back(tmp_path):
    session = begin(tmp_path)
    tally = comparing.Tally(session.stage, finished=0)
    numbers = session.stage.work.chunks[0].trials
    late = Progress(0, 4, 10, numbers, np.full(6, 0.5))
    assert tally.advanced(late).steps_done == 6 * 4
    result = ChunkResult(0, numbers, *[()] * 3, *[{}] * 6)  # type: ignore[arg-type]
    assert tally.finished(result).steps_done == 60
    assert tally.advanced(late).steps_done == 60


def test_a_dry_run_says_the_plan_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = comparing.dry_run(load_comparison(mapping={**BASE, "vary": THREE_GROUPS}))
    assert (told["trials"], told["groups"], told["pieces"]) == (18, 3, 3)
    assert [plan["trials"] for plan in told["plans"]] == [6, 6, 6]
    assert list(tmp_path.iterdir()) == []
