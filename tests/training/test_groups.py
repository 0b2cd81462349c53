"""Groups of trials: which of them are computed together, how they are cut, and that a trial in a
group of any size, at any position, is the same trial alone, whatever it is made of."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from supervised import REQUIRED, SUPERVISED

from lossbench import registry
from lossbench.components.vocabulary import FITS
from lossbench.config.spec import RunSpec, ScheduleOptions
from lossbench.errors import UsageError
from lossbench.training import gradients, groups
from lossbench.training.applied import applied
from lossbench.training.build import build, plan_group
from lossbench.training.chunks import ChunkResult, plan_work, train_chunk, try_chunk
from lossbench.training.groups import Chunk, cut, group_key, group_trials, piece_size
from lossbench.training.rates import Rates, Schedule
from lossbench.training.survey import survey

STEPS = 10
"""Steps over which trials are compared: over many more, chaotic ones drift apart."""

CLOSE = {"rtol": 1e-6, "atol": 1e-6}


@dataclass(frozen=True)
class Trained:
    """All that is known of one trial at its end."""

    status: str
    ended: int
    best_step: int
    curves: dict[str, np.ndarray]
    final: dict[str, float]
    best: dict[str, float]


def row(result: ChunkResult, trial: int) -> Trained:
    return Trained(
        result.status[trial],
        result.ended[trial],
        int(result.best_step[trial]),
        {name: values[trial] for name, values in result.curves.items()},
        {name: float(values[trial]) for name, values in result.final.items()},
        {name: float(values[trial]) for name, values in result.best.items()},
    )


def together(specs: list[RunSpec], size: int | None = None) -> list[Trained]:
    """Train specs of one group in pieces of a size; every piece shares the survey of the group."""
    found = survey(specs[0])
    plan = plan_group(specs, found)
    trained = []
    for number, piece in enumerate(cut(range(len(specs)), size or len(specs))):
        chunk = Chunk(number, 0, piece, replace(plan, chunk=len(piece)))
        *_, result = train_chunk(chunk, [specs[index] for index in piece], found)
        assert isinstance(result, ChunkResult)
        trained += [row(result, position) for position in range(len(piece))]
    return trained


_ALONE: dict[tuple[int, str], Trained] = {}


def alone(spec: RunSpec) -> Trained:
    """Train one spec as a single run does: its own survey, its own plan."""
    key = gradients.TRACE_FROM, repr(spec)
    if key not in _ALONE:
        _ALONE[key] = _alone(spec)
    return _ALONE[key]


def _alone(spec: RunSpec) -> Trained:
    job = build([spec])
    *_, result = train_chunk(Chunk(0, 0, (0,), job.plan), [spec])
    assert isinstance(result, ChunkResult)
    return row(result, 0)


def assert_equal(one: Trained, other: Trained, *, exactly: bool, **close: float) -> None:
    assert (one.status, one.ended, one.best_step) == (other.status, other.ended, other.best_step)
    for kind in ("curves", "final", "best"):
        ours, theirs = getattr(one, kind), getattr(other, kind)
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            if exactly:
                np.testing.assert_array_equal(value, theirs[name], err_msg=name)
            else:
                np.testing.assert_allclose(value, theirs[name], err_msg=name, **(close or CLOSE))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let short runs be traced as long ones are."""
    monkeypatch.setattr(gradients, "TRACE_FROM", 1)


@pytest.fixture
def small(spec: Callable[..., RunSpec]) -> Callable[..., RunSpec]:
    """A classification of ten steps with a validation and a test split."""

    def make(**parts) -> RunSpec:
        given = {"dataset": "iris", "loss": "cross_entropy", "metrics": ("accuracy",),
                 "train_epochs": 2, "train_batch_size": 21}  # fmt: skip
        return spec(**(given | parts))

    return make


# --- the key ----------------------------------------------------------------------------------


def test_what_may_differ_within_a_group(small, choice):
    plain = small()
    shares = {
        "seed": small(train_seed=77),
        "optimizer": small(optimizer=choice("optimizer", "adam", lr=0.3)),
        "schedule": small(schedule="cosine_annealing"),
        "name": replace(plain, name="another"),
    }
    for what, other in shares.items():
        assert group_key(other) == group_key(plain), what


@pytest.mark.parametrize(
    "parts",
    [
        {"train_epochs": 3},
        {"train_batch_size": 30},
        {"train_clip_norm": 1.0},
        {"loss": "multi_margin"},
        {"activation": "relu"},
        {"metrics": ()},
        {"schedule": "one_cycle"},  # it cycles the momentum: all trials of a group do, or none
        {"schedule": "reduce_on_plateau"},
    ],
)
def test_what_makes_another_group(parts, small):
    assert group_key(small(**parts)) != group_key(small())


def test_float_knobs_share_a_group_but_whole_numbers_and_knobs_that_are_off_do_not(small, choice):
    def slope(value: float) -> RunSpec:
        return small(activation=choice("activation", "leaky_relu", negative_slope=value))

    assert group_key(slope(0.1)) == group_key(slope(0.2))

    def net(**knobs) -> RunSpec:
        return small(network=choice("network", "mlp", hidden=(4,), **knobs))

    assert group_key(net(dropout=0.1)) == group_key(net(dropout=0.5))
    assert group_key(net(dropout=0.0)) != group_key(net(dropout=0.5))
    wider = small(network=choice("network", "mlp", hidden=(5,)))
    assert group_key(net()) != group_key(wider)


def test_knobs_of_a_users_own_file_stay_numbers(small, own, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def loss(prediction, target, *, scale: float = 1.0): ...")
    one, other = (small(loss=own("loss", file, "loss", scale=s)) for s in (1.0, 2.0))
    assert group_key(one) != group_key(other)


def test_trials_that_are_trained_one_by_one_share_a_survey_over_their_seeds(small, choice):
    lbfgs = choice("optimizer", "lbfgs")
    specs = [small(optimizer=lbfgs, train_seed=seed) for seed in range(4)]
    assert group_trials(specs) == [[0, 1, 2, 3]]
    work = plan_work(specs, range(4), workers=1, cores=1)
    assert [chunk.trials for chunk in work.chunks] == [(0,), (1,), (2,), (3,)]
    assert {chunk.plan.step for chunk in work.chunks} == {"plain"}
    assert len(work.surveys) == 1


def test_trials_of_two_groups_are_not_built_together(small):
    with pytest.raises(UsageError, match="cannot be computed together"):
        build([small(), small(activation="relu")])


# --- cutting ----------------------------------------------------------------------------------


@given(st.integers(1, 500), st.integers(1, 200), st.integers(1, 20))
def test_a_cut_loses_nothing_keeps_the_order_and_is_even(trials, most, at_least):
    pieces = cut(range(trials), most, at_least)
    assert [trial for piece in pieces for trial in piece] == list(range(trials))
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(pieces) >= min(trials, at_least)
    assert len(pieces) == min(trials, max(at_least, -(-trials // most)))


@given(st.integers(1, 1024), st.floats(0, 100), st.floats(1e-6, 100))
def test_a_piece_takes_a_minute_at_most_unless_that_costs_speed(chunk, own, per_trial):
    size = piece_size(chunk, own, per_trial)
    assert 1 <= size <= chunk
    if own + size * per_trial > groups.SECONDS_PER_PIECE and size > 1:
        # Not one trial less without the pieces' own seconds becoming more than a tenth.
        assert own >= groups.MOST_OVERHEAD * (size - 1) * per_trial * 0.999
    if size < chunk:
        assert own + (size + 1) * per_trial > groups.SECONDS_PER_PIECE * 0.999
        assert own < groups.MOST_OVERHEAD * (size + 1) * per_trial * 1.001


def test_long_trials_are_cut_into_shorter_pieces(small, choice):
    """The same trials, four minutes of work and a few seconds."""
    wide = {"network": choice("network", "mlp", hidden=(64, 64)), "activation": "tanh"}

    def pieces(epochs: int) -> tuple[list[int], float]:
        specs = [small(**wide, train_seed=seed, train_epochs=epochs) for seed in range(240)]
        work = plan_work(specs, range(240), workers=1, cores=1)
        return [len(chunk.trials) for chunk in work.chunks], work.seconds

    short, seconds = pieces(10)
    assert short == [240]
    many, longer = pieces(round(10 * 240 / seconds))
    assert longer > 3 * groups.SECONDS_PER_PIECE
    assert 2 <= len(many) <= 8
    assert sum(many) == 240


def test_every_worker_gets_its_part_of_a_large_group(small):
    specs = [small(train_seed=seed) for seed in range(12)]
    work = plan_work(specs, range(100, 112), workers=3, cores=8)
    assert [len(chunk.trials) for chunk in work.chunks] == [4, 4, 4]
    assert sorted(n for chunk in work.chunks for n in chunk.trials) == list(range(100, 112))
    assert {chunk.plan.threads for chunk in work.chunks} == {1}


def test_short_work_starts_no_processes(small):
    work = plan_work([small(train_seed=seed) for seed in range(8)], range(8), workers=None, cores=8)
    assert work.workers == 1
    assert 0 < work.seconds < 5


# --- the same trial ---------------------------------------------------------------------------


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_trial_is_the_same_in_pieces_of_every_size(size, small, choice):
    network = choice("network", "mlp", hidden=(8, 5), dropout=0.25)
    specs = [
        small(network=network, optimizer=choice("optimizer", name, lr=0.01), train_seed=seed)
        for name in ("sgd", "adam")
        for seed in (5, 0)
    ]
    trained = together(specs, size)
    for spec, found in zip(specs, trained, strict=True):
        assert_equal(found, alone(spec), exactly=True)


ELEMENTWISE = [
    name
    for name, entry in registry.optimizer.items()
    if not entry.facts.kernel_only and entry.facts.scope == "element" and not entry.facts.wraps
]


@pytest.mark.usefixtures("traced")
def test_a_group_of_all_elementwise_optimizers_equals_its_trials_bit_for_bit(small, choice):
    specs = [
        small(optimizer=choice("optimizer", name, lr=0.01), train_seed=seed)
        for seed, name in enumerate(ELEMENTWISE)
    ]
    for spec, found in zip(specs, together(specs), strict=True):
        assert_equal(found, alone(spec), exactly=True)


def losses_for(kind: str) -> list[str]:
    return [
        name for name in SUPERVISED if set(registry.loss[name].facts.encodings) & set(FITS[kind])
    ]


# Kernels whose exponential, logarithm or power is another one for the last elements than for whole
# registers of them. It is rounding: a gradient alone is 4e-9 (log_cosh 1e-8) from that in a group,
# and in float64 1e-16; both are up to 1e-7 from those in float64.
INEXACT = (
    "asymmetric",
    "balanced_cross_entropy",
    "bce",
    "focal",
    "hinge_embedding",
    "log_cosh",
    "log_cosh_dice",
    "logistic",
    "msle",
    "poisson_nll",
    "varifocal",
)


@pytest.mark.parametrize("name", sorted({*losses_for("class"), *losses_for("real")}))
def test_a_trial_in_a_group_equals_itself_alone_for_every_loss(name, small, choice):
    real = {"dataset": choice("dataset", "friedman", samples=100), "metrics": ()}
    parts = {} if name in losses_for("class") else real
    specs = [
        small(
            loss=choice("loss", name, **REQUIRED.get(name, {})),
            optimizer=choice("optimizer", rule, lr=0.01),
            train_seed=seed,
            **parts,
        )
        for rule in ("momentum", "adamw")
        for seed in range(2)
    ]
    assert_equal(together(specs)[2], alone(specs[2]), exactly=name not in INEXACT)


SCHEDULES = {
    "chained": {},
    "sequential": {"milestones": (4,)},
    "cosine_warm_restarts": {"T_0": 3},
    "cyclic": {"max_lr": 0.2},
    "exponential": {"gamma": 0.8},
    "multi_step": {"milestones": (1, 2)},
    "step": {"step_size": 1},
    "swa_lr": {"swa_lr": 0.01},
}


WITHOUT_FUNCTIONS = [
    name
    for name, entry in registry.schedule.items()
    if all(knob.name != "lr_lambda" for knob in entry.knobs)
]


@pytest.mark.parametrize("name", WITHOUT_FUNCTIONS)
def test_a_trial_in_a_group_equals_itself_alone_for_every_schedule(name, small, choice):
    knobs = dict(SCHEDULES.get(name, {}))
    if name in ("chained", "sequential"):
        parts = (choice("schedule", "exponential", gamma=0.8), choice("schedule", "constant"))
        knobs["schedules"] = parts
    schedule = choice("schedule", name, **knobs)
    schedule = replace(schedule, options=ScheduleOptions())
    specs = [
        small(optimizer=choice("optimizer", "sgd", lr=rate), schedule=schedule, train_seed=seed)
        for rate in (0.1, 0.02)
        for seed in range(2)
    ]
    trained = together(specs)
    for index in (0, 3):
        assert_equal(trained[index], alone(specs[index]), exactly=False)


NETWORKS = {
    "linear": ("linear", {}),
    "layer norm": ("mlp", {"hidden": (6,), "norm": "layer"}),
    "batch norm and dropout": ("mlp", {"hidden": (6,), "norm": "batch", "dropout": 0.2}),
    "convolutions": ("cnn2d", {}),
}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("case", NETWORKS)
def test_a_trial_in_a_group_equals_itself_alone_for_every_network(case, small, choice):
    name, knobs = NETWORKS[case]
    dataset = "digits" if name == "cnn2d" else "iris"
    specs = [
        small(
            dataset=dataset,
            activation="relu",
            network=choice("network", name, **knobs),
            optimizer=choice("optimizer", rule, lr=0.01),
            train_seed=seed,
            train_epochs=1,
            train_batch_size=126 if name == "cnn2d" else 21,
        )
        # Adam makes a full step of the rounding error in a gradient that batch norm makes zero.
        for rule in ("sgd", "momentum")
        for seed in range(2)
    ]
    trained = together(specs)
    for index in (1, 2):
        exactly = case in ("linear", "layer norm")
        # torch's batch norm and convolutions sum in an order of their own.
        assert_equal(trained[index], alone(specs[index]), exactly=exactly, rtol=2e-5, atol=1e-6)


ACTIVATIONS = {
    "of each element": ("smish", {}),
    "learned by channel": ("acon_c", {}),
    "kept in an interval": ("pelu", {}),
    "of two halves": ("swiglu", {}),
    "along a dimension": ("sparsemax", {}),
    "drawn": ("gumbel_softmax", {"tau": 0.7}),
}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("case", ACTIVATIONS)
def test_a_trial_in_a_group_equals_itself_alone_for_every_sort_of_activation(case, small, choice):
    name, knobs = ACTIVATIONS[case]
    specs = [
        small(
            activation=choice("activation", name, **knobs),
            network=choice("network", "mlp", hidden=(6,)),
            optimizer=choice("optimizer", rule, lr=0.05),
            train_seed=seed,
            train_epochs=2,
        )
        for rule in ("sgd", "momentum")
        for seed in range(2)
    ]
    trained = together(specs)
    for index in (1, 2):
        assert_equal(trained[index], alone(specs[index]), exactly=False, rtol=2e-5, atol=1e-6)


REGULARISERS = {
    "weight decay": {"optimizer": ("adamw", {"weight_decay": 0.1})},
    "clipped norm": {"train_clip_norm": 0.05},
    "clipped values": {"train_clip_value": 0.01},
    "accumulation": {"train_batch_size": 7, "train_accumulate": 3},
    "last batch left out": {"train_batch_size": 20, "train_drop_last": True},
    "whole data": {"train_batch_size": "full"},
}


@pytest.mark.parametrize("case", REGULARISERS)
def test_a_trial_in_a_group_equals_itself_alone_for_every_regulariser(case, small, choice):
    parts = dict(REGULARISERS[case])
    name, knobs = parts.pop("optimizer", ("sgd", {}))
    optimizer = choice("optimizer", name, lr=0.05, **knobs)
    specs = [small(optimizer=optimizer, train_seed=seed, **parts) for seed in range(3)]
    for spec, found in zip(specs, together(specs), strict=True):
        assert_equal(found, alone(spec), exactly=True)


@pytest.mark.usefixtures("traced")
def test_pieces_keep_their_own_knobs_where_the_group_was_surveyed_with_others(small, choice):
    """A piece whose trials agree in a knob must not take it from the first trial of the group."""
    specs = [
        small(activation=choice("activation", "leaky_relu", negative_slope=slope), train_seed=seed)
        for slope in (0.01, 0.9)
        for seed in range(2)
    ]
    for size in (1, 2, 4):
        trained = together(specs, size)
        for spec, found in zip(specs, trained, strict=True):
            assert_equal(found, alone(spec), exactly=size < 4)


def test_a_trial_of_the_plain_step_keeps_its_own_knobs(small, choice):
    specs = [
        small(network=choice("network", "mlp", hidden=(6,), dropout=share), train_step="plain")
        for share in (0.1, 0.7)
    ]
    for spec, found in zip(specs, together(specs, 1), strict=True):
        assert_equal(found, alone(spec), exactly=True)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("seed", range(4))
def test_mixed_groups_equal_their_trials(seed, small, choice):
    """Whatever may differ within a group, drawn at random, at random positions."""
    rng = np.random.default_rng(seed)
    knobs = {"hidden": (int(rng.integers(3, 9)),), "norm": ["none", "layer"][rng.integers(2)]}
    specs = []
    for trial in range(5):
        rate = [0.01, 0.05][rng.integers(2)]
        rule = ["sgd", "adam", "rmsprop", "adamw"][rng.integers(4)]
        decay = {"weight_decay": 0.1} if rng.integers(2) else {}
        dropout = {"dropout": float(rng.uniform(0.1, 0.5))}
        specs.append(
            small(
                network=choice("network", "mlp", **knobs, **dropout),
                optimizer=choice("optimizer", rule, lr=rate, **decay),
                schedule=[None, "cosine_annealing"][rng.integers(2)],
                train_seed=int(rng.integers(1000)),
                train_clip_norm=1.0,
            )
        )
        del trial
    trained = together(specs, int(rng.integers(2, 6)))
    for index in rng.choice(5, size=2, replace=False):
        assert_equal(trained[index], alone(specs[index]), exactly=False, rtol=2e-6, atol=1e-6)


def test_the_rates_of_a_thousand_trials_are_kept_once(small, choice):
    """A table of [trials, steps] would take gigabytes for long runs."""
    schedule = Schedule(applied(choice("schedule", "cosine_annealing")), "step")
    bases = [0.1, 0.02] * 500
    rates = Rates(bases, [schedule] * 1000, steps_per_epoch=100, epochs=10)
    assert sum(value.nbytes for value in vars(rates).values() if hasattr(value, "nbytes")) < 100_000
    alone = [Rates([base], [schedule], steps_per_epoch=100, epochs=10) for base in (0.1, 0.02)]
    for step in (1, 400, 1000):
        column = rates.at(step)
        assert column.shape == (1000, 1)
        assert column[:2, 0].tolist() == [one.at(step) for one in alone]
        assert torch.equal(column[:2], column[-2:])
    assert rates.row(5, 3).shape == (1000, 3)
    np.testing.assert_array_equal(rates.row(5, 3)[:2], [one.row(5, 3)[0] for one in alone])


# --- pieces that end otherwise ----------------------------------------------------------------


def test_a_contender_that_diverges_leaves_its_neighbours_as_they_are(small, choice):
    real = {"dataset": choice("dataset", "friedman", samples=100), "metrics": ()}
    calm = [small(loss="mse", train_seed=seed, **real) for seed in range(2)]
    fast = choice("optimizer", "sgd", lr=1e30)
    wild = [small(loss="mse", optimizer=fast, train_seed=seed, **real) for seed in range(2)]
    trained = together([calm[0], wild[0], wild[1], calm[1]])
    assert [found.status for found in trained] == ["done", "diverged", "diverged", "done"]
    for index, spec in zip((0, 3), calm, strict=True):
        assert_equal(trained[index], alone(spec), exactly=True)
    assert trained[1].status == alone(wild[0]).status
    assert trained[1].ended == alone(wild[0]).ended
    assert np.isnan(trained[1].curves["train/loss"][trained[1].ended :]).all()
    assert np.isnan(trained[1].final["train/loss"])


def test_an_error_that_ends_a_piece_is_its_result(small, monkeypatch):
    def breaks(*_args, **_kwargs):
        raise RuntimeError("the factorization could not be completed\nand more")

    monkeypatch.setattr("lossbench.training.chunks.train", breaks)
    specs = [small(train_seed=seed) for seed in range(2)]
    chunk = plan_work(specs, [4, 5], workers=1, cores=1).chunks[0]
    (result,) = try_chunk(chunk, specs)
    assert isinstance(result, ChunkResult)
    assert result.status == ("failed", "failed")
    assert result.trials == (4, 5)
    assert result.detail[0] == "the factorization could not be completed"


def test_used_up_memory_is_no_property_of_a_trial(small, monkeypatch):
    def breaks(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("lossbench.training.chunks.train", breaks)
    chunk = plan_work([small()], [0], workers=1, cores=1).chunks[0]
    with pytest.raises(MemoryError):
        list(try_chunk(chunk, [small()]))


def test_users_own_loss_with_a_branch_on_data_is_trained_one_by_one(small, own, tmp_path: Path):
    file = tmp_path / "branch.py"
    file.write_text(
        "def branching(prediction, target):\n"
        "    error = (prediction - target) ** 2\n"
        "    return error if error.mean() > 0.5 else 2 * error\n"
    )
    specs = [
        small(dataset="friedman", metrics=(), loss=own("loss", file, "branching"), train_seed=seed)
        for seed in range(3)
    ]
    work = plan_work(specs, range(3), workers=1, cores=1)
    assert [chunk.plan.step for chunk in work.chunks] == ["plain"] * 3
    assert "vmap" in work.chunks[0].plan.reason
    *_, result = train_chunk(work.chunks[1], [specs[1]], work.surveys[0])
    assert_equal(row(result, 0), alone(specs[1]), exactly=True)
