"""The work that the benchmarks of comparisons share, and how lossbench and a hand loop do it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lossbench.config.read import load
from lossbench.config.spec import RunSpec
from lossbench.training.build import build
from lossbench.training.chunks import plan_work
from lossbench.training.loop import train
from lossbench.training.survey import survey

CONFIGS = Path(__file__).parents[2] / "configs"

Networks = Callable[[], nn.Module]
Optimizers = Sequence[Callable[[Any], torch.optim.Optimizer]]


@dataclass(frozen=True)
class Seconds:
    """What training took: the steps alone, and with planning, building and tracing."""

    steps: float
    whole: float


def trials(config: dict[str, Any], count: int) -> list[RunSpec]:
    """Return a config under so many seeds."""
    spec = load(mapping={"name": "bench"} | config).spec
    return [replace(spec, train=replace(spec.train, seed=seed)) for seed in range(count)]


def samples(spec: RunSpec) -> TensorDataset:
    """Return the training samples of a run as lossbench prepares them."""
    split = survey(spec).splits["train"]
    return TensorDataset(split.inputs, split.target)


def lossbench(specs: Sequence[RunSpec], threads: int) -> Seconds:
    """Train all trials in one process, as a comparison does."""
    begun, steps = time.perf_counter(), 0.0
    work = plan_work(specs, range(len(specs)), workers=1, cores=1)
    for chunk in work.chunks:
        plan = replace(chunk.plan, threads=threads)
        job = build([specs[number] for number in chunk.trials], plan, work.surveys[chunk.group])
        built = time.perf_counter()
        for _ in train(job):
            pass
        steps += time.perf_counter() - built
    return Seconds(steps, time.perf_counter() - begun)


def hand_loop(
    data: TensorDataset,
    network: Networks,
    optimizers: Optimizers,
    loss_function: nn.Module,
    *,
    batch_size: int,
    epochs: int,
) -> float:
    """Train one network per optimizer in the loop of a tutorial; returns the seconds."""
    nets = [network() for _ in optimizers]
    made = [make(net.parameters()) for make, net in zip(optimizers, nets, strict=True)]
    losses: list[list[float]] = [[] for _ in nets]
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    begun = time.perf_counter()
    for _ in range(epochs):
        for x, y in loader:
            for net, optimizer, history in zip(nets, made, losses, strict=True):
                loss = loss_function(net(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                history.append(loss.item())
    return time.perf_counter() - begun


def parameters(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
