"""Every schedule against torch's own scheduler, at every step of a run, over the whole registry."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from lossbench.checks.schedule_runs import MOMENTUM, torch_course, torch_schedule
from lossbench.checks.schedule_runs import applied as part
from lossbench.components.vocabulary import Applied, Nested
from lossbench.errors import UsageError
from lossbench.registry import Entry, Knob, schedule

ALL = [schedule[name] for name in schedule.names()]
CLOCKED = [entry for entry in ALL if entry.facts.state is None]
BASE = 0.3

FAST = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def named(entries: list[Entry[Any]]) -> Any:
    return pytest.mark.parametrize("entry", entries, ids=lambda entry: entry.name)


# --- knobs ------------------------------------------------------------------------------------


def functions() -> st.SearchStrategy[Callable[[int], float]]:
    return st.sampled_from(
        [lambda t: 0.95**t, lambda t: 1 / (1 + t), lambda t: 0.5 + 0.1 * (t % 3)]
    )


def number(annotation: Any) -> st.SearchStrategy[Any]:
    """Numbers inside the declared range, and not much larger than a short run needs."""
    kind, *marks = get_args(annotation)
    low, high = (0.0, 1.5) if kind is float else (0, 12)
    exclude_low = exclude_high = False
    for mark in marks:
        if isinstance(mark, Ge):
            low = mark.ge
        elif isinstance(mark, Gt):
            low, exclude_low = mark.gt, True
        elif isinstance(mark, Le):
            high = mark.le
        elif isinstance(mark, Lt):
            high, exclude_high = mark.lt, True
    if kind is int:
        return st.integers(low + exclude_low, high)
    # Tiny numbers only show how torch's recursions lose digits.
    floor = max(low, 0.05) if exclude_low else low
    return st.floats(floor, high - 0.01 if exclude_high else high).map(lambda x: round(x, 3))


def strategy(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a knob's annotation."""
    origin = get_origin(annotation)
    if annotation is bool:
        return st.booleans()
    if annotation is float:
        return st.floats(0, 0.2).map(lambda x: round(x, 3))
    if annotation is type(None):
        return st.none()
    if origin is Literal:
        return st.sampled_from(get_args(annotation))
    if origin is tuple:
        return st.lists(strategy(get_args(annotation)[0]), max_size=4).map(
            lambda x: tuple(sorted(x))
        )
    if origin is Annotated:
        return number(annotation)
    if annotation == Callable[[int], float]:
        return functions()
    return st.one_of(*(strategy(part) for part in get_args(annotation)))


def is_nested(knob: Knob) -> bool:
    return any(isinstance(mark, Nested) for mark in getattr(knob.annotation, "__metadata__", ()))


def drawn(entry: Entry[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Whole sets of knobs: those without a default always vary, the others sometimes."""
    own = {knob.name: strategy(knob.annotation) for knob in entry.knobs if not is_nested(knob)}
    fixed = entry.defaults()
    return st.fixed_dictionaries(
        {name: own[name] for name in own if name not in fixed},
        optional={name: own[name] for name in own if name in fixed},
    ).map(lambda knobs: {**fixed, **knobs})


SINGLE = [e for e in CLOCKED if e.kernel and not any(is_nested(knob) for knob in e.knobs)]

EXAMPLES: dict[str, dict[str, Any]] = {
    # What a schedule needs where a knob has no default.
    "step": {"step_size": 4},
    "multi_step": {"milestones": (3, 5, 5)},
    "exponential": {"gamma": 0.9},
    "swa_lr": {"swa_lr": 0.05},
    "cosine_warm_restarts": {"T_0": 3, "T_mult": 2},
    "cyclic": {"max_lr": 0.9, "step_size_up": 4},
    "lambda": {"lr_lambda": lambda t: 0.9**t},
    "multiplicative": {"lr_lambda": lambda t: 1 - 0.1 * (t % 2)},
    "sequential": {
        "schedules": [part("linear"), part("cosine_annealing"), part("swa_lr", swa_lr=0.01)],
        "milestones": (5, 9),
    },
    "chained": {"schedules": [part("linear"), part("exponential", gamma=0.9)]},
}


def example_of(entry: Entry[Any]) -> dict[str, Any]:
    return {**entry.defaults(), **EXAMPLES.get(entry.name, {})}


# --- torch's side -----------------------------------------------------------------------------


def held(name: str, knobs: dict[str, Any], total: int, base: float = BASE) -> None:
    """Assert that formula and torch agree at every step, in rate and momentum."""
    try:
        rates, momenta = torch_course(schedule[name], knobs, total, total, base)
    except ZeroDivisionError:  # torch divides by a factor of 0, or by a phase without length
        assume(False)
    entry = schedule[name]
    steps = torch.arange(total, dtype=torch.float64)
    ours = entry.function(base, steps, total, **knobs)
    assert ours.dtype is torch.float64
    # torch multiplies its way from step to step and gathers errors; the formula does not.
    scale = float(rates.abs().max())
    torch.testing.assert_close(ours, rates, rtol=1e-6, atol=1e-7 * scale)
    if entry.facts.momentum:
        cycled = entry.facts.momentum(steps, total, **knobs)
        if cycled is None:
            assert set(momenta.tolist()) == {MOMENTUM}
        else:
            torch.testing.assert_close(cycled.expand(total), momenta, rtol=1e-6, atol=1e-9)


@pytest.fixture(autouse=True)
def double() -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


# --- one by one -------------------------------------------------------------------------------


@named(SINGLE)
def test_rate_equals_torch_at_every_step(entry: Entry[Any]) -> None:
    @FAST
    @given(knobs=drawn(entry), total=st.integers(1, 40))
    @example(knobs=example_of(entry), total=30)
    def holds(knobs: dict[str, Any], total: int) -> None:
        if isinstance(entry.facts.total, str) and entry.name == "one_cycle":
            # torch refuses to go on beyond the last step.
            assume((knobs["total_steps"] or total) >= total)
        if "max_lr" in knobs and "base_lr" in knobs:
            assume(knobs["max_lr"] > 0)
        held(entry.name, knobs, total)

    holds()


@named(SINGLE)
def test_defaults_are_those_of_torch(entry: Entry[Any]) -> None:
    import inspect

    make = entry.load_kernel()
    assert make is not None
    ours = {knob.name: knob for knob in entry.knobs}
    not_said = {"optimizer", "last_epoch", "self"}
    by_total = {"epochs", "steps_per_epoch"}  # the run knows them
    functions = {"scale_fn", "scale_mode"}  # see `lambda`
    theirs = inspect.signature(make).parameters
    assert set(theirs) - not_said - by_total - functions == set(ours)
    for name, knob in ours.items():
        wanted = theirs[name].default
        if wanted is not inspect.Parameter.empty:
            assert knob.default == wanted, name
        else:  # required there: required here, or taken from the run or the optimizer
            assert knob.required or knob.default is None, name


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("strategy_name", ["cos", "linear"])
@pytest.mark.parametrize("total", [10, 17, 100])
def test_one_cycle_over_a_whole_run(three_phase: bool, strategy_name: str, total: int) -> None:
    knobs = {
        **example_of(schedule["one_cycle"]),
        "three_phase": three_phase,
        "anneal_strategy": strategy_name,
    }
    held("one_cycle", knobs, total)
    rates = schedule["one_cycle"].function(BASE, torch.arange(total + 20), total, **knobs)
    assert rates.max() <= BASE
    assert torch.all(rates[total:] == rates[total - 1])


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize("down", [None, 3, 11])
def test_cyclic_over_many_cycles(mode: str, down: int | None) -> None:
    knobs = example_of(schedule["cyclic"]) | {"mode": mode, "step_size_down": down, "gamma": 0.97}
    held("cyclic", knobs, 120)


@pytest.mark.parametrize("first", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_warm_restarts_begin_exactly_where_torch_restarts(first: int, factor: int) -> None:
    held("cosine_warm_restarts", {"T_0": first, "T_mult": factor, "eta_min": 0.01}, 2000)


def test_momentum_of_adam_is_its_first_beta() -> None:
    """What the facts call the momentum is what torch writes into betas[0]."""
    entry = schedule["one_cycle"]
    knobs = {**entry.defaults(), "max_lr": BASE}
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler = torch_schedule(entry, knobs, adam, BASE, 20)
    for step in range(20):
        wanted = entry.facts.momentum(step, 20, **knobs)
        assert adam.param_groups[0]["betas"][0] == pytest.approx(wanted.item())
        adam.step()
        scheduler.step()


# --- combined ---------------------------------------------------------------------------------

FACTORS = ["step", "multi_step", "constant", "linear", "exponential", "polynomial"]
LINES = ["cosine_annealing", "swa_lr"]
RATES = ["cosine_warm_restarts", "cosine_with_warmup", "linear_with_warmup", "rex", "lambda"]


def parts(names: list[str], **bounds: int) -> st.SearchStrategy[list[Applied]]:
    def of(name: str) -> st.SearchStrategy[Applied]:
        return drawn(schedule[name]).map(lambda knobs: part(name, **knobs))

    def apart(several: list[Applied]) -> bool:
        # Two SWALR of one optimizer write into the same place: the last one's rate serves both.
        return sum(one.name == "swa_lr" for one in several) <= 1

    return st.lists(st.sampled_from(names).flatmap(of), **bounds).filter(apart)


@FAST
@given(data=st.data(), total=st.integers(1, 40))
def test_sequence_equals_torch(data: st.DataObject, total: int) -> None:
    several = data.draw(parts(FACTORS + LINES + RATES, min_size=1, max_size=4))
    starts = st.lists(st.integers(1, 30), min_size=len(several) - 1, max_size=len(several) - 1)
    knobs = {"schedules": several, "milestones": tuple(sorted(data.draw(starts)))}
    assume(len(set(knobs["milestones"])) == len(knobs["milestones"]))
    held("sequential", knobs, total)


@FAST
@given(several=parts(FACTORS, min_size=1, max_size=4), total=st.integers(1, 40))
def test_chain_of_factors_equals_torch(several: list[Applied], total: int) -> None:
    held("chained", {"schedules": several}, total)


@settings(FAST, max_examples=300)
@given(several=parts(FACTORS + LINES + RATES, min_size=1, max_size=4), total=st.integers(1, 40))
def test_chain_of_anything_equals_torch(several: list[Applied], total: int) -> None:
    held("chained", {"schedules": several}, total)


def test_chain_multiplies() -> None:
    several = [part("linear", start_factor=0.5), part("exponential", gamma=0.9)]
    steps = torch.arange(12.0)
    rates = schedule["chained"].function(2.0, steps, 12, schedules=several)
    linear = 0.5 + 0.5 * torch.clamp(steps / 5, max=1)
    torch.testing.assert_close(rates, 2.0 * linear * 0.9**steps)


def test_sequences_and_chains_hold_each_other() -> None:
    warm = part(
        "sequential", schedules=[part("linear"), part("step", step_size=2)], milestones=(4,)
    )
    held("chained", {"schedules": [warm, part("exponential", gamma=0.9)]}, 25)
    # (Started inside a sequence, torch's chain applies every factor once too often.)
    both = part("chained", schedules=[part("constant"), part("exponential", gamma=0.8)])
    knobs = {"schedules": [part("step", step_size=3), both], "milestones": (7,)}
    rates = schedule["sequential"].function(BASE, torch.arange(25.0), 25, **knobs)
    torch.testing.assert_close(rates[7:], both(BASE, torch.arange(18.0), 18))


@pytest.mark.parametrize("name", ["cyclic", "one_cycle"])
def test_momentum_of_a_sequence_equals_torch(name: str) -> None:
    # A peak at which the first rate is the optimizer's own: torch's one_cycle overwrites that.
    knobs = {"max_lr": 25 * BASE} if name == "one_cycle" else {"max_lr": 0.9, "step_size_up": 3}
    several = [part("constant"), part(name, **knobs), part("exponential", gamma=0.9)]
    held("sequential", {"schedules": several, "milestones": (4, 15)}, 30)
    held("chained", {"schedules": [part(name, **knobs), part("exponential", gamma=0.9)]}, 30)


def test_part_of_a_sequence_asks_for_its_own_length() -> None:
    several = [part("linear", total_iters=None), part("cosine_annealing")]
    rates = schedule["sequential"].function(
        1.0, torch.arange(21.0), 20, schedules=several, milestones=(8,)
    )
    assert rates[8] == 1.0
    assert rates[14] == pytest.approx(0.5)
    assert rates[20] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("milestones", "said"),
    [((), "2 schedules need 1 milestones"), ((3, 4), "need 1"), ((5, 2, 1), "need 1")],
)
def test_sequence_with_the_wrong_milestones_is_refused(
    milestones: tuple[int, ...], said: str
) -> None:
    entry = schedule["sequential"]
    knobs = {"schedules": [part("linear"), part("linear")], "milestones": milestones}
    assert said in str(entry.facts.check(knobs))
    with pytest.raises(UsageError, match=said):
        entry.function(BASE, 0, 10, **knobs)
    with pytest.raises(UsageError, match="must not fall"):
        entry.function(BASE, 0, 10, schedules=[part("linear")] * 3, milestones=(5, 2))


@pytest.mark.parametrize("name", ["sequential", "chained"])
def test_combination_refuses_nothing_and_what_watches_a_metric(name: str) -> None:
    knobs = {"milestones": ()} if name == "sequential" else {}
    with pytest.raises(UsageError, match="at least one"):
        schedule[name].function(BASE, 0, 10, schedules=[], **knobs)
    with pytest.raises(UsageError, match="goes by a metric"):
        schedule[name].function(BASE, 0, 10, schedules=[part("reduce_on_plateau")], **knobs)


# --- the one that watches a metric ------------------------------------------------------------

METRICS = st.one_of(st.floats(-2, 2), st.sampled_from([1.0, 0.5, math.inf, -math.inf, math.nan]))


@settings(FAST, max_examples=150)
@given(knobs=drawn(schedule["reduce_on_plateau"]), metrics=st.lists(METRICS, max_size=50))
def test_plateau_equals_torch(knobs: dict[str, Any], metrics: list[float]) -> None:
    entry = schedule["reduce_on_plateau"]
    knobs = {**knobs, "patience": knobs["patience"] % 4}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    kernel = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **knobs)
    state = entry.facts.state()
    for metric in metrics:
        kernel.step(metric)
        given_state = dict(state)
        rate, state_after = entry.function(BASE, state, metric, **knobs)
        assert state == given_state
        state = state_after
        assert rate.item() == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert state["bad_epochs"].item() == kernel.num_bad_epochs
        assert state["cooldown_left"].item() == kernel.cooldown_counter


def test_plateau_of_a_group_is_each_trial_alone() -> None:
    entry = schedule["reduce_on_plateau"]
    knobs = {**entry.defaults(), "patience": 1, "cooldown": 1}
    generator = torch.Generator().manual_seed(0)
    metrics = torch.rand(30, 6, generator=generator)
    bases = torch.linspace(0.1, 0.6, 6)
    state = entry.facts.state()
    alone = [entry.facts.state() for _ in range(6)]
    for row in metrics:
        rates, state = entry.function(bases, state, row, **knobs)
        for trial in range(6):
            rate, alone[trial] = entry.function(
                bases[trial].item(), alone[trial], row[trial].item(), **knobs
            )
            assert rates[trial] == rate


def test_plateau_state_survives_a_checkpoint(tmp_path: Any) -> None:
    entry = schedule["reduce_on_plateau"]
    knobs = {**entry.defaults(), "patience": 0}
    _, state = entry.function(BASE, entry.facts.state(), 1.0, **knobs)
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert entry.function(BASE, loaded, 2.0, **knobs) == entry.function(BASE, state, 2.0, **knobs)


# --- the catalogue (what every schedule promises: lossbench/checks/schedules.py) --------------


@named(CLOCKED)
def test_length_of_the_run_is_asked_for_where_it_is_needed(entry: Entry[Any]) -> None:
    knobs = example_of(entry)
    if isinstance(entry.facts.total, str):
        knobs[entry.facts.total] = None
    if not entry.facts.needs_total(knobs):
        assert entry.function(BASE, 3, None, **knobs).isfinite()
        return
    with pytest.raises(UsageError, match="length of the run"):
        entry.function(BASE, 3, None, **knobs)


def test_what_yaml_cannot_say_is_listed_with_the_reason() -> None:
    refused = {entry.name for entry in ALL if entry.facts.python_only}
    assert refused == {"lambda", "multiplicative"}
    assert "Python" in schedule["lambda"].facts.python_only


def test_every_scheduler_of_torch_is_there() -> None:
    module = torch.optim.lr_scheduler
    offered = {
        f"torch.optim.lr_scheduler.{name}"
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, module.LRScheduler)
        and not name.startswith("_")
        and name != "LRScheduler"
    }
    built = {entry.kernel for entry in ALL}
    assert offered | {"torch.optim.swa_utils.SWALR"} == built - {None}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("CosineAnnealingLR", "cosine_annealing"),
        ("torch.optim.lr_scheduler.OneCycleLR", "one_cycle"),
        ("ReduceLROnPlateau", "reduce_on_plateau"),
        ("StepLR", "step"),
        ("SWALR", "swa_lr"),
    ],
)
def test_torch_spellings_find_the_schedule(spelling: str, name: str) -> None:
    assert schedule.find(spelling).name == name


def test_catalogue_of_schedules_needs_no_torch() -> None:
    code = (
        "import sys; from lossbench.registry import schedule; "
        "assert len(schedule.names()) >= 17, schedule.names(); "
        "assert schedule['one_cycle'].doc.knob('pct_start'); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
