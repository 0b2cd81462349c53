"""From RunSpecs to a Job: the step, the rates and the data of a group, on their device."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lossbench.config.spec import Choice, RunSpec, ScheduleOptions
from lossbench.errors import UsageError
from lossbench.plugins import resolve, user_code
from lossbench.training.applied import applied
from lossbench.training.data import Prepared
from lossbench.training.device import choose_device
from lossbench.training.fused import FusedStep
from lossbench.training.generators import seed_everything
from lossbench.training.gradients import Graphs
from lossbench.training.groups import group_key, needs_plain
from lossbench.training.job import Job
from lossbench.training.order import Order
from lossbench.training.plain import PlainStep
from lossbench.training.plan import Plan, make_plan
from lossbench.training.rates import Rates, Schedule
from lossbench.training.scoring import Metrics
from lossbench.training.stack import Stack
from lossbench.training.step import Split, Step
from lossbench.training.survey import Survey, survey
from lossbench.training.update import Optimizer


def build(
    specs: Sequence[RunSpec],
    plan: Plan | None = None,
    found: Survey | None = None,
    *,
    like: Job | None = None,
) -> Job:
    """Make a group of trials ready to train.

    The trials may differ in what `groups.group_key` leaves open: seed, optimizer, schedule, and
    `float` knobs. A plan that is given (by a resume, by a comparison) is kept, and so is a survey
    of the group; otherwise they are made here. Where the job `like` computes the same gradients,
    its traces serve this one too: they are most of what building costs.
    Raises UsageError (or DataError, MissingError) where something does not fit.
    """
    specs = tuple(specs)
    if len({group_key(spec) for spec in specs}) > 1:
        raise UsageError("these trials cannot be computed together: more than floats differ")
    found = survey(specs[0]) if found is None else found
    with user_code(*specs[0].own_files()):
        return _build(specs, found, plan, like)


def _build(specs: tuple[RunSpec, ...], found: Survey, plan: Plan | None, like: Job | None) -> Job:
    train = specs[0].train
    monitor, watched = _monitored(specs, found.prepared, found.metrics)
    optimizers = found.parts.optimizers(specs)
    plan = plan or plan_group(specs, found)
    device = torch.device(plan.device)
    order = found.order.of([spec.train.seed for spec in specs], device)
    splits = {name: split.to(device) for name, split in found.splits.items()}
    step, plan = _step(specs, found, optimizers, splits["train"], order, plan, like)
    return Job(
        specs=specs,
        plan=plan,
        step=step,
        order=order,
        rates=_rates(specs, optimizers, order),
        metrics=found.metrics.to(device),
        splits=splits,
        targets={name: found.targets(name).to(device) for name in splits},
        epochs=train.epochs,
        evaluate_every=train.evaluate_every,
        monitor=monitor,
        watched=watched,
        early_stopping=_early_stopping(specs[0]),
        facts=found.facts,
    )


def plan_group(specs: Sequence[RunSpec], found: Survey) -> Plan:
    """Decide how to train a group, from its sizes."""
    train = specs[0].train
    device, reason = choose_device(train.device, found.sizes.parameters * len(specs))
    return make_plan(
        found.sizes,
        trials=len(specs),
        asked=train.step,
        needs_plain=needs_plain(specs[0]),
        device=(str(device), reason),
        threads=train.threads,
    )


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
        known = [f"{VALIDATION}{metric}" for metric in metrics.lower_is_better()]
        if not has_validation:
            raise UsageError(
                f"{key}: {name} needs validation data, and this dataset has none",
                hint="give it a share in dataset.split, or a validation split",
            )
        if name not in known:
            raise UsageError(
                f"{key}: nothing can be chosen by '{name}'", hint=f"valid: {', '.join(known)}"
            )
    watching = [s.schedule for s in specs if s.schedule and resolve(s.schedule).facts.state]
    if watching and not has_validation:
        raise UsageError(
            f"schedule '{watching[0].name}' watches a validation metric, "
            "and this dataset has no validation data"
        )
    monitor = (spec.train.monitor or f"{VALIDATION}loss").removeprefix(VALIDATION)
    for schedule in watching:
        _check_direction(schedule, monitor, metrics.lower_is_better()[monitor])
    return (monitor if has_validation else None), monitor


def _check_direction(schedule: Choice, metric: str, lower_is_better: bool) -> None:
    """Refuse a schedule that would take an improvement for none."""
    mode, right = schedule.knobs.get("mode"), "min" if lower_is_better else "max"
    if mode is not None and mode != right:
        raise UsageError(
            f"schedule '{schedule.name}' watches {VALIDATION}{metric} with mode: {mode}, "
            f"but {'lower' if lower_is_better else 'higher'} is better there",
            hint=f"write schedule: {{name: {schedule.name}, mode: {right}}}",
        )


def _early_stopping(spec: RunSpec) -> Any:
    stop = spec.train.early_stopping
    return None if stop is None else replace(stop, metric=stop.metric.removeprefix(VALIDATION))


def _step(
    specs: Sequence[RunSpec],
    found: Survey,
    optimizers: Sequence[Optimizer],
    split: Split,
    order: Order,
    plan: Plan,
    like: Job | None,
) -> tuple[Step, Plan]:
    """Make the step that the plan asks for; what `vmap` refuses takes the plain one."""
    train, parts = specs[0].train, found.parts
    uses = {size: count * train.epochs for size, count in order.batch_sizes.items()}
    clip: dict[str, Any] = {
        "accumulate": train.accumulate,
        "clip_norm": train.clip_norm,
        "clip_value": train.clip_value,
    }
    device = torch.device(plan.device)
    if plan.step == "fused":
        seeds = [spec.train.seed for spec in specs]
        fresh = parts.models(specs)
        model = fresh(0).to(device)
        stack = Stack.build(fresh, range(len(specs)), device)
        try:
            widest = max(1, found.sizes.largest_activation // max(uses))
            options = clip | {"batch_sizes": uses, "widest": widest}
            options["graphs"] = _shared_graphs(specs, plan, like)
            return FusedStep(model, stack, optimizers, seeds, split, **options), plan
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            plan = replace(plan, step="plain", chunk=1, reason=f"vmap cannot take it: {reason}")
    if len(specs) > 1:
        raise UsageError(f"these trials cannot be computed together: {plan.reason}")
    seed_everything(specs[0].train.seed)
    model = parts.of(specs[0]).model(specs[0].train.seed).to(device)
    plain = PlainStep(model, optimizers[0], specs[0].train.seed, split, amp=train.amp, **clip)
    return plain, plan


def _shared_graphs(specs: Sequence[RunSpec], plan: Plan, like: Job | None) -> Graphs | None:
    """Return the traces of another job where only the updates and the seeds are others."""
    if like is None or not isinstance(like.step, FusedStep) or plan.device != like.plan.device:
        return None
    same = [_computed(spec) for spec in specs] == [_computed(spec) for spec in like.specs]
    return like.step.graphs if same else None


def _computed(spec: RunSpec) -> tuple[Any, ...]:
    """Return what makes loss and gradients of a run, given its weights and a batch."""
    train = replace(spec.train, seed=0)
    return spec.dataset, spec.network, spec.activation, spec.loss, train


def _rates(specs: Sequence[RunSpec], optimizers: Sequence[Optimizer], order: Order) -> Rates:
    return Rates(
        [optimizer.rate for optimizer in optimizers],
        [_schedule(spec) for spec in specs],
        steps_per_epoch=order.steps_per_epoch,
        epochs=specs[0].train.epochs,
    )


def _schedule(spec: RunSpec) -> Schedule | None:
    if spec.schedule is None:
        return None
    made = applied(spec.schedule)
    options = spec.schedule.options
    unit = options.unit if isinstance(options, ScheduleOptions) else None
    return Schedule(made, unit or made.facts.unit)
