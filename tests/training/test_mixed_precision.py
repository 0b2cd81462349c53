"""Mixed precision: close to single precision, and the same whoever makes the update."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lossbench.errors import UsageError
from lossbench.training.build import build
from lossbench.training.events import SafePoint
from lossbench.training.loop import train

AMP = ["bfloat16", "float16"]


@pytest.fixture
def iris(spec, choice):
    """A spec of iris in mixed precision."""

    def make(amp: str, optimizer=None, **parts):
        return spec(
            dataset="iris",
            optimizer=optimizer or choice("optimizer", "sgd", lr=0.1),
            **{"loss": "cross_entropy", "train_amp": amp, **parts},
        )

    return make


@pytest.mark.parametrize("amp", AMP)
@pytest.mark.parametrize("clip", [{}, {"train_clip_norm": 0.05}, {"train_accumulate": 2}])
def test_it_stays_close_to_single_precision(amp, clip, iris, run):
    half, single = run(iris(amp, **clip)), run(iris("off", **clip))
    assert not np.array_equal(half, single)  # something was computed in half precision
    np.testing.assert_allclose(half, single, rtol=3e-2)


@pytest.mark.parametrize("clip", [{}, {"train_clip_norm": 0.05}])
def test_the_formula_and_torchs_optimizer_see_the_same_unscaled_gradients(clip, iris, run, choice):
    kernel = choice("optimizer", "sgd", lr=0.1, momentum=0.9)
    formula = replace(kernel, impl="formula")
    np.testing.assert_allclose(
        run(iris("float16", formula, **clip)), run(iris("float16", kernel, **clip)), rtol=1e-5
    )


@pytest.mark.parametrize("impl", ["kernel", "formula"])
def test_a_step_whose_scaled_gradients_overflow_is_left_out(impl, iris, choice):
    optimizer = replace(choice("optimizer", "sgd", lr=1e-4), impl=impl)
    job = build([iris("float16", optimizer, train_epochs=1)])
    job.step._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = job.step.weights(0)
    moved = []
    for batches in job.order.epoch(1):
        job.step.train(batches, len(moved) + 1, 1e-4, None)
        after = job.step.weights(0)
        moved.append(any(not torch.equal(before[name], after[name]) for name in before))
        assert all(bool(weight.isfinite().all()) for weight in after.values())
    assert not any(moved)  # a scale of 2^40 halves once a step, and there are seven
    assert job.step._scaler.get_scale() == 2.0 ** (40 - len(moved))


@pytest.mark.parametrize("amp", AMP)
def test_the_loss_is_summed_in_single_precision(amp, iris, choice):
    # Each of 100 samples costs about 1000: 100 000 is infinite in float16, 99 840 in bfloat16.
    loss = choice("loss", "multi_margin", margin=1500.0)
    job = build([iris(amp, loss=loss, train_batch_size=100)])
    single = build([iris("off", loss=loss, train_batch_size=100)])
    rows = [torch.arange(100)[None]]
    value = float(job.step.train(rows, 1, 0.0, None))
    assert value == pytest.approx(float(single.step.train(rows, 1, 0.0, None)), rel=1e-5)


def test_lbfgs_is_refused_where_gradients_are_scaled(iris, choice):
    lbfgs = choice("optimizer", "lbfgs")
    with pytest.raises(UsageError, match="several times per step") as error:
        build([iris("float16", lbfgs)])
    assert "bfloat16" in (error.value.hint or "")
    list(train(build([iris("bfloat16", lbfgs, train_epochs=1)])))


def test_a_resume_goes_on_with_the_scale_that_was_found(iris):
    spec = iris("float16", train_epochs=3, train_batch_size="full")
    job = build([spec])
    job.step._scaler.load_state_dict(job.step._scaler.state_dict() | {"scale": 2.0**30})
    events = list(train(job))
    point = next(event for event in events if isinstance(event, SafePoint))
    again = build([spec])
    state = job.step.state()
    again.step.load(state)
    assert again.step._scaler.get_scale() == job.step._scaler.get_scale() < 2.0**30
    assert point.step == 1
