"""Problems with known answers: the functions, their minima, and how they train."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from lossbench.components.datasets._rotations import random_rotation
from lossbench.components.datasets._surfaces import SURFACES
from lossbench.components.modules import intervals, number_places
from lossbench.components.noise import normal
from lossbench.config.read import load
from lossbench.config.spec import RunSpec
from lossbench.errors import ConfigError, DataError, LossbenchError, UsageError
from lossbench.registry import dataset, loss, metric, network
from lossbench.session import actions as session
from lossbench.training.build import build
from lossbench.training.data import load as prepare
from lossbench.training.events import Evaluated, SafePoint, StepsDone
from lossbench.training.loop import train

PROBLEMS = [name for name in dataset if dataset[name].facts.network == "point"]
CONFIGS = Path(__file__).parent.parent.parent / "configs"


def make(name: str, seed: int = 0, **knobs: Any) -> Any:
    return dataset[name].function(seed, **{**dataset[name].defaults(), **knobs})


def module(data: Any, seed: int = 0) -> torch.nn.Module:
    torch.default_generator.manual_seed(seed)
    made = data.model()
    number_places(made)
    return made.eval()


def spec(problem: dict[str, Any] | str, *, metrics: Any = (), **parts: Any) -> RunSpec:
    training = {"epochs": 5, "device": "cpu", **parts.pop("train", {})}
    base = {"dataset": problem, "loss": "value", "optimizer": {"name": "sgd", "lr": 1e-3}}
    return load(mapping={**base, "train": training, "metrics": list(metrics), **parts}).spec


def with_seed(one: RunSpec, seed: int) -> RunSpec:
    return dataclasses.replace(one, train=dataclasses.replace(one.train, seed=seed))


def losses(*specs: RunSpec) -> np.ndarray:
    events = train(build(specs))
    return np.concatenate([e.losses for e in events if isinstance(e, StepsDone)], axis=1)


def evaluations(*specs: RunSpec, split: str = "validation") -> list[Evaluated]:
    events = train(build(specs))
    return [e for e in events if isinstance(e, Evaluated) and e.split == split]


# --- the functions ----------------------------------------------------------------------------

# A second derivation: written for NumPy from the published formulas.
NUMPY = {
    "rosenbrock": lambda x, y: 100 * (y - x**2) ** 2 + (x - 1) ** 2,
    "beale": lambda x, y: sum(
        (c - x * (1 - y**k)) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), start=1)
    ),
    "himmelblau": lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
    "branin": lambda x, y: (
        (y - 5.1 / (2 * np.pi) ** 2 * x**2 + 5 / np.pi * x - 6) ** 2
        + 10 * (1 - 0.125 / np.pi) * np.cos(x)
        + 10
    ),
    "rastrigin": lambda x, y: 10 * 2 + sum(v**2 - 10 * np.cos(2 * np.pi * v) for v in (x, y)),
    "ackley": lambda x, y: (
        -20 * np.exp(-0.2 * np.sqrt(np.mean([x**2, y**2])))
        - np.exp(np.mean(np.cos(2 * np.pi * np.array([x, y]))))
        + np.e
        + 20
    ),
    "booth": lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2,
    "saddle": lambda x, y: 0.5 * x**2 + 0.25 * y**4 - 0.5 * y**2,
    "ravine": lambda x, y: 0.5 * (x**2 + 100 * y**2),
}

# Values that stand in textbooks or follow on paper.
PUBLISHED = [
    ("rosenbrock", (-1.2, 1.0), 24.2),
    ("rosenbrock", (0.0, 0.0), 1.0),
    ("beale", (1.0, 1.0), 14.203125),
    ("beale", (0.0, 0.0), 1.5**2 + 2.25**2 + 2.625**2),
    ("himmelblau", (-0.270845, -0.923039), 181.617),
    ("himmelblau", (0.0, 0.0), 170.0),
    ("branin", (0.0, 0.0), 36 + 20 - 10 / (8 * math.pi)),
    ("branin", (math.pi, 2.275), 0.397887),
    ("rastrigin", (1.0, 1.0), 2.0),
    ("rastrigin", (0.5, 0.0), 20.25),
    ("ackley", (1.0, 1.0), 20 - 20 * math.exp(-0.2)),
    ("booth", (0.0, 0.0), 74.0),
    ("saddle", (0.0, 0.0), 0.0),
    ("saddle", (1.0, 0.0), 0.5),
    ("ravine", (10.0, 1.0), 100.0),
]


def at(name: str, point: Any) -> torch.Tensor:
    x, y = torch.tensor(point, dtype=torch.float64).unbind(-1)
    return SURFACES[name].formula(x, y)


def test_every_surface_can_be_named_and_has_a_second_derivation():
    knob = dataset["surface"].knob("function")
    assert set(SURFACES) == set(NUMPY) == set(knob.annotation.__args__)
    for name in SURFACES:
        assert name in dataset["surface"].doc.sections["Formula"]


@pytest.mark.parametrize(("name", "point", "value"), PUBLISHED)
def test_published_values(name, point, value):
    assert float(at(name, point)) == pytest.approx(value, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("name", SURFACES)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(where=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_surface_equals_its_second_derivation(name, where):
    box = SURFACES[name].box
    x, y = (low + share * (high - low) for share, (low, high) in zip(where, box, strict=True))
    expected = float(NUMPY[name](x, y))
    assert float(at(name, (x, y))) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("name", SURFACES)
def test_the_minima_are_where_and_as_low_as_is_said(name):
    surface = SURFACES[name]
    for minimum in surface.minima:
        point = torch.tensor(minimum, dtype=torch.float64, requires_grad=True)
        value = surface.formula(point[0], point[1])
        assert value.item() == pytest.approx(surface.lowest, abs=1e-9)
        (gradient,) = torch.autograd.grad(value, point)
        assert gradient.abs().max() < 1e-6
        for (low, high), coordinate in zip(surface.box, minimum, strict=True):
            assert low <= coordinate <= high


@pytest.mark.parametrize("name", SURFACES)
def test_nothing_in_the_box_is_lower_and_no_minimum_is_missing(name):
    surface = SURFACES[name]
    axes = [torch.linspace(low, high, 601, dtype=torch.float64) for low, high in surface.box]
    x, y = torch.meshgrid(*axes, indexing="ij")
    values = surface.formula(x, y)
    assert float(values.min()) >= surface.lowest - 1e-9
    # Low places that are not next to a known minimum would be minima that nobody declared.
    minima = torch.tensor(surface.minima, dtype=torch.float64)
    away = torch.cdist(torch.stack([x, y], dim=-1).reshape(-1, 2), minima).amin(dim=1)
    rest = values.reshape(-1)[away > 0.7]
    assert float(rest.min()) > surface.lowest + 0.005


def test_the_tip_of_ackley_has_a_gradient():
    point = torch.zeros(2, requires_grad=True)
    value = SURFACES["ackley"].formula(point[0], point[1])
    assert torch.autograd.grad(value, point)[0].tolist() == [0.0, 0.0]
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)


# --- what a problem brings --------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_keeps_the_contract(name):
    data = make(name)
    size = data.target.size
    assert data.target.kind == "objective"
    assert dataset[name].facts.validation is True
    assert data.validation is not None
    made = module(data)
    for part in (data.train, data.validation, data.test):
        if part is None:
            continue
        raw = made(torch.from_numpy(part.inputs))
        assert raw.shape == (len(part), 1 + size)
        assert torch.equal(raw[:, 1:], made.point.expand(len(part), size))
        assert part.targets.shape[2] == size
    assert [key for key, _ in made.named_parameters()] == ["point"]
    assert not list(made.buffers())
    assert set(data.floor) == {"loss"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_value_at_the_minimum_is_the_floor(name):
    """On the validation data, on average; noisy samples come close to their expectation."""
    data = make(name)
    made = module(data)
    with torch.no_grad():
        made.point.copy_(torch.from_numpy(data.train.targets[0, 0]))
        value = float(made(torch.from_numpy(data.validation.inputs))[:, 0].mean())
    tolerance = 0.03 if name == "quadratic_deep" else 1e-6
    assert value == pytest.approx(data.floor["loss"], rel=tolerance, abs=1e-6)


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_are_those_of_finite_differences(name):
    data = make(name)
    made = module(data).double()
    inputs = torch.from_numpy(data.train.inputs).double()

    def mean(point: torch.Tensor) -> torch.Tensor:
        return functional_call(made, {"point": point}, (inputs,))[:, 0].mean()

    point = made.point.detach()[:].clone().requires_grad_()
    assert torch.autograd.gradcheck(mean, (point,), eps=1e-6, atol=1e-4)


def test_starts_come_from_the_trial_s_seed_or_are_given():
    free, given = make("surface"), make("surface", start=(-1.2, 1.0))
    assert torch.equal(module(free, 3).point, module(free, 3).point)
    assert not torch.equal(module(free, 3).point, module(free, 4).point)
    assert module(given, 3).point.tolist() == pytest.approx([-1.2, 1.0])
    assert module(make("quadratic", dimension=3, start=2.0)).point.tolist() == [2.0] * 3
    assert module(make("quadratic", start=(1.0, -1.0))).point.tolist() == [1.0, -1.0]
    assert module(make("online_linear", start=0.25)).point.tolist() == [0.25]


@pytest.mark.parametrize("name", SURFACES)
def test_drawn_starts_lie_in_the_box(name):
    data = make("surface", function=name)
    points = torch.stack([module(data, seed).point.detach() for seed in range(200)])
    for axis, (low, high) in enumerate(SURFACES[name].box):
        assert low <= points[:, axis].min() < points[:, axis].max() <= high
        assert points[:, axis].std() == pytest.approx((high - low) / math.sqrt(12), rel=0.15)


# --- quadratics -------------------------------------------------------------------------------


def hessian(made: torch.nn.Module, size: int) -> np.ndarray:
    inputs = torch.zeros(1, size)
    found = torch.autograd.functional.hessian(
        lambda point: functional_call(made, {"point": point}, (inputs,))[0, 0], torch.zeros(size)
    )
    return found.double().numpy()


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize(("size", "condition", "largest"), [(2, 100.0, 1.0), (6, 1e3, 20.0)])
def test_a_quadratic_has_the_eigenvalues_asked_for(size, condition, largest, rotated):
    data = make("quadratic", dimension=size, condition=condition, largest=largest, rotated=rotated)
    matrix = hessian(module(data), size)
    found = np.linalg.eigvalsh(matrix)
    assert found.max() == pytest.approx(largest, rel=1e-5)
    assert found.max() / found.min() == pytest.approx(condition, rel=1e-2)
    ratios = found[1:] / found[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-2)
    off_diagonal = np.abs(matrix - np.diag(np.diag(matrix))).max()
    assert (off_diagonal > 1e-3 * largest) == rotated


def test_a_quadratic_in_one_dimension_has_its_largest_eigenvalue():
    assert hessian(module(make("quadratic", dimension=1, largest=3.0)), 1).item() == 3.0


def test_the_rotation_comes_from_the_data_s_seed():
    first, again, other = (
        hessian(module(make("quadratic", seed, rotated=True)), 2) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 30])
def test_a_rotation_is_one(size):
    for seed in range(5):
        rotation = random_rotation(size, np.random.RandomState(seed))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(size), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_rotations_are_uniform():
    """By Haar measure E[R_ij] = 0 and E[R_ij^2] = 1 / n; of E[trace^2], the value is 1."""
    random = np.random.RandomState(0)
    drawn = np.array([random_rotation(4, random) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose((drawn**2).mean(axis=0), 1 / 4, atol=0.02)
    assert (np.trace(drawn, axis1=1, axis2=2) ** 2).mean() == pytest.approx(1.0, abs=0.1)


# --- quadratic_deep ---------------------------------------------------------------------------


def reflections(size: int, random: np.random.RandomState) -> np.ndarray:
    """Build the rotation once more: by its columns of full-size Householder matrices."""
    angle = 2 * np.pi * random.uniform()
    whole = np.eye(size)
    whole[-2:, -2:] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    for count in range(3, size + 1):
        v = random.normal(size=(count, 1))
        u = np.zeros((size, 1))
        u[size - count :] = -v / np.sqrt((v**2).sum())
        u[size - count] += 1
        whole = (np.eye(size) - 2 * u @ u.T / (u.T @ u)) @ whole
    return -whole


@pytest.fixture(scope="module")
def deep() -> Any:
    return make("quadratic_deep", 7)


def test_quadratic_deep_has_the_eigenvalues_of_deepobs(deep):
    found = np.linalg.eigvalsh(hessian(module(deep), 100))
    random = np.random.RandomState(42)
    drawn = np.sort(np.concatenate([random.uniform(0, 1, 90), random.uniform(30, 60, 10)]))
    np.testing.assert_allclose(found, drawn, atol=2e-5)
    assert ((found > -1e-5) & (found < 1)).sum() == 90
    assert ((found > 30) & (found < 60)).sum() == 10


def test_quadratic_deep_has_the_rotation_of_deepobs(deep):
    random = np.random.RandomState(42)
    eigenvalues = np.concatenate([random.uniform(0, 1, 90), random.uniform(30, 60, 10)])
    rotation = reflections(100, random)
    expected = rotation.T @ np.diag(eigenvalues) @ rotation
    found = hessian(module(deep), 100)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    # What DeepOBS's own construction gives, in double precision.
    assert found[0, 0] == pytest.approx(6.221429443, abs=1e-5)
    assert found[3, 7] == pytest.approx(0.397498233, abs=1e-5)
    assert found[99, 99] == pytest.approx(6.305663773, abs=1e-5)
    assert found.sum() == pytest.approx(535.058685908, abs=1e-2)


def test_quadratic_deep_has_the_samples_of_deepobs(deep):
    for part, seed in ((deep.train, 42), (deep.validation, 44), (deep.test, 43)):
        expected = np.random.RandomState(seed).normal(0.0, 0.6, (1000, 100))
        np.testing.assert_array_equal(part.inputs, np.float32(expected))


def test_quadratic_deep_starts_at_ones_whatever_the_seeds(deep):
    assert torch.equal(module(deep, 5).point.detach(), torch.ones(100))
    for part, value in ((deep.train, 353.70644520533), (deep.test, 353.92597403873)):
        found = module(deep)(torch.from_numpy(part.inputs))[:, 0].detach().mean()
        assert found.item() == pytest.approx(value, rel=1e-5)
    assert make("quadratic_deep", 8).train.inputs.tobytes() == deep.train.inputs.tobytes()


def test_quadratic_deep_is_flat_at_the_mean_of_its_samples(deep):
    made, inputs = module(deep).double(), torch.from_numpy(deep.train.inputs).double()
    with torch.no_grad():
        made.point.copy_(inputs.mean(dim=0))
    value = made(inputs)[:, 0].mean()
    assert torch.autograd.grad(value, made.point)[0].abs().max() < 1e-9
    x = deep.train.inputs.astype(np.float64)
    away = x - x.mean(axis=0)
    floor = ((away @ hessian(module(deep), 100)) * away).sum(axis=1).mean() / 2
    assert value.item() == pytest.approx(floor, rel=1e-5)
    assert value.item() < deep.floor["loss"]  # fitted to the samples, below what new ones allow


# --- online_linear ----------------------------------------------------------------------------


def test_online_linear_gives_its_slopes_in_order():
    data = make("online_linear", large=5.0, period=4, scale=2.0)
    assert data.train.inputs[:, 0].tolist() == [10.0, -2.0, -2.0, -2.0]
    assert data.ordered
    assert data.validation.inputs.item() == data.train.inputs.mean() == 1.0
    assert data.train.targets.reshape(-1).tolist() == [-1.0] * 4
    assert data.floor["loss"] == -1.0
    assert make("online_linear", large=2.0, period=4).train.targets[0].item() == 1.0


def test_the_defaults_are_the_published_experiment():
    data = make("online_linear")
    assert data.train.inputs[0].item() == 1010
    assert set(data.train.inputs[1:, 0].tolist()) == {-10.0}
    assert len(data.train) == 101


@pytest.mark.parametrize("step", ["fused", "plain"])
@pytest.mark.parametrize("impl", ["auto", "formula"])
def test_the_point_stays_within_its_bounds_and_the_samples_in_order(step, impl):
    problem = {"name": "online_linear", "large": 4.0, "period": 3, "scale": 1.0, "start": -0.5}
    one = spec(
        problem,
        optimizer={"name": "sgd", "lr": 0.3, "impl": impl},
        train={"epochs": 2, "step": step},
    )
    assert one.train.batch_size == 1
    x, expected = -0.5, []
    for slope in (4.0, -1.0, -1.0) * 2:
        expected.append(slope * x)
        x = min(1.0, max(-1.0, x - 0.3 * slope))
    np.testing.assert_allclose(losses(one)[0], expected, rtol=1e-6, atol=1e-6)
    assert x == pytest.approx(-0.4)


def test_clipping_acts_after_every_update_from_above_too():
    problem = {"name": "online_linear", "large": 1.0, "period": 4, "start": 0.9, "scale": 1.0}
    one = spec(problem, optimizer={"name": "sgd", "lr": 0.5}, train={"epochs": 3})
    rows = evaluations(spec(problem, optimizer={"name": "sgd", "lr": 0.5}, metrics=["distance"]))
    assert one.dataset.name == "online_linear"
    assert [row.values["distance"][0] for row in rows] == [0.0] * 5


def test_only_declared_modules_are_kept_within():
    assert intervals(module(make("surface"))) == {}
    assert intervals(module(make("online_linear"))) == {"point": (-1.0, 1.0)}


# --- noise ------------------------------------------------------------------------------------


def test_normal_noise_is_normal_and_repeats():
    key = torch.tensor([3, 9])
    drawn = normal(key, 1, 200_000).double()
    assert torch.equal(normal(key, 1, 200_000).double(), drawn)
    assert drawn.isfinite().all()
    moments = [float((drawn**power).mean()) for power in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.05)
    beyond = [float((drawn.abs() > limit).double().mean()) for limit in (1, 2, 3)]
    assert beyond == pytest.approx([0.3173, 0.0455, 0.0027], abs=0.003)
    other = normal(torch.tensor([3, 10]), 1, 200_000).double()
    assert abs(float((drawn * other).mean())) < 0.01
    neighbours = float((drawn[1:] * drawn[:-1]).mean())
    assert abs(neighbours) < 0.01


@pytest.mark.parametrize("problem", ["surface", "quadratic"])
def test_noise_disturbs_the_gradient_and_not_the_value(problem):
    quiet, noisy = make(problem, start=(0.5, 0.25)), make(problem, start=(0.5, 0.25), noise=2.0)
    inputs = torch.from_numpy(quiet.train.inputs)
    plain, disturbed = module(quiet).train(), module(noisy).train()

    def look(made: torch.nn.Module) -> tuple[float, torch.Tensor]:
        value = made(inputs)[0, 0]
        return float(value), torch.autograd.grad(value, made.point)[0]

    value, gradient = look(plain)
    errors = []
    for step in range(500):
        disturbed.noise_key.copy_(torch.tensor([5, step]))
        shown, found = look(disturbed)
        assert shown == value
        errors.append(found - gradient)
    drawn = torch.stack(errors)
    np.testing.assert_allclose(drawn.mean(dim=0), 0, atol=0.3)
    np.testing.assert_allclose(drawn.std(dim=0), 2.0, atol=0.3)
    disturbed.eval()
    assert torch.equal(look(disturbed)[1], gradient)


# --- training ---------------------------------------------------------------------------------

CASES = {
    **{name: {"name": "surface", "function": name} for name in SURFACES},
    "noisy rosenbrock": {"name": "surface", "function": "rosenbrock", "noise": 1.0},
    "quadratic": {"name": "quadratic", "dimension": 5},
    "rotated quadratic": {"name": "quadratic", "dimension": 5, "rotated": True, "noise": 0.1},
    "quadratic_deep": {"name": "quadratic_deep"},
    "online_linear": {"name": "online_linear", "start": "seed"},
}


def case(name: str, optimizer: str = "adam", **training: Any) -> RunSpec:
    block = {"name": optimizer, "lr": 1e-4 if optimizer == "sgd" else 0.01}
    epochs = 1 if name == "online_linear" else 3 if name == "quadratic_deep" else 60
    return spec(CASES[name], optimizer=block, train={"epochs": epochs, **training})


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
@pytest.mark.parametrize("name", CASES)
def test_fused_equals_plain(name, optimizer):
    fused, plain = (case(name, optimizer, step=step) for step in ("fused", "plain"))
    job = build([fused])
    assert (job.plan.step, job.step.note) == ("fused", None)
    np.testing.assert_allclose(losses(fused)[0, :40], losses(plain)[0, :40], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_group_equals_each_of_its_trials_alone(name):
    trials = [with_seed(case(name), seed) for seed in range(5)]
    together = losses(*trials)
    alone = losses(trials[3])[0]
    if name in ("quadratic_deep", "rotated quadratic"):  # a matrix product sums in another order
        np.testing.assert_allclose(alone, together[3], rtol=1e-5)
    else:
        np.testing.assert_array_equal(alone, together[3])
    assert len(set(together[:, 0].tolist())) == 5  # each from its own start, or on its own batch


@pytest.mark.parametrize("name", ["noisy rosenbrock", "online_linear", "quadratic_deep"])
@pytest.mark.parametrize("step", ["fused", "plain"])
def test_a_resumed_run_ends_where_the_whole_one_does(name, step):
    one = case(name, step=step, epochs=6)
    whole = losses(one)
    state, count = None, 0
    for event in train(build([one])):
        if isinstance(event, StepsDone):
            count += event.losses.shape[1]
        if isinstance(event, SafePoint) and event.epoch == 3:
            state = event.state()
            break
    assert state is not None
    rest = [e.losses for e in train(build([one]), state) if isinstance(e, StepsDone)]
    np.testing.assert_array_equal(np.concatenate(rest, axis=1), whole[:, count:])


def test_an_epoch_is_one_step_and_its_evaluation_the_path():
    metrics = ["distance", "first_coordinate", "second_coordinate"]
    one = spec(
        {"name": "surface", "function": "booth", "start": [0.0, 0.0]},
        optimizer={"name": "sgd", "lr": 0.05},
        metrics=metrics,
    )
    assert one.train.batch_size == "full"
    seen = evaluations(one)
    point = np.zeros(2)
    for row in seen:
        x, y = point
        gradient = np.array([10 * x + 8 * y - 34, 8 * x + 10 * y - 38])
        point = point - 0.05 * gradient
        found = [row.values[name][0] for name in metrics]
        expected = [np.linalg.norm(point - [1, 3]), *point]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert [row.step for row in seen] == [1, 2, 3, 4, 5]


def test_lbfgs_solves_rosenbrock():
    start = {"name": "surface", "function": "rosenbrock", "start": [-1.2, 1.0]}
    optimizer = {"name": "lbfgs", "lr": 1.0, "line_search_fn": "strong_wolfe"}
    *_, last = evaluations(spec(start, optimizer=optimizer, metrics=["distance"]))
    assert last.values["distance"][0] < 1e-3


def test_a_saddle_holds_who_starts_on_its_ridge():
    def end(y: float) -> float:
        start = {"name": "surface", "function": "saddle", "start": [1.0, y]}
        one = spec(
            start,
            optimizer={"name": "sgd", "lr": 0.1},
            metrics=["distance"],
            train={"epochs": 200},
        )
        return float(evaluations(one)[-1].values["distance"][0])

    assert end(0.0) == pytest.approx(1.0, abs=1e-6)
    assert end(1e-3) < 1e-3


def test_the_distance_is_that_to_the_nearest_minimum():
    points = torch.tensor([[2.9, 2.0], [-2.8, 3.1]])
    minima = torch.tensor(SURFACES["himmelblau"].minima).expand(2, 4, 2)
    found = float(metric["distance"].function(points, minima))
    expected = [0.1, math.dist((-2.8, 3.1), SURFACES["himmelblau"].minima[1])]
    assert found == pytest.approx(sum(expected) / 2, rel=1e-5)


POINT_METRICS = [name for name in metric if metric[name].facts.prediction == "point"]


@pytest.mark.parametrize("name", POINT_METRICS)
def test_a_metric_of_all_trials_at_once_is_that_of_each(name):
    one = spec("quadratic_deep", metrics=[name])
    metrics = build([one]).metrics
    outputs = torch.randn(5, 64, 101, generator=torch.Generator().manual_seed(1))
    outputs[2, 3, 4] = torch.inf
    target = torch.zeros(64, 1, 100)
    together = metrics.compute(outputs, target)[name]
    alone = [metrics.compute(raw[None], target)[name][0] for raw in outputs]
    np.testing.assert_array_equal(together, alone)
    assert math.isnan(together[2])
    expected = metric[name].function(outputs[4, :, 1:], target)
    assert together[4] == float(expected)


def test_the_loss_is_the_value():
    values = torch.randn(7)
    assert loss["value"].function(values, torch.zeros(7, 1, 2)) is values


def test_the_floor_and_the_fingerprint_are_recorded():
    job = build([spec({"name": "surface", "function": "branin"})])
    assert job.record()["floor"] == {"loss": pytest.approx(0.397887, abs=1e-6)}
    prints = {
        prepare(one.dataset, dataset[one.dataset.name]).fingerprint
        for one in (
            spec({"name": "surface", "function": "rastrigin"}),
            spec({"name": "surface", "function": "ackley"}),  # the same minimum
            spec({"name": "surface", "function": "ackley", "noise": 0.5}),
            spec("quadratic"),
        )
    }
    assert len(prints) == 4


def test_constants_follow_the_point_to_another_number_type():
    made = module(make("quadratic_deep")).to(torch.float64)
    assert made(torch.zeros(2, 100, dtype=torch.float64)).dtype == torch.float64


def test_a_group_shares_the_constants():
    """A thousand trials of quadratic_deep must not hold a thousand Hessians."""

    class Largest(TorchFunctionMode):
        elements = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.elements = max(self.elements, result.numel())
            return result

    made = module(make("quadratic_deep"))
    points = torch.ones(50, 100)
    with Largest() as seen:
        vmap(lambda point: functional_call(made, {"point": point}, (torch.zeros(2, 100),)))(points)
    assert seen.elements <= 50 * 2 * 101


# --- configs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["surface", "quadratic_deep"])
def test_the_committed_configs_train_to_where_they_say(name, tmp_path):
    summary = session.start(load(CONFIGS / f"{name}.yaml"), runs_dir=tmp_path).result().summary
    final = summary["final"]
    if name == "surface":
        assert final["validation/distance"] < 1e-3
    else:
        assert final["train/loss"] == pytest.approx(85.2, abs=0.5)
        assert 85 < summary["test"]["loss"] < 90


def test_there_is_nothing_to_predict(tmp_path):
    mapping = {"dataset": "surface", "loss": "value", "optimizer": "sgd", "train": {"epochs": 1}}
    result = session.start(load(mapping=mapping), runs_dir=tmp_path).result()
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(LossbenchError, match="nothing to predict"):
        session.predict(str(result.path), str(tmp_path / "x.csv"), runs_dir=tmp_path)


# --- bad input --------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"dataset": "surface", "loss": "value", "optimizer": "sgd"}
BAD = [
    ({"network": "mlp"}, "'mlp' cannot be trained on dataset 'surface'", "network: point"),
    ({"network": {"hidden": [3]}}, "hidden", "point"),
    ({"dataset": "cubic", "loss": "mse", "network": "point"}, "'cubic' brings none", "surface"),
    ({"loss": "mse"}, "the minimum of a function", "value"),
    ({"dataset": "cubic"}, "loss 'value' is for the minimum of a function", "mse"),
    ({"metrics": ["accuracy"]}, "metric 'accuracy' is for classes", "distance"),
    ({"dataset": "online_linear", "metrics": ["second_coordinate"]}, "needs 2 values", "has 1"),
    ({"dataset": {"name": "surface", "standardize": True}}, "would change 'surface'", "leave"),
    ({"dataset": {"name": "surface", "function": "beal"}}, "function", "beale"),
    ({"dataset": {"name": "surface", "start": [1.0]}}, "start", "2"),
    ({"dataset": {"name": "quadratic", "condition": 0.5}}, "condition", "at least 1"),
    (
        {"metrics": ["first_coordinate"], "train": {"monitor": "validation/first_coordinate"}},
        "no value of 'validation/first_coordinate' is better",
        "validation/loss",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message", "hint"), BAD)
def test_a_config_that_does_not_fit_is_explained(change, message, hint):
    with pytest.raises(ConfigError) as caught:
        load(mapping=GOOD | change)
    text = str(caught.value)
    assert message in text
    assert hint in text


def test_defaults_suit_the_problem():
    plain = load(mapping=GOOD).spec
    assert plain.network.name == "point"
    assert plain.train.batch_size == "full"
    assert [m.name for m in plain.metrics] == ["distance", "first_coordinate", "second_coordinate"]
    online = load(mapping=GOOD | {"dataset": "online_linear"}).spec
    assert [m.name for m in online.metrics] == ["distance", "first_coordinate"]
    assert online.train.batch_size == 1
    own = load(mapping=GOOD | {"dataset": "quadratic_deep", "train": {"batch_size": 32}}).spec
    assert own.train.batch_size == 32
    assert load(mapping=GOOD | {"dataset": "cubic", "loss": "mse"}).spec.network.name == "mlp"


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        ("quadratic", {"dimension": 3, "start": (1.0, 2.0)}, "2 coordinates"),
        ("online_linear", {"large": 100.0}, "cancel out"),
    ],
)
def test_a_problem_that_is_none_is_refused(name, knobs, message):
    with pytest.raises(DataError, match=message):
        make(name, **knobs)


def test_second_coordinate_is_refused_where_only_a_knob_tells_the_dimension():
    one = spec({"name": "quadratic", "dimension": 1}, metrics=["second_coordinate"])
    with pytest.raises(UsageError, match="needs 2 values per target"):
        build([one])


def test_the_point_is_no_network_of_other_data():
    with pytest.raises(UsageError, match="brings none"):
        network["point"].function((3,), 1, None)


OWN = """\
from lossbench.components.vocabulary import Data, Samples, Target
from lossbench.registry import dataset
import numpy as np, torch

class Bowl(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.at = torch.nn.Parameter(torch.rand(2))
        self.keep_within = (0.5, 2.0)

    def forward(self, inputs):
        value = (self.at ** 2).sum().expand(len(inputs))
        return torch.cat([value[:, None], self.at.expand(len(inputs), 2)], dim=1)

@dataset(target=Target("objective", 2), network="point", batch_size="full", validation=True)
def bowl(seed):
    "A bowl."
    once = Samples(np.zeros((1, 1), np.float32), np.full((1, 2), 0.5, np.float32))
    return Data(Target("objective", 2), train=once, validation=once, standardize=False, model=Bowl)

@dataset(target="objective", network="point")
def broken(seed):
    "Without a model."
    once = Samples(np.zeros((1, 1), np.float32), np.zeros((1, 2), np.float32))
    return Data(Target("objective", 2), train=once, validation=once)
"""


def test_a_user_s_own_problem_trains_within_its_bounds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    one = spec("own.py:bowl", optimizer={"name": "sgd", "lr": 0.2}, train={"epochs": 20})
    assert one.network.name == "point"
    *_, last = evaluations(
        dataclasses.replace(one, metrics=spec("surface", metrics=["distance"]).metrics)
    )
    assert last.values["distance"][0] == 0.0
    with pytest.raises(DataError, match="no model"):
        build([spec("own.py:broken")])
