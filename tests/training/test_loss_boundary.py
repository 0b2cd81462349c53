"""What passes between a network and a loss: weights of the mean, heads, state, parameters.

The reference is torch on the same weights and the same batch.
"""

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossbench.errors import UsageError
from lossbench.training.build import build
from lossbench.training.events import Finished, SafePoint
from lossbench.training.loop import train

STEPS = ["fused", "plain"]


@pytest.fixture
def npz(tmp_path: Path, choice):
    """A data set from arrays: all 12 samples are trained on, in one batch."""

    def make(x: np.ndarray, y: np.ndarray, task: str):
        np.savez(tmp_path / "data.npz", x=x.astype(np.float32), y=y)
        made = choice("dataset", "npz", path=str(tmp_path / "data.npz"), task=task)
        options = type(made.options)(split=(1.0, 0.0, 0.0), standardize=False)
        return type(made)(made.kind, made.name, made.knobs, options)

    return make


def first_loss_and_weights(spec_one):
    """The loss of the first step, as trained, and the model and batch that gave it."""
    job = build([spec_one])
    weights = job.step.weights(0)
    losses = next(iter(train(job))).losses
    rows = next(job.order.epoch(1))[0][0]
    return float(losses[0, 0]), weights, job.splits["train"], rows


def linear(weights, inputs):
    names = sorted(name for name in weights if name.startswith("network"))
    bias, matrix = (weights[name] for name in names)
    return F.linear(inputs.flatten(1), matrix, bias)


@pytest.mark.parametrize("step", STEPS)
def test_class_weights_divide_by_the_weights_in_use(step, spec, choice, npz):
    rng = np.random.default_rng(0)
    data = npz(rng.normal(size=(12, 3)), np.arange(12) % 3, "class")
    one = spec(
        dataset=data,
        network="linear",
        loss=choice("loss", "cross_entropy", weight=(0.1, 1.0, 5.0), label_smoothing=0.1),
        train_batch_size=5,
        train_epochs=1,
        train_step=step,
    )
    loss, weights, split, rows = first_loss_and_weights(one)
    logits = linear(weights, split.inputs[rows])
    expected = F.cross_entropy(
        logits, split.target[rows], weight=torch.tensor([0.1, 1.0, 5.0]), label_smoothing=0.1
    )
    assert loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_an_ignored_class_does_not_count(step, spec, choice, npz):
    rng = np.random.default_rng(0)
    data = npz(rng.normal(size=(12, 3)), np.arange(12) % 3, "class")
    loss_choice = choice("loss", "cross_entropy", ignore_index=2)
    one = spec(
        dataset=data, network="linear", loss=loss_choice, train_batch_size=12, train_step=step
    )
    loss, weights, split, rows = first_loss_and_weights(one)
    logits = linear(weights, split.inputs[rows])
    expected = F.cross_entropy(logits, split.target[rows], ignore_index=2)
    assert loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_gaussian_nll_has_two_outputs_per_target(step, spec, choice, npz):
    rng = np.random.default_rng(0)
    data = npz(rng.normal(size=(12, 3)), rng.normal(size=(12, 2)).astype(np.float32), "real")
    one = spec(
        dataset=data, network="linear", loss="gaussian_nll", train_batch_size=12, train_step=step
    )
    loss, weights, split, rows = first_loss_and_weights(one)
    outputs = linear(weights, split.inputs[rows])
    assert outputs.shape == (12, 4)
    mean, variance = outputs[:, :2], F.softplus(outputs[:, 2:])
    expected = F.gaussian_nll_loss(mean, split.target[rows], variance)
    assert loss == pytest.approx(float(expected), rel=1e-5)


OWN = dedent(
    '''
    import torch
    from lossbench.components.declarations import Parameter
    from lossbench.components.vocabulary import Terms
    from lossbench.registry import loss


    @loss(target="real", state={"mean_loss": lambda outputs, **knobs: torch.ones(()), "batches": 0})
    def relative(prediction, target, *, mean_loss, batches, momentum: float = 0.5):
        """Square of the residual over its running mean."""
        values = (prediction - target) ** 2
        moved = momentum * mean_loss + (1 - momentum) * values.detach().mean()
        return Terms(values / moved, state={"mean_loss": moved, "batches": batches + 1})


    @loss(target="real", parameters={"log_scale": Parameter(0.25)})
    def scaled(prediction, target, *, log_scale):
        """A Gaussian likelihood whose one scale is learned with the weights."""
        return 0.5 * (prediction - target) ** 2 * torch.exp(-2 * log_scale) + log_scale
    '''
)


@pytest.fixture
def own_loss(tmp_path: Path, own):
    def make(name: str, **knobs):
        (tmp_path / "own_losses.py").write_text(OWN)
        return own("loss", tmp_path / "own_losses.py", name, **knobs)

    return make


@pytest.mark.parametrize("step", STEPS)
def test_a_loss_keeps_its_state_in_training_only(step, spec, own_loss):
    job = build([spec(loss=own_loss("relative", momentum=0.5), train_step=step)])
    assert job.plan.step == step
    finished = None
    for event in train(job):
        finished = event if isinstance(event, Finished) else finished
    weights = finished.final(0)
    # Two epochs of four batches moved it, three evaluations did not.
    assert float(weights["loss.batches"]) == 8
    assert float(weights["loss.mean_loss"]) != 1


@pytest.mark.parametrize("step", STEPS)
def test_a_loss_with_state_resumes_exactly(step, spec, own_loss):
    one = spec(loss=own_loss("relative", momentum=0.5), train_epochs=3, train_step=step)
    whole, state = [], None
    for event in train(build([one])):
        if isinstance(event, SafePoint) and event.epoch == 1:
            state = event.state()
        if isinstance(event, Finished):
            whole = event.final(0)
    resumed = next(e for e in train(build([one]), state) if isinstance(e, Finished)).final(0)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize("step", STEPS)
def test_a_loss_trains_parameters_of_its_own(step, spec, own_loss, choice):
    one = spec(loss=own_loss("scaled"), optimizer=choice("optimizer", "sgd", lr=0.1))
    one = type(one)(**{**vars(one), "train": type(one.train)(**{**vars(one.train), "step": step})})
    job = build([one])
    before = job.step.weights(0)
    assert float(before["loss.log_scale"]) == 0.25
    split, rows = job.splits["train"], next(job.order.epoch(1))[0][0]
    with torch.no_grad():
        prediction = job.step.evaluate(split).outputs[0][rows]
    scale = torch.tensor(0.25, requires_grad=True)
    residual = prediction - split.target[rows]
    loss = (0.5 * residual**2 * torch.exp(-2 * scale) + scale).mean()
    (gradient,) = torch.autograd.grad(loss, scale)
    job.step.train([next(job.order.epoch(1))[0]], 1, 0.1, None)
    after = float(job.step.weights(0)["loss.log_scale"])
    assert after == pytest.approx(0.25 - 0.1 * float(gradient), rel=1e-5)


def test_a_group_keeps_the_state_and_parameters_of_each_trial(spec, own_loss, run):
    for name in ("relative", "scaled"):
        knobs = {"momentum": 0.5} if name == "relative" else {}
        trials = [spec(loss=own_loss(name, **knobs), train_seed=seed) for seed in range(3)]
        together = run(*trials)
        for number, trial in enumerate(trials):
            np.testing.assert_array_equal(together[number], run(trial)[0])


def test_a_loss_that_does_not_fit_names_those_that_do(spec):
    with pytest.raises(UsageError) as caught:
        build([spec(loss="cross_entropy")])
    assert "cross_entropy" in str(caught.value)
    assert "mse" in str(caught.value)
    assert "huber" in str(caught.value)


@pytest.mark.parametrize("step", STEPS)
def test_a_users_module_is_a_loss_with_its_own_parameters(step, tmp_path, own, spec):
    (tmp_path / "module_loss.py").write_text(
        dedent(
            """
            import torch
            from torch import nn


            class Tempered(nn.Module):
                def __init__(self, power: float = 2.0):
                    super().__init__()
                    self.power = power
                    self.offset = nn.Parameter(torch.zeros(1))

                def forward(self, prediction, target):
                    return ((prediction - target - self.offset).abs() ** self.power).mean()
            """
        )
    )
    loss = own("loss", tmp_path / "module_loss.py", "Tempered", power=2.0)
    job = build([spec(loss=loss, train_step=step)])
    assert job.plan.step == step
    list(train(job))
    assert any(
        name.endswith("offset") and value.abs() > 0 for name, value in job.step.weights(0).items()
    )


def test_what_vmap_refuses_runs_plain_and_says_why(tmp_path, own, spec):
    (tmp_path / "branching.py").write_text(
        dedent(
            """
            def branching(prediction, target):
                error = (prediction - target).abs()
                return error if error.mean().item() > 0.1 else error**2
            """
        )
    )
    loss = own("loss", tmp_path / "branching.py", "branching")
    job = build([spec(loss=loss)])
    assert job.plan.step == "plain"
    assert "vmap" in job.plan.reason
    assert isinstance(job.plan.reason, str)
    list(train(job))


def test_a_network_with_torchs_own_dropout_runs_plain(tmp_path, own, spec):
    (tmp_path / "net.py").write_text(
        dedent(
            """
            from torch import nn


            def net(inputs, outputs, activation):
                width = 8
                first, last = nn.Linear(inputs[0], width), nn.Linear(width, outputs)
                return nn.Sequential(first, nn.Dropout(0.5), last)
            """
        )
    )
    job = build([spec(network=own("network", tmp_path / "net.py", "net"))])
    assert job.plan.step == "plain"
    assert isinstance(nn.Dropout(), nn.Module)
    list(train(job))


def test_logarithms_of_the_targets_where_the_loss_wants_them(spec, choice, run):
    runs = [
        run(spec(dataset="iris", loss=choice("loss", "kl_div", log_target=log))) for log in (0, 1)
    ]
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5)


def test_counts_are_shown_to_metrics_as_counts_though_the_network_gives_logarithms(
    spec, choice, npz
):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 1))
    y = rng.poisson(np.exp(1 + 0.5 * x)).astype(np.float32)
    data = npz(x, y, "count")
    data = type(data)(data.kind, data.name, data.knobs, type(data.options)(standardize=False))
    one = spec(
        dataset=data,
        network="linear",
        loss="poisson_nll",
        optimizer=choice("optimizer", "adam", lr=0.1),
        metrics=("mae",),
        train_epochs=60,
    )
    job = build([one])
    shown = [e.values["mae"][0] for e in train(job) if getattr(e, "split", "") == "test"]
    best = float(np.abs(y - np.exp(1 + 0.5 * x)).mean())
    assert shown[0] == pytest.approx(best, rel=0.5)
    prediction = job.metrics.scores.show(job.step.evaluate(job.splits["train"]).outputs[0])[
        "values"
    ]
    slope = np.polyfit(job.splits["train"].inputs[:, 0], np.log(prediction[:, 0].numpy()), 1)
    assert slope == pytest.approx([0.5, 1.0], abs=0.15)


def test_a_metric_that_cannot_be_computed_is_refused_before_training(spec, choice):
    one = spec(dataset="iris", loss="cross_entropy")
    top = choice("metric", "top_k_accuracy", k=3)
    with pytest.raises(UsageError, match="k"):
        build([type(one)(**{**vars(one), "metrics": (top,)})])


@pytest.mark.parametrize("returned", ["", ".mean()"])
def test_only_a_loss_per_sample_can_be_accumulated(returned, tmp_path, own, spec):
    file = tmp_path / "mine.py"
    file.write_text(
        f"def loss(prediction, target):\n    return (prediction - target).abs(){returned}\n"
    )
    chosen = spec(loss=own("loss", file, "loss"), train_accumulate=2)
    if not returned:
        build([chosen])
        return
    with pytest.raises(UsageError, match="one value for a batch"):
        build([chosen])


@pytest.mark.parametrize(
    ("returned", "shape"),
    [
        ("(prediction - target[:, 0]).abs()", [16, 16]),  # [N, 1] - [N]: every pair
        ("(prediction - target).abs().mean(dim=0).repeat(3)", [3]),
        ("prediction.expand(-1, 2)", [16, 2]),
    ],
)
def test_a_loss_whose_values_belong_to_nothing_is_refused(returned, shape, tmp_path, own, spec):
    file = tmp_path / "mine.py"
    file.write_text(f"\n\ndef loss(prediction, target):\n    return {returned}\n")
    with pytest.raises(UsageError) as caught:
        build([spec(loss=own("loss", file, "loss"))])
    message, hint = caught.value.message, caught.value.hint or ""
    assert message.startswith(f"{file}:3: the loss '")
    assert f"of shape {shape}, for a batch of 16 samples" in message
    assert "one value per sample or element, or a single one for the batch" in hint
    assert "the prediction has shape [16, 1], the target [16, 1]" in hint


@pytest.mark.parametrize("returned", ["", ".mean()", "[:, 0]", ".mean().view(1)", ".sum(dim=1)"])
def test_the_values_that_a_loss_of_ones_own_may_return(returned, tmp_path, own, spec):
    file = tmp_path / "mine.py"
    file.write_text(
        f"def loss(prediction, target):\n    return (prediction - target).abs(){returned}\n"
    )
    build([spec(loss=own("loss", file, "loss"))])


def test_an_activation_along_the_batch_is_refused(spec, choice):
    with pytest.raises(UsageError, match="goes along the batch"):
        build([spec(activation=choice("activation", "softmax", dim=0))])
    build([spec(activation=choice("activation", "softmax", dim=1))])
