"""The checks on problems with known answers: they pass, and fail where an optimizer is wrong."""

import dataclasses
import json

import pytest
import torch

from lossbench.checks import problems as checks
from lossbench.cli.main import run
from lossbench.registry import optimizer


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=checks.PROBLEMS, scope="module")
def made(request):
    """Each check, made once."""
    return checks.PROBLEMS[request.param]()


def test_the_engine_keeps_to_theory(made):
    assert made.passed, f"{made.claim}: expected {made.expected}, found {made.found}"


def test_a_check_says_what_it_claims(made):
    assert checks.PROBLEMS[made.name]
    assert made.claim
    assert not made.claim.endswith(".")
    assert made.expected
    assert made.found
    assert json.loads(json.dumps(made.record())) == made.record()


def with_rate(factor):
    """Return what makes a rule whose steps are off by a factor."""

    def change(rule):
        def wrong(params, grads, state, step, *, lr, **knobs):
            return rule(params, grads, state, step, lr=lr * factor, **knobs)

        return wrong

    return change


def with_eps(rule):
    """Make a rule that adds a constant to its divisor, whatever the knob says."""

    def wrong(params, grads, state, step, *, eps, **knobs):
        return rule(params, grads, state, step, eps=eps + 1e-3, **knobs)

    return wrong


def without(knob, value):
    """Return what makes a rule that does not listen to a knob."""

    def change(rule):
        def wrong(params, grads, state, step, **knobs):
            return rule(params, grads, state, step, **{**knobs, knob: value})

        return wrong

    return change


def by_size(rule):
    """Make a rule of signs that looks at sizes too."""

    def wrong(params, grads, state, step, *, lr, **knobs):
        new, state = rule(params, grads, state, step, lr=lr, **knobs)
        return new - 1e-4 * grads, state

    return wrong


# What is broken, how, and the check that must see it.
MUTANTS = [
    ("sgd", with_rate(0.999), "gradient_descent_rate"),
    ("sgd", without("momentum", 0.6), "heavy_ball_rate"),
    ("sgd", with_rate(1.02), "stability_limit"),
    ("sgd", with_rate(0.98), "stability_limit"),
    ("sgd", with_rate(1.02), "heavy_ball_stability_limit"),
    ("sgd", with_rate(1.1), "noise_floor"),
    ("sgd", by_size, "gradient_descent_scaling"),
    ("rprop", by_size, "rprop_scale_invariance"),
    ("adam", with_eps, "adam_scale_invariance"),
    ("adagrad", with_eps, "adagrad_scale_invariance"),
    ("rmsprop", with_eps, "rmsprop_scale_invariance"),
    ("adam", without("betas", (0.0, 0.999)), "adam_non_convergence"),
    ("adam", without("amsgrad", False), "amsgrad_convergence"),
]


@pytest.mark.parametrize(("name", "change", "seen_by"), MUTANTS)
def test_a_wrong_rule_is_seen(name, change, seen_by, monkeypatch):
    entry = optimizer[name]
    # Without its kernel: else the broken formula would not be what is trained with.
    facts = dataclasses.replace(entry.facts, in_place=None)
    broken = dataclasses.replace(entry, function=change(entry.function), facts=facts)
    monkeypatch.setitem(optimizer._entries, name, broken)
    found = checks.PROBLEMS[seen_by]()
    assert not found.passed, found


def test_every_check_has_a_mutant():
    assert {seen_by for *_, seen_by in MUTANTS} == set(checks.PROBLEMS)


# --- the command ------------------------------------------------------------------------------


def fake(passed):
    return checks.Check("speed", "It is fast", "1", "2", passed)


@pytest.mark.parametrize("passed", [True, False])
def test_the_command_prints_a_line_each_and_ends_accordingly(passed, monkeypatch, capsys):
    monkeypatch.setattr(checks, "check_problems", lambda: [fake(True), fake(passed)])
    assert run(["check", "problems"]) == (0 if passed else 1)
    out = capsys.readouterr().out
    assert out.count("speed") == (2 if passed else 3)
    assert ("FAILED" in out) != passed
    assert ("It is fast" in out) != passed


@pytest.mark.parametrize("passed", [True, False])
def test_the_command_gives_one_json_document(passed, monkeypatch, capsys):
    monkeypatch.setattr(checks, "check_problems", lambda: [fake(passed)])
    assert run(["check", "problems", "--json"]) == (0 if passed else 1)
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is passed
    assert document["checks"] == [fake(passed).record()]


def test_what_cannot_be_checked_is_refused(capsys):
    assert run(["check", "problem"]) == 2
    assert "problems" in capsys.readouterr().err
