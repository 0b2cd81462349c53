"""The two steps, and the group: the same numbers whichever way they are computed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from supervised import REQUIRED, SUPERVISED

from lossbench import registry
from lossbench.components.vocabulary import FITS
from lossbench.config.spec import EarlyStopping
from lossbench.errors import UsageError
from lossbench.training.build import build
from lossbench.training.events import Evaluated, Finished, SafePoint, TrialStopped
from lossbench.training.loop import train

TRAINABLE = [name for name, entry in registry.optimizer.items() if not entry.facts.kernel_only]


def dataset_for(loss_name: str, choice, tmp_path: Path):
    """A small data set whose kind of target the loss takes."""
    encodings = set(registry.loss[loss_name].facts.encodings)
    if encodings & set(FITS["class"]):
        return choice("dataset", "iris")
    if encodings & set(FITS["objective"]):
        return choice("dataset", "quadratic_deep")
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 3)).astype(np.float32)
    counts = rng.poisson(2.0, size=(60, 1)).astype(np.float32)
    kind = "count" if "count" in encodings else "real"
    np.savez(tmp_path / "data.npz", x=inputs, y=counts)
    return choice("dataset", "npz", path=str(tmp_path / "data.npz"), task=kind)


@pytest.fixture
def twins(spec, run):
    """The losses of a run of ten steps, traced and plain."""

    def make(**parts) -> tuple[np.ndarray, np.ndarray]:
        base = spec(train_epochs=1, **parts)
        pair = [replace(base, train=replace(base.train, step=step)) for step in ("fused", "plain")]
        jobs = [build([one]) for one in pair]
        assert [job.plan.step for job in jobs] == ["fused", "plain"], jobs[0].plan.reason
        assert jobs[0].step.note is None, jobs[0].step.note  # really traced
        first, second = (run(one)[:, :10] for one in pair)
        return first, second

    return make


@pytest.mark.parametrize("name", TRAINABLE)
def test_traced_equals_plain_for_every_optimizer(name, twins, choice):
    knobs = {"weight_decay": 0.01} if "weight_decay" in registry.optimizer[name].defaults() else {}
    traced, plain = twins(optimizer=choice("optimizer", name, **knobs), train_batch_size=4)
    # Muon orthogonalises in bfloat16; what is below that precision differs. Soap's first gradient
    # has one direction, and rounding chooses the axes across it.
    rtol = 2e-2 if name in ("muon", "soap") else 1e-5
    np.testing.assert_allclose(traced, plain, rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("name", SUPERVISED)
def test_traced_equals_plain_for_every_loss(name, twins, choice, tmp_path):
    dataset = dataset_for(name, choice, tmp_path)
    knobs = REQUIRED.get(name, {})
    traced, plain = twins(loss=choice("loss", name, **knobs), dataset=dataset, train_batch_size=8)
    np.testing.assert_allclose(traced, plain, rtol=1e-5, atol=1e-5)


NETWORKS = {
    "mlp": {},
    "mlp with batch norm and dropout": {"norm": "batch", "dropout": 0.2},
    "mlp with layer norm": {"norm": "layer"},
    "linear": {},
    "cnn2d": {},
    "layers": {"layers": ("flatten", {"linear": 8}, "batch_norm", "activation", {"dropout": 0.3})},
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("case", NETWORKS)
def test_traced_equals_plain_for_every_network(case, optimizer, twins, choice):
    network = choice("network", case.split()[0], **NETWORKS[case])
    traced, plain = twins(
        network=network,
        dataset="digits",
        loss="cross_entropy",
        optimizer=choice("optimizer", optimizer, lr=1e-3),
        activation="relu",
        train_batch_size=64,
    )
    # A channel that hardly varies is divided by next to nothing, its rounding errors too. It is
    # rounding: in float64 gradients agree to 1e-14, in float32 both ways are 6e-8 from those.
    atol = 1e-4 if "batch norm" in case else 1e-5
    np.testing.assert_allclose(traced, plain, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("name", list(registry.activation))
def test_traced_equals_plain_for_every_activation(name, twins, choice, spec):
    entry = registry.activation[name]
    knobs = {knob.name: 0.1 for knob in entry.knobs if knob.required}
    activation = choice("activation", name, **knobs)
    if entry.facts.random:
        job = build([spec(activation=activation)])
        assert job.plan.step == "plain"
        assert "random" in job.plan.reason
        return
    traced, plain = twins(activation=activation, train_batch_size=4)
    np.testing.assert_allclose(traced, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "muon", "adafactor", "ema"])
def test_a_group_equals_each_of_its_trials_alone_bit_for_bit(name, size, spec, run, choice):
    network = choice("network", "mlp", hidden=(8, 5), dropout=0.25)
    knobs = {"base": choice("optimizer", "adam", lr=0.01)} if name == "ema" else {"lr": 0.01}
    optimizer = choice("optimizer", name, **knobs)
    trials = [
        spec(network=network, optimizer=optimizer, train_seed=seed, train_clip_norm=1.0)
        for seed in range(size)
    ]
    together = run(*trials)
    for trial in (0, size // 2, size - 1):
        alone = run(trials[trial])[0]
        if name == "muon":  # its iteration rounds every product to bfloat16, as torch's does
            np.testing.assert_allclose(together[trial], alone, rtol=2e-2)
        else:
            np.testing.assert_array_equal(together[trial], alone)


def test_a_group_of_different_optimizers_and_rates_equals_its_trials(spec, run, choice):
    adam = {"betas": (0.8, 0.99), "weight_decay": 0.1}
    trials = [
        spec(optimizer=choice("optimizer", "sgd", lr=0.1)),
        spec(optimizer=choice("optimizer", "sgd", lr=0.01, momentum=0.9), train_seed=5),
        spec(optimizer=choice("optimizer", "adam", lr=0.01), schedule="cosine_annealing"),
        spec(optimizer=choice("optimizer", "adam", lr=0.001, **adam)),
        spec(optimizer="adagrad", schedule=choice("schedule", "exponential", gamma=0.5)),
    ]
    together = run(*trials)
    for number, trial in enumerate(trials):
        np.testing.assert_array_equal(together[number], run(trial)[0])


def test_more_differing_rates_than_pieces_become_columns_and_stay_close(
    spec, run, choice, monkeypatch
):
    monkeypatch.setattr("lossbench.training.update.EXACT_PIECES", 2)
    trials = [spec(optimizer=choice("optimizer", "adam", lr=0.01 * n)) for n in (1, 2, 3, 4)]
    together = run(*trials)
    for number, trial in enumerate(trials):
        np.testing.assert_allclose(together[number], run(trial)[0], rtol=1e-6, atol=1e-7)


def test_batch_norm_in_a_group_keeps_each_trials_running_statistics(spec, choice):
    network = choice("network", "mlp", hidden=(6,), norm="batch")
    trials = [spec(network=network, train_seed=seed) for seed in range(3)]

    def weights(specs):
        finished = next(event for event in train(build(specs)) if isinstance(event, Finished))
        return [finished.final(trial) for trial in range(len(specs))]

    together = weights(trials)
    for number, trial in enumerate(trials):
        alone = weights([trial])[0]
        means = [name for name in alone if name.endswith("running_mean")]
        assert means
        assert any(alone[name].abs().max() > 1e-3 for name in means)  # they have moved
        for name, value in alone.items():
            # torch's batch norm sums all channels of all trials in one order of its own, and a bias
            # before it has a gradient that is all rounding: 2e-5 where float64 gives 3e-15. In
            # float64 alone and group agree to 1e-14.
            torch.testing.assert_close(together[number][name], value, rtol=1e-5, atol=5e-5)


def test_a_diverging_neighbour_disturbs_nobody(spec, run, choice):
    calm = [spec(train_seed=seed) for seed in range(2)]
    wild = spec(optimizer=choice("optimizer", "sgd", lr=1e30), train_seed=9)
    events = list(train(build([calm[0], wild, calm[1]])))
    stopped = [event for event in events if isinstance(event, TrialStopped)]
    assert [(event.trial, event.reason) for event in stopped] == [(1, "diverged")]
    assert stopped[0].step > 1
    from_group = np.concatenate([e.losses for e in events if hasattr(e, "losses")], axis=1)
    np.testing.assert_array_equal(from_group[0], run(calm[0])[0])
    np.testing.assert_array_equal(from_group[2], run(calm[1])[0])
    last = [event for event in events if isinstance(event, Evaluated)][-1]
    assert list(last.active) == [True, False, True]


def test_early_stopping_in_a_group_freezes_only_the_trial_that_stops(spec, choice):
    stop = EarlyStopping(patience=2, min_delta=0.0)
    still = choice("optimizer", "sgd", lr=0.0)  # never improves after its first evaluation
    moving = choice("optimizer", "sgd", lr=0.05)
    trials = [
        spec(optimizer=optimizer, train_epochs=6, train_early_stopping=stop)
        for optimizer in (still, moving)
    ]
    events = list(train(build(trials)))
    stopped = [event for event in events if isinstance(event, TrialStopped)]
    assert [(event.trial, event.epoch, event.reason) for event in stopped] == [
        (0, 3, "early_stopping")
    ]
    alone = next(event for event in train(build([trials[0]])) if isinstance(event, Finished))
    group = next(event for event in events if isinstance(event, Finished))
    for name, value in alone.final(0).items():
        assert torch.equal(group.final(0)[name], value)


@pytest.mark.parametrize("step", ["fused", "plain"])
@pytest.mark.parametrize(
    ("loss", "knobs", "dataset"),
    [
        ("mse", {}, "cubic"),
        ("cross_entropy", {"weight": (0.2, 1.0, 3.0)}, "iris"),
        ("cross_entropy", {"ignore_index": 1}, "iris"),
    ],
)
def test_accumulation_equals_the_larger_batch(step, loss, knobs, dataset, spec, run, choice):
    parts = {"loss": choice("loss", loss, **knobs), "dataset": dataset, "train_step": step}
    small = run(spec(**parts, train_batch_size=8, train_accumulate=4))
    large = run(spec(**parts, train_batch_size=32))
    np.testing.assert_allclose(small, large, rtol=1e-5, atol=1e-6)


def test_accumulation_is_refused_where_it_would_not_be_the_larger_batch(spec, choice):
    normed = choice("network", "mlp", hidden=(6,), norm="batch")
    with pytest.raises(UsageError, match="batch statistics"):
        build([spec(network=normed, train_accumulate=2)])


@pytest.mark.parametrize("clip", [{"train_clip_norm": 0.1}, {"train_clip_value": 0.01}])
def test_clipping_is_the_same_in_both_steps_and_does_something(clip, twins, run, spec):
    traced, plain = twins(**clip)
    np.testing.assert_allclose(traced, plain, rtol=1e-5, atol=1e-6)
    assert not np.allclose(run(spec())[:, :4], traced[:, :4], rtol=1e-4)


@pytest.mark.parametrize("step", ["fused", "plain"])
@pytest.mark.parametrize("optimizer", ["adam", "swa", "lbfgs", "sparse_adam", "muon"])
def test_a_resume_from_any_safe_point_gives_the_same_run(step, optimizer, spec, choice):
    facts = registry.optimizer[optimizer].facts
    if step == "fused" and facts.kernel_only:
        pytest.skip("has no formula to fuse")
    network = choice("network", "mlp", hidden=(6,), dropout=0.2)
    one = spec(
        network=network,
        optimizer=choice("optimizer", optimizer),
        schedule=choice("schedule", "cosine_with_warmup", warmup_steps=3),
        train_epochs=3,
        train_step=step,
    )
    events, states = [], []
    for event in train(build([one])):
        events.append(event)
        if isinstance(event, SafePoint):
            states.append((len(events), event.state()))
    assert len(states) >= 3  # one at the end of each epoch, more where a step takes long
    for position, state in states:
        rest = list(train(build([one]), state))
        expected = [e for e in events[position:] if isinstance(e, Evaluated)]
        got = [e for e in rest if isinstance(e, Evaluated)]
        assert [(e.step, e.split, e.weights) for e in got] == [
            (e.step, e.split, e.weights) for e in expected
        ]
        for one_event, other in zip(got, expected, strict=True):
            for name in other.values:
                np.testing.assert_array_equal(one_event.values[name], other.values[name])


def test_the_best_weights_are_those_that_were_best_on_validation(spec, choice):
    one = spec(
        optimizer=choice("optimizer", "sgd", lr=0.9),
        dataset=choice("dataset", "friedman", samples=60),
        train_epochs=8,
    )
    job = build([one])
    events = list(train(job))
    curve = {e.step: e.values["loss"][0] for e in events if getattr(e, "split", "") == "validation"}
    finished = next(event for event in events if isinstance(event, Finished))
    best = min(curve, key=curve.get)
    assert finished.best_step[0] == best
    evaluated = job.step.evaluate(job.splits["validation"], best=True)
    assert float(evaluated.loss[0]) == pytest.approx(float(curve[best]), rel=1e-6)


def test_evaluation_uses_running_statistics_and_no_dropout(spec, choice):
    network = choice("network", "mlp", hidden=(16,), norm="batch", dropout=0.5)
    job = build([spec(network=network)])
    list(train(job))
    split = job.splits["validation"]
    whole = job.step.evaluate(split).outputs[0]
    again = job.step.evaluate(split).outputs[0]
    assert torch.equal(whole, again)  # no noise
    part = type(split)(split.inputs[:5], split.target[:5])
    # With batch statistics a sample's output would depend on the other samples.
    torch.testing.assert_close(job.step.evaluate(part).outputs[0], whole[:5])


def test_float_knobs_of_network_activation_and_loss_may_differ_within_a_group(spec, run, choice):
    trials = [
        spec(
            network=choice("network", "mlp", hidden=(8,), dropout=dropout),
            activation=choice("activation", "leaky_relu", negative_slope=slope),
            loss=choice("loss", "huber", delta=delta),
            train_seed=seed,
        )
        for seed, (dropout, slope, delta) in enumerate(
            [(0.1, 0.01, 1.0), (0.5, 0.2, 0.3), (0.1, 0.3, 0.1)]
        )
    ]
    together = run(*trials)
    for number, trial in enumerate(trials):
        np.testing.assert_allclose(together[number], run(trial)[0], rtol=1e-5, atol=1e-7)
    assert len({tuple(row) for row in together.round(6)}) == 3


def test_a_schedule_that_cycles_the_momentum_does_so_for_every_trial_of_a_group(spec, run, choice):
    cycle = choice("schedule", "one_cycle")
    trials = [
        spec(optimizer=choice("optimizer", "sgd", lr=rate, momentum=0.5), schedule=cycle)
        for rate in (0.1, 0.02)
    ]
    together = run(*trials)
    for number, trial in enumerate(trials):
        np.testing.assert_allclose(together[number], run(trial)[0], rtol=1e-6, atol=1e-7)
