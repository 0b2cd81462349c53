"""The schedules that torch does not ship, at numbers that others publish, and at their limits.

The rates of transformers are those of its tests (base rate 10, 2 steps of warm-up, 10 in all, given
to two or three digits), those of pytorch_optimizer likewise of its tests.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lossbench.checks.all import check_contract
from lossbench.checks.own import check_own, own_components
from lossbench.evaluate.arguments import knobs_from
from lossbench.evaluate.steps import rates
from lossbench.registry import schedule

WARM = {"num_warmup_steps": 2, "num_training_steps": 10}
UP_DOWN = {"t_max": 10, "max_lr": 1e-2, "min_lr": 1e-4, "init_lr": 1e-3, "warmup_steps": 5}
STAGES = {
    "num_warmup_steps": 2,
    "num_stable_steps": 2,
    "num_decay_steps": 3,
    "min_lr_ratio": 0.1,
}


def course(name: str, base: float, count: int, *, first: int = 0, **params: Any) -> list[float]:
    steps = list(range(first, first + count))
    return rates(schedule.find(name), params, {"base_lr": base, "steps": steps}).tolist()


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        (
            "constant_with_warmup",
            {"num_warmup_steps": 4},
            [0, 2.5, 5, 7.5, 10, 10, 10, 10, 10, 10],
        ),
        ("linear_with_warmup", WARM, [0, 5, 10, 8.75, 7.5, 6.25, 5, 3.75, 2.5, 1.25]),
        ("cosine_with_warmup", WARM, [0, 5, 10, 9.61, 8.53, 6.91, 5, 3.08, 1.46, 0.38]),
        (
            "cosine_hard_restarts_with_warmup",
            {**WARM, "num_cycles": 2},
            [0, 5, 10, 8.53, 5, 1.46, 10, 8.53, 5, 1.46],
        ),
        (
            "polynomial_with_warmup",
            {**WARM, "power": 2.0, "lr_end": 1e-7},
            [0, 5, 10, 7.656, 5.625, 3.906, 2.5, 1.406, 0.625, 0.156],
        ),
        (
            "inverse_sqrt",
            {"num_warmup_steps": 2, "peak": True},
            [0, 5, 10, 8.165, 7.071, 6.325, 5.774, 5.345, 5, 4.714],
        ),
    ],
)
def test_published_rates_of_transformers(
    name: str, params: dict[str, Any], expected: list[float]
) -> None:
    assert course(name, 10.0, 10, **params) == pytest.approx(expected, abs=1e-2)


def test_published_rates_of_pytorch_optimizer() -> None:
    line = [0.001, 0.0028, 0.0046, 0.0064, 0.0082, 0.01, 0.00802, 0.00604, 0.00406, 0.00208]
    assert course("linear_warmup_linear", 9.9, 10, **UP_DOWN) == pytest.approx(line, abs=1e-8)
    wave = [0.001, 0.0028, 0.0046, 0.0064, 0.0082, 0.01, 0.00905, 0.00658, 0.00352, 0.00105]
    assert course("linear_warmup_cosine", 9.9, 10, **UP_DOWN) == pytest.approx(wave, abs=6e-6)
    falls = [0.888888, 0.749999, 0.571428, 0.333333, 0.0]
    assert course("rex", 1.0, 5, first=1, total_steps=5) == pytest.approx(falls, abs=2e-6)
    staged = [0.0005, 0.001, 0.001, 0.001, 0.000775, 0.000325, 0.0001, 0.0001, 0.0001]
    found = course("wsd", 1e-3, 9, first=1, **STAGES, cooldown_type="cosine")
    assert found == pytest.approx(staged, abs=1e-9)


def test_wsd_falls_in_the_other_shapes_as_published_without_a_floor() -> None:
    """With a floor pytorch_optimizer lets these shapes fall to 0 and jump up to it; we do not."""
    shapes = {
        "1-sqrt": [0.0004226, 0.0001835],
        "1-square": [0.0008888, 0.0005555],
        "linear": [0.0006666, 0.0003333],
    }
    for shape, expected in shapes.items():
        given = {**STAGES, "min_lr_ratio": 0.0, "cooldown_type": shape}
        found = course("wsd", 1e-3, 3, first=5, **given)
        assert found == pytest.approx([*expected, 0.0], abs=1e-7), shape
    floored = course("wsd", 1.0, 4, first=4, **STAGES, decay_type="linear")
    assert floored == pytest.approx([1.0, 0.7, 0.4, 0.1])


def test_wsd_without_lengths_falls_in_the_last_tenth_of_the_run() -> None:
    entry = schedule["wsd"]
    found = entry.function(2.0, torch.arange(101.0), 100, **{**entry.defaults(), "warmup_steps": 5})
    assert torch.all(found[5:91] == 2.0)
    assert found[95].item() == pytest.approx(1.0)
    assert found[100].item() == 0.0
    # Told when the fall begins, it lasts as long as the run.
    knobs = {**entry.defaults(), "warmup_steps": 5, "stable_steps": 15, "decay_type": "linear"}
    found = entry.function(2.0, torch.arange(101.0), 100, **knobs)
    assert found[20] == 2.0
    assert found[60].item() == pytest.approx(1.0)
    assert found[100].item() == 0.0


def test_noam_is_the_papers_formula() -> None:
    """The base model of the paper: width 512, 4000 steps of warm-up; the peak is 6.99e-4."""
    base = 512**-0.5
    for step in (1, 100, 4000, 4001, 100_000):
        expected = base * min(step**-0.5, step * 4000**-1.5)
        assert course("noam", base, 1, first=step) == pytest.approx([expected], rel=1e-12)
    assert course("noam", base, 1, first=4000) == pytest.approx([6.987712e-4], rel=1e-6)
    assert course("noam", base, 1) == [0.0]


@pytest.mark.parametrize("cycles", [2, 3, 7])
def test_hard_restarts_jump_up_at_whole_steps(cycles: int) -> None:
    """Also where the shares of a run are no exact numbers."""
    entry = schedule["cosine_hard_restarts_with_warmup"]
    knobs = {"warmup_steps": 5, "total_steps": 5 + 11 * cycles, "num_cycles": cycles}
    found = entry.function(1.0, torch.arange(5.0 + 11 * cycles), None, **knobs)
    wave = (1 + torch.cos(math.pi * torch.arange(11, dtype=torch.float64) / 11)) / 2
    torch.testing.assert_close(found[5:], wave.repeat(cycles), rtol=1e-12, atol=1e-15)


def test_schedules_are_each_other_at_their_limits() -> None:
    steps, total = torch.arange(40.0), 30

    def of(name: str, **knobs: Any) -> torch.Tensor:
        entry = schedule[name]
        found: torch.Tensor = entry.function(0.3, steps, total, **knobs_from(entry, knobs))
        return found

    line = of("linear_with_warmup", warmup_steps=4)
    same = {
        "polynomial_with_warmup": {"warmup_steps": 4, "lr_end": 0.0},
        "linear_warmup_linear": {"warmup_steps": 4},
        "wsd": {"warmup_steps": 4, "stable_steps": 0, "decay_type": "linear"},
    }
    for name, knobs in same.items():
        torch.testing.assert_close(of(name, **knobs), line, rtol=1e-12, atol=1e-15, msg=name)
    wave = of("cosine_with_warmup", warmup_steps=4)[:30]
    for name in ("linear_warmup_cosine", "cosine_hard_restarts_with_warmup"):
        found = of(name, warmup_steps=4)[:30]
        torch.testing.assert_close(found, wave, rtol=1e-12, atol=1e-15, msg=name)
    torch.testing.assert_close(of("polynomial", total_iters=None), of("linear_with_warmup"))


# --- the contracts find what is wrong ---------------------------------------------------------


def _late(base: Any, step: Any, total: Any) -> Any:
    return base * torch.where(torch.as_tensor(step) < total, 1.0, 0.5)


def _negative(base: Any, step: Any, total: Any = None) -> Any:
    return base * (1 - torch.as_tensor(step) / 10.0)


def _looks(base: Any, step: Any, total: Any = None) -> Any:
    return base if step < 5 else base / 2


def _mixes(base: Any, step: Any, total: Any = None) -> Any:
    rate = base / (1 + torch.as_tensor(step))
    return rate / torch.as_tensor(base).mean() * 0.3


def _moves(base: Any, step: Any, total: Any = None) -> Any:
    return base * torch.linspace(1.0, 0.5, torch.as_tensor(step).numel()).reshape(
        torch.as_tensor(step).shape
    )


def _early(base: Any, step: Any, total: Any = None, *, gamma: float = 0.5) -> Any:
    return base * gamma ** (torch.as_tensor(step).double() + 1)


@pytest.mark.parametrize(
    ("function", "facts", "contract", "said"),
    [
        (_late, {}, "length", "declare total"),
        (_negative, {"total": True}, "length", "does not depend"),
        (_negative, {}, "positive", "the rate of step 11 is -0.03"),
        (_looks, {}, "steps", "many steps at once"),
        (_moves, {}, "steps", "the rate of step 1 alone"),
        (_mixes, {}, "trials", "trial 0 of 3"),
        (
            _early,
            {"kernel": "torch.optim.lr_scheduler.ExponentialLR"},
            "kernel",
            "the rate, a run of 24: 0.15 instead of 0.3 at [0]",
        ),
    ],
)
def test_contracts_say_what_is_wrong(
    function: Any, facts: dict[str, Any], contract: str, said: str
) -> None:
    finding = check_contract(schedule.entry(function, **facts), contract)
    assert finding.verdict == "failed", finding
    assert said in finding.words


OWN = '''
import math
from lossbench.registry import schedule

@schedule(unit="step")
def waves(base, step, total):
    """Falls in half a wave.

    Formula:    b (1 + cos(pi t / n)) / 2
    Reference:  nobody.
    """
    return base * (1 + math.cos(math.pi * step / total)) / 2

def undeclared(base, step, total, *, power=2.0):
    return base * (1 - step / (total + 60)) ** power
'''


def test_ones_own_schedule_is_held_to_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    waves, undeclared = own_components(file)
    findings = {finding.contract: finding for finding in check_own(waves)}
    assert findings["kernel"].verdict == "skipped"
    for contract in ("positive", "steps", "trials", "length"):
        assert "many steps at once" in findings[contract].words
    # What declares nothing is not asked whether it depends on the length of the run.
    verdicts = {finding.contract: finding.verdict for finding in check_own(undeclared)}
    assert set(verdicts) == {"kernel", "positive", "steps", "trials"}
    assert {verdicts[name] for name in ("positive", "steps", "trials")} == {"passed"}
