"""What the loop decides: when it evaluates, whose weights it tests, when it has had enough."""

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from lossbench.config.spec import DatasetOptions, EarlyStopping
from lossbench.training.build import build
from lossbench.training.events import Evaluated, Finished, TrialStopped
from lossbench.training.generators import load_random_state, random_state
from lossbench.training.loop import train
from lossbench.training.scoring import Metrics
from lossbench.training.watch import BestSoFar, Patience


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_the_last_epoch_is_always_evaluated(every, expected, spec):
    job = build([spec(train_epochs=5, train_evaluate_every=every)])
    seen = [e.epoch for e in train(job) if isinstance(e, Evaluated) and e.split == "validation"]
    assert seen == expected


@pytest.mark.parametrize("step", ["fused", "plain"])
def test_the_test_data_are_shown_to_the_weights_that_were_best(step, spec, choice):
    # Climbing the loss: the first epoch is the best, by far.
    job = build(
        [
            spec(
                dataset=replace(choice("dataset", "moons"), options=DatasetOptions(seed=1)),
                loss="cross_entropy",
                metrics=["accuracy"],
                optimizer=choice("optimizer", "sgd", lr=0.1, maximize=True),
                train_epochs=6,
                train_step=step,
            )
        ]
    )
    events = list(train(job))
    end = next(event for event in events if isinstance(event, Finished))
    assert end.best_step[0] == job.steps_per_epoch < end.step
    (tested,) = (e for e in events if isinstance(e, Evaluated) and e.split == "test")
    assert tested.weights == "best"
    split = job.splits["test"]

    def loss(weights: dict[str, torch.Tensor]) -> float:
        model = copy.deepcopy(job.step._model)
        model.load_state_dict(weights, strict=False)
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(split.inputs), split.target))

    best, last = loss(end.best(0)), loss(end.final(0))
    assert best != pytest.approx(last, rel=1e-3)
    assert tested.values["loss"][0] == pytest.approx(best, rel=1e-5)


def test_a_dataset_without_validation_keeps_and_tests_the_last_weights(spec, choice):
    whole = replace(choice("dataset", "iris"), options=DatasetOptions(split=(0.8, 0.0, 0.2)))
    events = list(train(build([spec(dataset=whole, loss="cross_entropy")])))
    evaluated = [(e.split, e.weights) for e in events if isinstance(e, Evaluated)]
    assert evaluated == [("train", "current"), ("test", "current")]
    end = next(event for event in events if isinstance(event, Finished))
    assert end.best_step[0] == end.step
    for name, value in end.final(0).items():
        assert torch.equal(end.best(0)[name], value)


def test_an_improvement_smaller_than_the_delta_is_none(spec, choice):
    stop = EarlyStopping(patience=3, min_delta=1e6)
    events = list(train(build([spec(train_epochs=9, train_early_stopping=stop)])))
    (stopped,) = (event for event in events if isinstance(event, TrialStopped))
    assert (stopped.reason, stopped.epoch) == ("early_stopping", 4)  # the first one always counts


@pytest.mark.parametrize("lower", [True, False])
def test_patience_counts_evaluations_since_the_last_gain(lower):
    sign = 1.0 if lower else -1.0
    watch = Patience(2, 0.1, lower, 1)
    values = [5.0, 4.95, 4.85, np.nan, 4.8, 4.0, 4.0, 4.0]
    #         first, less than the delta, enough since the first, none, too little: two in a row
    stops = [bool(watch.exhausted(np.array([sign * value]))[0]) for value in values]
    assert stops == [False, False, False, False, True, False, False, True]


@pytest.mark.parametrize("lower", [True, False])
def test_the_best_is_strictly_better_and_a_number(lower):
    sign = 1.0 if lower else -1.0
    watch = BestSoFar.of(3, lower)
    active = np.array([True, True, False])
    kept = [
        watch.improved(sign * np.array(values), active, step).tolist()
        for step, values in enumerate([[3.0, np.nan, 1.0], [3.0, 2.0, 0.0], [2.0, 4.0, -1.0]], 1)
    ]
    assert kept == [[True, False, False], [False, True, False], [True, False, False]]
    assert watch.step.tolist() == [3, 2, 0]


def test_the_state_of_every_generator_comes_back():
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.random(), np.random.normal(),
                float(torch.rand(()))]  # fmt: skip

    draw()  # leaves half a pair of normal numbers behind, in Python and in NumPy
    state = random_state()
    first = draw()
    assert draw() != first
    load_random_state(state)
    assert draw() == first


@pytest.mark.parametrize("step", ["fused", "plain"])
def test_every_batch_of_every_step_draws_noise_of_its_own(step, spec, choice):
    network = choice("network", "mlp", hidden=(64,), dropout=0.5)
    still = choice("optimizer", "sgd", lr=0.0)
    parts = {"network": network, "optimizer": still, "train_batch_size": 16}
    job = build([spec(train_accumulate=2, train_step=step, **parts)])
    rows = [torch.arange(16)[None]]
    losses = {
        number: [float(job.step.train(batches, number, 0.0, None)) for _ in range(2)]
        for number, batches in ((1, rows * 2), (2, rows * 2), (3, rows * 2))
    }
    assert all(first == again for first, again in losses.values())  # a function of the step
    assert len({first for first, _ in losses.values()}) == 3
    # Two batches of a step: the mean of two draws is neither of the next step's.
    alone = build([spec(train_step=step, **parts)])
    one, two = (float(alone.step.train(rows, number, 0.0, None)) for number in (1, 2))
    assert losses[1][0] == pytest.approx((one + two) / 2, rel=1e-5)
    three, four = (float(alone.step.train(rows, number, 0.0, None)) for number in (3, 4))
    assert losses[2][0] == pytest.approx((three + four) / 2, rel=1e-5)


@pytest.mark.parametrize("step", ["fused", "plain"])
def test_a_split_evaluated_in_pieces_has_the_same_loss(step, spec, choice, monkeypatch):
    weighted = choice("loss", "cross_entropy", weight=(0.1, 1.0, 9.0))
    job = build([spec(dataset="iris", loss=weighted, train_step=step)])
    split = job.splits["train"]
    whole = job.step.evaluate(split)
    # Pieces of 4 samples, and a last one of 1: their means must not count alike.
    monkeypatch.setattr(f"lossbench.training.{step}.EVALUATE_ELEMENTS", 16)
    assert len(split) % 4 == 1
    pieces = job.step.evaluate(split)
    torch.testing.assert_close(pieces.loss, whole.loss)
    torch.testing.assert_close(pieces.outputs, whole.outputs)


@pytest.mark.parametrize("name", ["ema", "swa"])
def test_evaluating_averaged_weights_does_not_train_on_from_them(name, spec, choice, run):
    often = spec(optimizer=choice("optimizer", name), train_epochs=4, train_step="plain")
    seldom = replace(often, train=replace(often.train, evaluate_every=99))
    np.testing.assert_array_equal(run(often), run(seldom))


def test_each_trial_of_a_group_keeps_its_own_best_weights(spec, choice):
    # One climbs the loss, so that its first epoch is the best; the others descend, to their last.
    trials = [
        spec(
            optimizer=choice("optimizer", "sgd", lr=0.02, maximize=climbs),
            train_seed=seed,
            train_epochs=4,
        )
        for seed, climbs in enumerate((False, True, False))
    ]
    (group,) = (event for event in train(build(trials)) if isinstance(event, Finished))
    assert group.best_step.tolist() == [group.step, group.step // 4, group.step]
    for number, trial in enumerate(trials):
        (alone,) = (event for event in train(build([trial])) if isinstance(event, Finished))
        assert group.best_step[number] == alone.best_step[0]
        for name, value in alone.best(0).items():
            assert torch.equal(group.best(number)[name], value)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc"])
def test_metrics_of_few_trials_at_a_time_are_those_of_all_and_need_less_memory(
    name, spec, choice, monkeypatch
):
    network = choice("network", "mlp", hidden=(8,))
    parts = {"dataset": "iris", "loss": "cross_entropy", "network": network, "metrics": (name,)}
    trials = [spec(train_seed=seed, **parts) for seed in range(5)]

    def values(at_most):
        shown = []
        kept = Metrics.compute

        def compute(self, outputs, target):
            shown.append(len(outputs))
            return kept(self, outputs, target)

        job = build(trials)  # which looks at metrics too
        monkeypatch.setattr(Metrics, "compute", compute)
        found = [event for event in train(job) if isinstance(event, Evaluated)]
        monkeypatch.setattr(Metrics, "compute", kept)
        assert max(shown) == at_most
        assert sum(shown) == 5 * len(found)
        return found

    whole = values(5)
    monkeypatch.setattr("lossbench.training.fused.EVALUATE_BLOCK", 2)
    few = values(1)
    assert [event.split for event in few] == [event.split for event in whole]
    for one, other in zip(few, whole, strict=True):
        assert one.values.keys() == other.values.keys() == {"loss", name}
        for key, row in one.values.items():
            np.testing.assert_array_equal(row, other.values[key])
