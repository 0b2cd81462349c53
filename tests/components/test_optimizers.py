"""The optimizers of torch.optim and the wrappers, beyond the contracts that all keep."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch

from lossbench.checks.optimizer_kernels import follow_torch
from lossbench.checks.optimizer_runs import filled
from lossbench.components.vocabulary import Applied
from lossbench.errors import UnknownNameError, UsageError
from lossbench.registry import Entry, optimizer

Tensors = list[torch.Tensor]

ALL = [optimizer[name] for name in optimizer.names()]
FORMULAS = [entry for entry in ALL if entry.facts.kernel_only is None]
WRAPPERS = [entry for entry in FORMULAS if entry.facts.wraps]
HELD = [entry for entry in FORMULAS if entry.kernel]

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


@pytest.mark.parametrize(
    ("name", "knobs"), [(name, knobs) for name, many in EXTRA.items() for knobs in many]
)
def test_knobs_that_only_do_something_together_are_torchs(
    name: str, knobs: dict[str, Any], dtype: torch.dtype
) -> None:
    entry = optimizer[name]
    for seed, shape in enumerate(SHAPES):
        follow_torch(entry, filled(entry, **knobs), shape, dtype, seed)


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
    own = "tensor" if entry.name == "cautious" else "element"  # it takes a mean over the tensor
    assert facts.resolved({"base": applied("adam")}).scope == own
    assert facts.resolved({"base": applied("adamw")}).decoupled
    assert facts.resolved({"base": applied("muon")}).scope == "tensor"
    twice = {"base": applied("ema", base=applied("adafactor"))}
    assert facts.resolved(twice).scope == "tensor"
    assert facts.resolved({"base": applied("lbfgs")}).kernel_only
    with pytest.raises(UsageError, match="lbfgs cannot stand inside another optimizer"):
        facts.init(torch.zeros(3), **{**entry.defaults(), "base": applied("lbfgs")})
    with pytest.raises(UnknownNameError, match="adann"):
        facts.init(torch.zeros(3), **{**entry.defaults(), "base": "adann"})


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
