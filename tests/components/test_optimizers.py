"""Every update rule against torch.optim, alone and in a group, over the whole registry."""

import io
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args, get_origin

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt

from lossbench.components.vocabulary import Applied, Nested
from lossbench.errors import UnknownNameError, UsageError
from lossbench.registry import Entry, Knob, optimizer

Tensors = list[torch.Tensor]

ALL = [optimizer[name] for name in optimizer.names()]
FORMULAS = [entry for entry in ALL if entry.facts.kernel_only is None]
WRAPPERS = [entry for entry in FORMULAS if entry.facts.wraps]
HELD = [entry for entry in FORMULAS if entry.kernel]
ELEMENTWISE = [entry for entry in FORMULAS if entry.facts.scope == "element"]

EXTRA: dict[str, list[dict[str, Any]]] = {
    # Knobs that only do something together.
    "sgd": [
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    ],
    "momentum": [{"nesterov": True, "weight_decay": 0.1}],
    "rmsprop": [{"centered": True, "momentum": 0.5, "weight_decay": 0.1, "alpha": 0.9}],
    "adam": [{"weight_decay": 0.1, "decoupled_weight_decay": True, "amsgrad": True}],
    "nadam": [{"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "radam": [{"weight_decay": 0.1, "decoupled_weight_decay": True}, {"betas": (0.5, 0.6)}],
    "asgd": [{"t0": 50.0, "lr": 0.05}, {"t0": 3.5, "lambd": 0.01}],
    "rprop": [{"step_sizes": (1e-3, 0.05), "etas": (0.3, 1.5)}],
    "adafactor": [{"eps": (1e-2, 1e-2), "weight_decay": 0.1}, {"lr": 0.5, "d": 1.5}],
    "muon": [{"adjust_lr_fn": "match_rms_adamw"}, {"adjust_lr_fn": "original"}],
}

VALUES: dict[str, Any] = {
    # Values that matter where a generic one would not.
    "betas": (0.8, 0.95),
    "etas": (0.4, 1.3),
    "step_sizes": (1e-3, 0.1),
    "eps": 1e-3,
    "t0": 20.0,
    "rest": "sgd",
}


def named(entries: list[Entry[Any]]) -> Any:
    return pytest.mark.parametrize("entry", entries, ids=lambda entry: entry.name)


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)  # torch.optim keeps its scalars in the default dtype
    yield request.param
    torch.set_default_dtype(before)


@pytest.fixture
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


# --- knobs ------------------------------------------------------------------------------------


def nested(knob: Knob) -> bool:
    return any(isinstance(mark, Nested) for mark in getattr(knob.annotation, "__metadata__", ()))


def varied(knob: Knob) -> Any:
    """A value of the knob, inside its range, that is not its default."""
    default = knob.default
    if knob.name in VALUES and not (knob.name == "eps" and isinstance(default, tuple)):
        return VALUES[knob.name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return tuple(None if value is None else value * 0.9 for value in default)
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        marks = getattr(knob.annotation, "__metadata__", ())
        candidates = (default * 1.5, default * 0.9, 0.1, default + 0.5, default - 0.1)
        return next(value for value in candidates if value != default and inside(value, marks))
    for choice in get_args(knob.annotation):
        if get_origin(choice) is not None and isinstance(get_args(choice)[0], str):
            return get_args(choice)[0]
    return default


def inside(value: float, marks: tuple[Any, ...]) -> bool:
    """Whether the value lies in the declared range."""
    tests = {
        Ge: lambda mark: value >= mark.ge,
        Gt: lambda mark: value > mark.gt,
        Le: lambda mark: value <= mark.le,
        Lt: lambda mark: value < mark.lt,
    }
    return all(tests[type(mark)](mark) for mark in marks if type(mark) in tests)


def combinations(entry: Entry[Any]) -> list[dict[str, Any]]:
    """The defaults, every knob varied alone, all varied together, and the extra ones."""
    each = {knob.name: varied(knob) for knob in entry.knobs}
    several = [{}, *({name: value} for name, value in each.items()), each]
    found = []
    for knobs in [*several, *EXTRA.get(entry.name, [])]:
        whole = {**entry.defaults(), **knobs}
        if entry.facts.check is None or entry.facts.check(whole) is None:
            found.append(whole)
    return found


def applied(name: str, **knobs: Any) -> Applied:
    entry = optimizer[name]
    return Applied(entry.name, entry.function, entry.facts, {**entry.defaults(), **knobs})


# --- a problem, and the two ways to train it --------------------------------------------------

SHAPES = [(4, 3), (4,), (1,)]


def start(dtype: torch.dtype, shapes: list[tuple[int, ...]] = SHAPES, seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def slopes(
    dtype: torch.dtype, entry: Entry[Any], knobs: Mapping[str, Any]
) -> Callable[[torch.Tensor, int, int], torch.Tensor]:
    """The gradient of a bumpy bowl, for the parameter with this index at this step."""
    centres = start(dtype, seed=1)
    widths = [0.2 + tensor.abs() for tensor in start(dtype, seed=2)]
    sign = -1.0 if knobs.get("maximize") else 1.0

    def slope(params: torch.Tensor, index: int, step: int) -> torch.Tensor:
        value = widths[index] * (params - centres[index]) + 0.3 * torch.sin(2 * params)
        if entry.facts.sparse_gradients:
            places = torch.arange(value.numel()).reshape(value.shape)
            value = torch.where((places + step) % 3 == 0, 0.0, value)
        return sign * value

    return slope


def train(
    entry: Entry[Any], knobs: Mapping[str, Any], params: Tensors, grads: Any, steps: int
) -> Iterator[tuple[Tensors, list[dict[str, Any]]]]:
    """Train with the formula; yields (params, states) after each step."""
    states = [entry.facts.init(tensor, **knobs) for tensor in params]
    for step in range(1, steps + 1):
        after = [
            entry.function(tensor, grads(tensor, index, step), state, step, **knobs)
            for index, (tensor, state) in enumerate(zip(params, states, strict=True))
        ]
        params, states = [pair[0] for pair in after], [pair[1] for pair in after]
        yield params, states


def kernels(
    entry: Entry[Any], knobs: Mapping[str, Any], params: Tensors
) -> list[torch.optim.Optimizer]:
    """torch's own optimizers of these parameters, as the facts say that they are built."""
    rest = []
    if entry.facts.matrices_only:
        other = knobs[entry.facts.matrices_only]
        other = optimizer[other] if isinstance(other, str) else optimizer[other.name]
        rest = kernels(other, other.defaults(), [t for t in params if t.ndim != 2])
        params = [tensor for tensor in params if tensor.ndim == 2]
    make = entry.load_kernel()
    assert make is not None, f"this torch has no {entry.kernel}"
    arguments = entry.facts.kernel_knobs(knobs) if entry.facts.kernel_knobs else dict(knobs)
    return [make(params, **arguments), *rest]


class Kernel:
    """torch.optim on the same problem, step by step; `grads` are those of its last step."""

    def __init__(self, entry: Entry[Any], knobs: Mapping[str, Any], params: Tensors) -> None:
        self.entry = entry
        self.leaves = [torch.nn.Parameter(tensor.clone()) for tensor in params]
        self.optimizers = kernels(entry, knobs, self.leaves)
        self.grads: Tensors = []

    def step(self, slope: Any, step: int) -> None:
        self.grads = [slope(leaf.detach(), index, step) for index, leaf in enumerate(self.leaves)]
        for leaf, grad in zip(self.leaves, self.grads, strict=True):
            leaf.grad = grad.to_sparse() if self.entry.facts.sparse_gradients else grad.clone()
        for one in self.optimizers:
            one.step()

    def state(self, index: int) -> dict[str, Any]:
        leaf = self.leaves[index]
        return next((one.state[leaf] for one in self.optimizers if leaf in one.state), {})


def gap(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, relative to the largest element."""
    return float((one - other).detach().abs().max() / other.detach().abs().max().clamp(min=1e-2))


# --- against torch.optim ----------------------------------------------------------------------

# Both are shown the gradients of torch's path. (With gradients of its own, each would show how
# the problem magnifies a last bit: Adam divides by a size that falls towards 0.)
TOLERANCE = {torch.float64: 1e-13, torch.float32: 5e-6}


@named(HELD)
def test_rule_equals_torch_over_200_steps(entry: Entry[Any], dtype: torch.dtype) -> None:
    bound = TOLERANCE[dtype]
    for knobs in combinations(entry):
        slope = slopes(dtype, entry, knobs)
        kernel = Kernel(entry, knobs, start(dtype))
        ours = train(entry, knobs, start(dtype), lambda _, index, __: kernel.grads[index], 200)  # noqa: B023
        for step in range(1, 201):
            kernel.step(slope, step)
            params, states = next(ours)
            for index, leaf in enumerate(kernel.leaves):
                where = f"{knobs}, step {step}, tensor {index}"
                assert params[index].dtype is dtype
                assert gap(params[index], leaf) <= bound, where
                wanted = kernel.state(index)
                for name, value in states[index].items():
                    if torch.is_tensor(wanted.get(name)):
                        assert gap(value, wanted[name].to(dtype)) <= 10 * bound, f"{name}, {where}"


@named(HELD)
def test_rule_trains_as_torch_trains(entry: Entry[Any]) -> None:
    """Each with the gradients of its own path."""
    knobs = entry.defaults()
    slope = slopes(torch.float64, entry, knobs)
    kernel = Kernel(entry, knobs, start(torch.float64))
    for step, (params, _) in enumerate(train(entry, knobs, start(torch.float64), slope, 200), 1):
        kernel.step(slope, step)
        for mine, leaf in zip(params, kernel.leaves, strict=True):
            # Left in float32, torch's own scalars are the coarser ones.
            assert gap(mine, leaf) <= 1e-6


@named(HELD)
def test_every_knob_that_torch_has_is_a_knob(entry: Entry[Any]) -> None:
    import inspect

    implementation = {"params", "foreach", "capturable", "differentiable", "fused", "self"}
    make = entry.load_kernel()
    assert make is not None
    arguments = inspect.signature(make).parameters
    knobs = {knob.name: knob.default for knob in entry.knobs}
    assert set(arguments) - implementation == set(knobs) - {entry.facts.matrices_only}
    if entry.name != "momentum":  # a preset: it differs in nothing but the defaults
        for name in set(arguments) & set(knobs):
            assert knobs[name] == arguments[name].default, name


def test_momentum_is_sgd_with_the_defaults_of_its_source() -> None:
    knobs = optimizer["momentum"].defaults()
    assert (knobs["lr"], knobs["momentum"]) == (0.01, 0.6)
    assert optimizer.find("torch.optim.SGD").name == "sgd"
    slope = slopes(torch.float64, optimizer["sgd"], knobs)
    first = list(train(optimizer["momentum"], knobs, start(torch.float64), slope, 20))[-1][0]
    second = list(train(optimizer["sgd"], knobs, start(torch.float64), slope, 20))[-1][0]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["sgd", "adam", "nadam", "asgd", "rprop", "rmsprop"])
def test_rule_follows_a_rate_that_a_schedule_changes(name: str, double: None) -> None:
    entry = optimizer[name]
    knobs = entry.defaults()
    slope = slopes(torch.float64, entry, knobs)
    leaf = torch.nn.Parameter(start(torch.float64)[0])
    (kernel,) = kernels(entry, knobs, [leaf])
    params, state = leaf.detach().clone(), entry.facts.init(leaf.detach(), **knobs)
    for step in range(1, 60):
        rate = 0.05 * (1 + math.cos(step / 10))
        kernel.param_groups[0]["lr"] = rate
        leaf.grad = slope(leaf.detach(), 0, step)
        kernel.step()
        params, state = entry.function(
            params, slope(params, 0, step), state, step, **{**knobs, "lr": rate}
        )
        torch.testing.assert_close(params, leaf.detach(), rtol=1e-10, atol=1e-10)


def test_momentum_that_a_schedule_switches_on_starts_its_sum_as_torch_does() -> None:
    for name in ("sgd", "rmsprop"):
        entry = optimizer[name]
        leaf = torch.nn.Parameter(start(torch.float64)[0])
        (kernel,) = kernels(entry, entry.defaults(), [leaf])
        params, state = leaf.detach().clone(), entry.facts.init(leaf, **entry.defaults())
        slope = slopes(torch.float64, entry, {})
        for step in range(1, 30):
            cycled = 0.0 if step < 5 or step % 7 == 0 else 0.1 + 0.02 * step
            kernel.param_groups[0]["momentum"] = cycled
            leaf.grad = slope(leaf.detach(), 0, step)
            if name == "rmsprop" and cycled:  # torch makes this buffer only at its first step
                kernel.state[leaf].setdefault("momentum_buffer", torch.zeros_like(leaf))
            kernel.step()
            params, state = entry.function(
                params, slope(params, 0, step), state, step,
                **{**entry.defaults(), "momentum": cycled},
            )  # fmt: skip
            torch.testing.assert_close(params, leaf.detach(), rtol=1e-12, atol=1e-12)


# --- groups of trials -------------------------------------------------------------------------

TRIALS, PARAMETERS = 5, 37


def flat(dtype: torch.dtype, seed: int) -> torch.Tensor:
    return start(dtype, [(TRIALS, PARAMETERS)], seed)[0]


def run_flat(
    entry: Entry[Any],
    knobs: Mapping[str, Any],
    params: torch.Tensor,
    grads: Callable[[torch.Tensor, int], torch.Tensor],
    steps: int = 12,
    clock: Callable[[int], Any] = int,
) -> torch.Tensor:
    state = entry.facts.init(params, **knobs)
    for step in range(1, steps + 1):
        params, state = entry.function(params, grads(params, step), state, clock(step), **knobs)
    if entry.facts.evaluate:
        return torch.cat([params, entry.facts.evaluate(params, state, **knobs)])
    return params


def bowl(params: torch.Tensor, step: int) -> torch.Tensor:
    """A gradient that needs nothing but the parameters, of any layout."""
    value = 0.7 * params - 0.2 * torch.sin(3 * params)
    return torch.where(value.abs() < 0.01, 0.0, value) + (0.01 * step if step % 2 else 0.0)


@named(ELEMENTWISE)
def test_trial_in_a_group_is_bit_for_bit_the_trial_alone(
    entry: Entry[Any], dtype: torch.dtype
) -> None:
    for knobs in combinations(entry):
        together = run_flat(entry, knobs, flat(dtype, 3), bowl)
        width = together.shape[0] // TRIALS
        for trial in range(TRIALS):
            alone = run_flat(entry, knobs, flat(dtype, 3)[trial : trial + 1], bowl)
            rows = [together[trial + TRIALS * part] for part in range(width)]
            assert torch.equal(torch.stack(rows), alone), (entry.name, knobs)


def floats(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, tuple) and any(isinstance(part, float) for part in value)
    )


def per_trial(value: Any, dtype: torch.dtype, spread: torch.Tensor) -> Any:
    """The knob with one value per trial: some trials a little below the given one."""
    if isinstance(value, tuple):
        return tuple(per_trial(part, dtype, spread) for part in value)
    return value * spread if isinstance(value, float) else value


def of_trial(value: Any, trial: int) -> Any:
    if isinstance(value, tuple):
        return tuple(of_trial(part, trial) for part in value)
    return value[trial].item() if torch.is_tensor(value) else value


@named(ELEMENTWISE)
def test_knob_per_trial_equals_each_trial_alone(entry: Entry[Any], dtype: torch.dtype) -> None:
    spread = torch.linspace(0.9, 1.0, TRIALS, dtype=dtype)[:, None]
    bound = {torch.float64: 1e-9, torch.float32: 2e-5}[dtype]
    for knobs in combinations(entry):
        tensors = {name: per_trial(value, dtype, spread) for name, value in knobs.items()}
        if "etas" in tensors:  # no eta+ below 1
            tensors["etas"] = knobs["etas"]
        together = run_flat(entry, tensors, flat(dtype, 3), bowl)
        assert together.dtype is dtype
        width = together.shape[0] // TRIALS
        for trial in range(TRIALS):
            own = {name: of_trial(value, trial) for name, value in tensors.items()}
            alone = run_flat(entry, own, flat(dtype, 3)[trial : trial + 1], bowl)
            rows = torch.stack([together[trial + TRIALS * part] for part in range(width)])
            torch.testing.assert_close(rows, alone, rtol=bound, atol=bound)


@named([entry for entry in FORMULAS if entry.facts.scope == "tensor"])
def test_tensor_scope_under_vmap_equals_each_trial_alone(entry: Entry[Any]) -> None:
    dtype = torch.float64
    params = start(dtype, [(TRIALS, 4, 3)], 3)[0]
    rates = torch.linspace(0.01, 0.05, TRIALS, dtype=dtype)
    knobs = entry.defaults()
    state = torch.vmap(lambda tensor: entry.facts.init(tensor, **knobs))(params)
    grouped = params
    for step in range(1, 4):
        grouped, state = torch.vmap(
            lambda tensor, inner, rate, step=step: entry.function(
                tensor, bowl(tensor, step), inner, step, **{**knobs, "lr": rate}
            )
        )(grouped, state, rates)
    for trial in range(TRIALS):
        own = {**knobs, "lr": rates[trial].item()}
        alone = run_flat(entry, own, params[trial], bowl, steps=3)
        # Muon's iteration rounds every product to bfloat16, three digits.
        bound = 2e-2 if entry.facts.matrices_only else 1e-9
        torch.testing.assert_close(grouped[trial], alone, rtol=bound, atol=bound)


@named(FORMULAS)
def test_number_of_the_step_may_be_a_tensor(entry: Entry[Any], dtype: torch.dtype) -> None:
    bound = {torch.float64: 1e-9, torch.float32: 2e-5}[dtype]
    for knobs in combinations(entry):
        counted = run_flat(entry, knobs, flat(dtype, 3), bowl)
        ticked = run_flat(entry, knobs, flat(dtype, 3), bowl, clock=torch.tensor)
        assert ticked.dtype is dtype
        torch.testing.assert_close(ticked, counted, rtol=bound, atol=bound)


@named([entry for entry in ELEMENTWISE if any(k.name == "weight_decay" for k in entry.knobs)])
def test_weight_decay_may_be_a_mask(entry: Entry[Any]) -> None:
    mask = (torch.arange(PARAMETERS) % 2).double()
    base = {**entry.defaults(), "lr": 0.05}
    params = flat(torch.float64, 3)
    masked = run_flat(entry, {**base, "weight_decay": 0.1 * mask}, params, bowl)
    decayed = run_flat(entry, {**base, "weight_decay": 0.1}, params, bowl)
    free = run_flat(entry, {**base, "weight_decay": 0.0}, params, bowl)
    torch.testing.assert_close(masked[:, 1::2], decayed[:, 1::2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(masked[:, 0::2], free[:, 0::2], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(decayed, free)


# --- the contract -----------------------------------------------------------------------------


def copied(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: copied(value) for name, value in state.items()}
    return state.clone() if torch.is_tensor(state) else state


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other)


@named(FORMULAS)
def test_rule_changes_nothing_that_it_is_given(entry: Entry[Any]) -> None:
    for knobs in combinations(entry):
        params = start(torch.float32)[0]
        state = entry.facts.init(params, **knobs)
        before = params.clone()
        assert torch.equal(params, before)
        for step in range(1, 4):
            grads = bowl(params, step)
            given = params.clone(), grads.clone(), copied(state)
            after, new_state = entry.function(params, grads, state, step, **knobs)
            assert torch.equal(params, given[0])
            assert torch.equal(grads, given[1])
            assert same(state, given[2])
            assert after.shape == params.shape
            assert new_state.keys() == state.keys()
            params, state = after, new_state


@named(FORMULAS)
def test_training_goes_on_exactly_from_a_saved_state(entry: Entry[Any]) -> None:
    for knobs in combinations(entry):
        slope = slopes(torch.float32, entry, knobs)
        path = list(train(entry, knobs, start(torch.float32), slope, 12))
        file = io.BytesIO()
        torch.save(path[5], file)
        file.seek(0)
        params, states = torch.load(file, weights_only=True)
        for step in range(7, 13):
            pairs = [
                entry.function(tensor, slope(tensor, index, step), states[index], step, **knobs)
                for index, tensor in enumerate(params)
            ]
            params, states = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        assert all(same(one, other) for one, other in zip(params, path[-1][0], strict=True))
        assert all(same(one, other) for one, other in zip(states, path[-1][1], strict=True))


@named(FORMULAS)
def test_parameters_without_dimensions_keep_their_shape(entry: Entry[Any]) -> None:
    params = torch.tensor(0.5)
    state = entry.facts.init(params, **entry.defaults())
    for step in range(1, 3):
        params, state = entry.function(params, torch.tensor(0.2), state, step, **entry.defaults())
        assert params.shape == ()


@named(ALL)
def test_every_optimizer_goes_down_a_quadratic(entry: Entry[Any]) -> None:
    widths = torch.tensor([[0.5, 1.0, 2.0], [1.5, 0.8, 3.0]])
    centre = torch.tensor([[1.0, -1.0, 0.5], [0.3, 2.0, -0.7]])

    def loss(params: torch.Tensor) -> float:
        return float((widths * (params - centre).square()).sum() / 2)

    knobs = entry.defaults()
    # Decay would pull the bottom away from the centre.
    knobs = {name: 0.0 if name == "weight_decay" else value for name, value in knobs.items()}
    if entry.facts.kernel_only:
        assert bottom_by_kernel(entry, knobs, widths, centre) < 1e-4
        return
    base = knobs["lr"] if knobs["lr"] is not None else 1e-3
    reached = []
    for factor in (1, 10, 100):
        rate = {**knobs, "lr": base * factor}
        params = torch.zeros(2, 3)
        state = entry.facts.init(params, **rate)
        for step in range(1, 601):
            params, state = entry.function(params, widths * (params - centre), state, step, **rate)
        reached.append(loss(params))
    # Muon steps by its rate in every direction and cannot come nearer than that.
    assert min(reached) < 1e-2 * loss(torch.zeros(2, 3)), reached


def bottom_by_kernel(
    entry: Entry[Any], knobs: dict[str, Any], widths: torch.Tensor, centre: torch.Tensor
) -> float:
    """The loss after three steps of an optimizer that asks for the loss itself."""
    assert entry.facts.closure
    leaf = torch.nn.Parameter(torch.zeros(2, 3))
    (kernel,) = kernels(entry, knobs, [leaf])

    def closure() -> float:
        kernel.zero_grad()
        value = (widths * (leaf - centre).square()).sum() / 2
        value.backward()
        return value.item()

    for _ in range(3):
        kernel.step(closure)
    return float((widths * (leaf.detach() - centre).square()).sum() / 2)


@named(ALL)
def test_docstring_says_everything(entry: Entry[Any]) -> None:
    assert entry.doc.summary.endswith(".")
    for section in ("Formula", "Shapes", "Reference"):
        assert entry.doc.sections.get(section), section
    for knob in entry.knobs:
        assert knob.doc, knob.name
        assert not knob.required, knob.name
    assert entry.knobs[0].name == "lr"


def test_every_row_of_torch_optim_is_there() -> None:
    built = {entry.kernel for entry in ALL}
    offered = {
        f"torch.optim.{name}"
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
    assert offered - {"torch.optim.Optimizer"} == built - {None}


# --- wrappers ---------------------------------------------------------------------------------


def averaged_by_torch(
    base: str, knobs: dict[str, Any], averager: Any, steps: int, counted: Callable[[int], bool]
) -> tuple[Tensors, Tensors]:
    """(weights, averaged weights) of torch.optim.swa_utils.AveragedModel around torch.optim."""
    model = torch.nn.Module()
    for index, tensor in enumerate(start(torch.float64)):
        model.register_parameter(f"p{index}", torch.nn.Parameter(tensor))
    entry = optimizer[base]
    slope = slopes(torch.float64, entry, knobs)
    (kernel,) = kernels(entry, {**entry.defaults(), **knobs}, list(model.parameters()))
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=averager)
    for step in range(1, steps + 1):
        for index, leaf in enumerate(model.parameters()):
            leaf.grad = slope(leaf.detach(), index, step)
        kernel.step()
        if counted(step):
            average.update_parameters(model)
    return (
        [leaf.detach() for leaf in model.parameters()],
        [leaf.detach() for leaf in average.module.parameters()],
    )


@pytest.mark.parametrize(("start_at", "every"), [(0, 1), (20, 1), (13, 5), (10, 7)])
def test_swa_equals_torch(start_at: int, every: int, double: None) -> None:
    from torch.optim.swa_utils import get_swa_multi_avg_fn

    def counted(step: int) -> bool:
        return step > start_at and (step - start_at) % every == 0

    weights, averages = averaged_by_torch(
        "sgd", {"lr": 0.05, "momentum": 0.5}, get_swa_multi_avg_fn(), 60, counted
    )
    entry = optimizer["swa"]
    base = applied("sgd", lr=0.05, momentum=0.5)
    knobs = {"lr": None, "base": base, "start": start_at, "every": every}
    slope = slopes(torch.float64, entry, knobs)
    params, states = list(train(entry, knobs, start(torch.float64), slope, 60))[-1]
    for index in range(len(params)):
        torch.testing.assert_close(params[index], weights[index], rtol=1e-12, atol=1e-12)
        seen = entry.facts.evaluate(params[index], states[index], **knobs)
        torch.testing.assert_close(seen, averages[index], rtol=1e-12, atol=1e-12)


def test_swa_evaluates_the_current_weights_before_it_averages() -> None:
    entry = optimizer["swa"]
    knobs = {**entry.defaults(), "start": 50}
    slope = slopes(torch.float64, entry, knobs)
    for params, states in train(entry, knobs, start(torch.float64), slope, 50):
        assert torch.equal(entry.facts.evaluate(params[0], states[0], **knobs), params[0])


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999, 1.0])
def test_ema_equals_torch(decay: float, double: None) -> None:
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    weights, averages = averaged_by_torch(
        "adam", {"lr": 0.05}, get_ema_multi_avg_fn(decay), 60, lambda _: True
    )
    entry = optimizer["ema"]
    knobs = {"lr": 0.05, "base": "adam", "decay": decay}
    slope = slopes(torch.float64, entry, knobs)
    params, states = list(train(entry, knobs, start(torch.float64), slope, 60))[-1]
    for index in range(len(params)):
        torch.testing.assert_close(params[index], weights[index], rtol=1e-12, atol=1e-12)
        seen = entry.facts.evaluate(params[index], states[index], **knobs)
        torch.testing.assert_close(seen, averages[index], rtol=1e-12, atol=1e-12)


@named(WRAPPERS)
def test_wrapper_takes_on_what_its_base_is(entry: Entry[Any]) -> None:
    facts = entry.facts
    assert facts.resolved({"base": applied("adam")}).scope == "element"
    assert facts.resolved({"base": applied("adamw")}).decoupled
    assert facts.resolved({"base": applied("muon")}).scope == "tensor"
    twice = {"base": applied("ema", base=applied("adafactor"))}
    assert facts.resolved(twice).scope == "tensor"
    assert facts.resolved({"base": applied("lbfgs")}).kernel_only
    with pytest.raises(UsageError, match="lbfgs cannot stand inside another optimizer"):
        facts.init(torch.zeros(3), **{**entry.defaults(), "base": applied("lbfgs")})
    with pytest.raises(UnknownNameError, match="adan"):
        facts.init(torch.zeros(3), **{**entry.defaults(), "base": "adan"})


# --- bad use, and cost ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "momentum"])
@pytest.mark.parametrize(
    ("knobs", "said"),
    [({"momentum": 0.0}, "momentum above 0"), ({"momentum": 0.5, "dampening": 0.1}, "dampening")],
)
def test_nesterov_without_its_momentum_is_refused(
    name: str, knobs: dict[str, Any], said: str
) -> None:
    entry = optimizer[name]
    whole = {**entry.defaults(), "nesterov": True, **knobs}
    assert entry.facts.check is not None
    assert said in str(entry.facts.check(whole))
    with pytest.raises(UsageError, match=said):
        entry.facts.init(torch.zeros(2), **whole)
    with pytest.raises(UsageError, match=said):
        kernels(entry, whole, [torch.zeros(2)])


def test_lbfgs_says_why_it_has_no_formula() -> None:
    with pytest.raises(UsageError, match="evaluates the loss several times"):
        optimizer["lbfgs"].function(torch.zeros(1), torch.zeros(1), {}, 1)


def test_catalogue_of_optimizers_needs_no_torch() -> None:
    code = (
        "import sys; from lossbench.registry import optimizer; "
        "assert len(optimizer.names()) >= 18, optimizer.names(); "
        "assert optimizer['adam'].doc.knob('eps'); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
