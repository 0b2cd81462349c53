"""From RunSpecs to a Job: names become functions, the head is sized, the data are on their device.

All that can be wrong between a network, a loss and the data is found here, before anything is
written.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench.components.modules import batch_statistics
from lossbench.components.vocabulary import Target
from lossbench.config.spec import RunSpec, ScheduleOptions
from lossbench.errors import UsageError
from lossbench.plugins import resolve, user_code
from lossbench.training.applied import applied
from lossbench.training.data import Prepared, Scaling, load
from lossbench.training.device import choose_device
from lossbench.training.encode import encode
from lossbench.training.fused import FusedStep
from lossbench.training.generators import seed_everything
from lossbench.training.job import Job
from lossbench.training.model import Heads
from lossbench.training.order import Order
from lossbench.training.parts import Parts
from lossbench.training.plain import PlainStep
from lossbench.training.plan import Plan, Sizes, make_plan
from lossbench.training.probe import probe
from lossbench.training.rates import Rates, Schedule
from lossbench.training.scoring import Metrics, Scores
from lossbench.training.stack import Stack
from lossbench.training.step import Split, Step
from lossbench.training.update import Optimizer


def build(specs: Sequence[RunSpec], plan: Plan | None = None) -> Job:
    """Make a group of trials ready to train.

    The trials may differ in their seed, optimizer and schedule, not in what they train on. A plan
    that is given (by a resume) is kept; otherwise it is made here.
    Raises UsageError (or DataError, MissingError) where something does not fit.
    """
    specs = tuple(specs)
    _check_alike(specs)
    with user_code(*specs[0].own_files()):
        return _build(specs, plan)


def _build(specs: tuple[RunSpec, ...], plan: Plan | None) -> Job:
    first = specs[0]
    prepared = load(first.dataset, resolve(first.dataset))
    parts = Parts(first, prepared.target, prepared.inputs)
    batch_size = _batch_size(first, prepared)
    order_of_all = _order(specs, prepared, batch_size, device=None)
    _check_batches(first, parts, order_of_all, batch_size)
    cpu = {name: _split(prepared, name, parts.heads) for name in prepared.splits}
    sizes, raw = _probe(parts, first, cpu["train"], batch_size)
    metrics = _metrics(first, parts.heads, prepared)
    metrics.compute(raw[None], _plain_targets(prepared, "train")[: len(raw)])  # refuses bad knobs
    monitor, watched = _monitored(specs, prepared, metrics)
    optimizers = [parts.optimizer(spec) for spec in specs]
    if plan is None:
        device, device_reason = choose_device(first.train.device, sizes.parameters * len(specs))
        plan = make_plan(
            sizes,
            trials=len(specs),
            asked=first.train.step,
            needs_plain=_needs_plain(specs, parts, optimizers),
            device=(str(device), device_reason),
            threads=first.train.threads,
        )
    device = torch.device(plan.device)
    splits = {name: split.to(device) for name, split in cpu.items()}
    order = _order(specs, prepared, batch_size, device=device)
    step, plan = _step(specs, parts, optimizers, splits["train"], order, plan)
    return Job(
        specs=specs,
        plan=plan,
        step=step,
        order=order,
        rates=_rates(specs, optimizers, order, device),
        metrics=metrics.to(device),
        splits=splits,
        targets={name: _plain_targets(prepared, name).to(device) for name in splits},
        epochs=first.train.epochs,
        evaluate_every=first.train.evaluate_every,
        monitor=monitor,
        watched=watched,
        early_stopping=_early_stopping(first),
        facts=_facts(prepared, parts.heads, sizes, tuple(raw.shape)),
    )


def _check_alike(specs: Sequence[RunSpec]) -> None:
    """Refuse trials that cannot be one group."""
    plain = {
        replace(
            spec,
            name="",
            optimizer=specs[0].optimizer,
            schedule=specs[0].schedule,
            train=replace(spec.train, seed=0),
        ).__repr__()
        for spec in specs
    }
    if len(plain) > 1:
        raise UsageError("the trials of a group may differ in seed, optimizer and schedule only")


def _batch_size(spec: RunSpec, prepared: Prepared) -> int:
    samples = len(prepared.splits["train"])
    size = spec.train.batch_size
    if size == "full":
        return samples
    if size > samples:
        raise UsageError(
            f"train.batch_size is {size}, but there are only {samples} training samples",
            hint=f"take at most {samples}, or batch_size: full",
        )
    return size


def _order(
    specs: Sequence[RunSpec], prepared: Prepared, batch_size: int, device: torch.device | None
) -> Order:
    train = specs[0].train
    return Order(
        [spec.train.seed for spec in specs],
        len(prepared.splits["train"]),
        batch_size,
        accumulate=train.accumulate,
        drop_last=train.drop_last,
        device=device,
    )


def _check_batches(spec: RunSpec, parts: Parts, order: Order, batch_size: int) -> None:
    """Refuse batches that the network or the loss cannot take."""
    normed = batch_statistics(parts.model(spec.train.seed))
    if normed and order.smallest_batch == 1:
        raise UsageError(
            f"{normed[0]} needs at least 2 samples in a batch, but the smallest batch has 1",
            hint=f"set train.drop_last: true, or another train.batch_size than {batch_size}",
        )
    if spec.train.accumulate == 1:
        return
    if normed:
        raise UsageError(
            f"train.accumulate cannot be used with batch statistics ({normed[0]}): "
            "several small batches have other means than one large one",
            hint="use layer or group norm, or a larger train.batch_size",
        )
    if parts.loss.facts.whole_batch:
        raise UsageError(
            f"train.accumulate cannot be used with loss '{parts.loss.name}': "
            "it is computed over a whole batch, not per sample"
        )


def _probe(parts: Parts, spec: RunSpec, split: Split, batch_size: int) -> tuple[Sizes, Tensor]:
    model = parts.model(spec.train.seed)
    inputs, target = split.inputs[:batch_size], split.target[:batch_size]
    sizes, raw = probe(model, inputs, target, spec.own_files())
    if raw.shape[1] != parts.heads.outputs:
        raise UsageError(
            f"the network gives {raw.shape[1]} outputs, "
            f"the loss '{parts.loss.name}' on this data needs {parts.heads.outputs}"
        )
    return sizes, raw


def _split(prepared: Prepared, name: str, heads: Heads) -> Split:
    """Return a split on the host, its targets in the form that the loss wants."""
    samples = prepared.splits[name]
    target = encode(torch.from_numpy(samples.targets), prepared.target, heads)
    return Split(torch.from_numpy(samples.inputs), target)


def _plain_targets(prepared: Prepared, name: str) -> Tensor:
    """Return a split's targets for the metrics: real ones in the data's own units."""
    targets, scaling = prepared.splits[name].targets, prepared.target_scaling
    if scaling is not None:
        targets = scaling.invert(targets).astype(np.float32)
    return torch.from_numpy(targets)


def scores_of(target: Target, heads: Heads, scaling: Scaling | None) -> Scores:
    """Return what turns raw outputs into what metrics and people are shown."""
    if scaling is None:
        return Scores(target, heads)
    mean = torch.as_tensor(scaling.mean, dtype=torch.float32)
    scale = torch.as_tensor(scaling.scale, dtype=torch.float32)
    return Scores(target, heads, mean, scale)


def _metrics(spec: RunSpec, heads: Heads, prepared: Prepared) -> Metrics:
    scores = scores_of(prepared.target, heads, prepared.target_scaling)
    metrics = Metrics(tuple(applied(choice) for choice in spec.metrics), scores)
    metrics.check()
    return metrics


VALIDATION = "validation/"


def _monitored(
    specs: Sequence[RunSpec], prepared: Prepared, metrics: Metrics
) -> tuple[str | None, str]:
    """Return the metric whose best weights are kept, and the one that schedules watch."""
    spec = specs[0]
    asked = {
        "train.monitor": spec.train.monitor,
        "train.early_stopping.metric": getattr(spec.train.early_stopping, "metric", None),
    }
    has_validation = "validation" in prepared.splits
    for key, name in asked.items():
        if name is None:
            continue
        known = [f"{VALIDATION}{metric}" for metric in ("loss", *metrics.names())]
        if not has_validation:
            raise UsageError(
                f"{key}: {name} needs validation data, and this dataset has none",
                hint="give it a share in dataset.split, or a validation split",
            )
        if name not in known:
            raise UsageError(
                f"{key}: there is no metric '{name}'", hint=f"valid: {', '.join(known)}"
            )
    watching = [s.schedule for s in specs if s.schedule and resolve(s.schedule).facts.state]
    if watching and not has_validation:
        raise UsageError(
            f"schedule '{watching[0].name}' watches a validation metric, "
            "and this dataset has no validation data"
        )
    monitor = (spec.train.monitor or f"{VALIDATION}loss").removeprefix(VALIDATION)
    return (monitor if has_validation else None), monitor


def _early_stopping(spec: RunSpec) -> Any:
    stop = spec.train.early_stopping
    return None if stop is None else replace(stop, metric=stop.metric.removeprefix(VALIDATION))


def _needs_plain(
    specs: Sequence[RunSpec], parts: Parts, optimizers: Sequence[Optimizer]
) -> str | None:
    """Return why only the plain step can train this, or none."""
    first = specs[0]
    if first.train.amp != "off":
        return f"mixed precision (train.amp: {first.train.amp}) needs the plain step"
    if parts.activation.facts.random:
        return f"activation '{parts.activation.name}' draws random numbers in torch's kernel"
    for spec, optimizer in zip(specs, optimizers, strict=True):
        if optimizer.facts.kernel_only is not None:
            return f"optimizer '{spec.optimizer.name}': {optimizer.facts.kernel_only}"
        if spec.optimizer.impl == "kernel":
            return "asked for (optimizer.impl: kernel)"
    return None


def _step(
    specs: Sequence[RunSpec],
    parts: Parts,
    optimizers: Sequence[Optimizer],
    split: Split,
    order: Order,
    plan: Plan,
) -> tuple[Step, Plan]:
    """Make the step that the plan asks for; what `vmap` refuses takes the plain one."""
    train = specs[0].train
    uses = {size: count * train.epochs for size, count in order.batch_sizes.items()}
    clip: dict[str, Any] = {
        "accumulate": train.accumulate,
        "clip_norm": train.clip_norm,
        "clip_value": train.clip_value,
    }
    device = torch.device(plan.device)
    if plan.step == "fused":
        model = parts.model(specs[0].train.seed).to(device)
        seeds = [spec.train.seed for spec in specs]
        stack = Stack.build(lambda trial: parts.model(seeds[trial]), range(len(specs)), device)
        try:
            fused = FusedStep(model, stack, optimizers, seeds, split, batch_sizes=uses, **clip)
            return fused, plan
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            plan = replace(plan, step="plain", chunk=1, reason=f"vmap cannot take it: {reason}")
    if len(specs) > 1:
        raise UsageError(f"these trials cannot be computed together: {plan.reason}")
    seed_everything(specs[0].train.seed)
    model = parts.model(specs[0].train.seed).to(device)
    plain = PlainStep(model, optimizers[0], specs[0].train.seed, split, amp=train.amp, **clip)
    return plain, plan


def _rates(
    specs: Sequence[RunSpec], optimizers: Sequence[Optimizer], order: Order, device: torch.device
) -> Rates:
    return Rates(
        [optimizer.rate for optimizer in optimizers],
        [_schedule(spec) for spec in specs],
        steps_per_epoch=order.steps_per_epoch,
        epochs=specs[0].train.epochs,
        device=device,
    )


def _schedule(spec: RunSpec) -> Schedule | None:
    if spec.schedule is None:
        return None
    made = applied(spec.schedule)
    options = spec.schedule.options
    unit = options.unit if isinstance(options, ScheduleOptions) else None
    return Schedule(made, unit or made.facts.unit)


def _facts(
    prepared: Prepared, heads: Heads, sizes: Sizes, raw_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return what was found out about the data and the network, as plain data."""
    target = prepared.target
    scalings = {"input": prepared.input_scaling, "target": prepared.target_scaling}
    return {
        "inputs": list(prepared.inputs),
        "input_names": list(prepared.input_names),
        "target": {"kind": target.kind, "size": target.size, "names": list(target.names)},
        "encoding": heads.encoding,
        "outputs": list(raw_shape[1:]),
        "samples": {name: len(samples) for name, samples in prepared.splits.items()},
        "parameters": sizes.parameters,
        "largest_activation": sizes.largest_activation,
        "activations": sizes.activations,
        "fingerprint": prepared.fingerprint,
        "notes": list(prepared.notes),
        "scaling": {
            name: None
            if scaling is None
            else {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()}
            for name, scaling in scalings.items()
        },
    }
