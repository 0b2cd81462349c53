"""How fast a comparison is: all trials at once, against one after another and against JAX.

    pip install "lossbench[bench]"
    python tests/benchmarks/compare_speed.py [PART ...] [--rounds 5] [--threads 1 2]

The parts:

    cubic    configs/compare/optimizers_cubic.yaml with 20 and 200 seeds against the tutorial's
             loop: DataLoader, five nets, loss.item() at every step
    digits   digits, Adam, batches of 64: MLPs with 32 and 128 hidden units, 256 trials, and a small
             CNN, 64 trials, against the same loop with one net
    jax      1-10-1, 1000 trials, and 64-32-10, 256 trials, against `jit(vmap(scan))`, which is
             given the batches' indices; both on one core; from the same weights to the same losses
    scaling  the cost of a trial's step, 1 to 10 000 trials, and the memory that 10 000 need
    storage  writing and reading back the results of 10 000 trials, against training them

Every round runs all contenders once, in turn, in one process. The loop by hand is measured on some
repetitions, and the rest is extrapolated. Ratios are medians over the rounds of the ratio within a
round (lowest to highest): quote these, for the machine may be shared. "With tracing" counts what
lossbench does once per comparison, planning, building, tracing; imports count for nobody.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from work import CONFIGS, Seconds, hand_loop, lossbench, parameters, samples, trials

from lossbench.config.spec import RunSpec
from lossbench.config.trials import load_comparison

PARTS = ("cubic", "digits", "jax", "scaling", "storage")
Adam = partial(torch.optim.Adam, lr=0.01)


def spread(ratios: Sequence[float]) -> str:
    """Return the median of some ratios, and how far they go."""
    low, high = min(ratios), max(ratios)
    return f"{statistics.median(ratios):7.2f} ({low:.2f} to {high:.2f})"


def against_hand(
    title: str, specs: Sequence[RunSpec], by_hand: Any, share: int, rounds: int, threads: int
) -> None:
    """Print how much faster the trials are than by hand; `by_hand` trains so many of them."""
    torch.set_num_threads(threads)
    lossbench(specs, threads)  # first allocations
    by_hand()
    steps, whole = [], []
    for _ in range(rounds):
        hand = by_hand() * len(specs) / share
        ours: Seconds = lossbench(specs, threads)
        steps.append(hand / ours.steps)
        whole.append(hand / ours.whole)
    line = f"{title:42}{threads:8}   {spread(steps):28}{spread(whole)}"
    print(line, flush=True)


def head(title: str) -> None:
    """Print the head of a table of ratios to the loop by hand."""
    print(f"\n{title:42}{'threads':>8}   {'times faster':28}with tracing")


def cubic(rounds: int, threads: Sequence[int]) -> None:
    """Five optimizers against the tutorial's loop."""
    head("optimizers_cubic, against five nets")
    optimizers = [
        partial(torch.optim.SGD, lr=0.01),
        partial(torch.optim.SGD, lr=0.01, momentum=0.6),
        partial(torch.optim.Adagrad, lr=0.01),
        partial(torch.optim.RMSprop, lr=0.01, alpha=0.9),
        partial(torch.optim.Adam, lr=0.01, betas=(0.9, 0.99)),
    ]
    file = CONFIGS / "compare" / "optimizers_cubic.yaml"
    for count in threads:
        for seeds in (20, 200):
            specs = [trial.spec for trial in load_comparison(file, seeds=seeds).spec.trials]
            once = partial(
                hand_loop,
                samples(specs[0]),
                lambda: nn.Sequential(nn.Linear(1, 10), nn.ReLU(), nn.Linear(10, 1)),
                optimizers,
                nn.MSELoss(),
                batch_size=15,
                epochs=specs[0].train.epochs,
            )
            against_hand(f"{len(specs)} trials", specs, once, len(optimizers), rounds, count)


def _digits(network: dict[str, Any], epochs: int, count: int, **train: Any) -> list[RunSpec]:
    return trials(
        {
            "dataset": "digits",
            "network": network,
            "activation": "relu",
            "loss": "cross_entropy",
            "optimizer": {"name": "adam", "lr": 0.01},
            # The loop by hand looks at no validation data: here only the end does.
            "train": {"epochs": epochs, "batch_size": 64, "evaluate_every": epochs} | train,
        },
        count,
    )


def small_cnn() -> nn.Module:
    """Two convolutions with pooling on 8 x 8 images."""
    return nn.Sequential(
        # the images arrive as [N, 1, 8, 8]
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


def mlp(hidden: int) -> nn.Module:
    """One hidden layer between 64 pixels and 10 classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def digits(rounds: int, threads: Sequence[int]) -> None:
    """Larger networks, where arithmetic counts, against the loop with one net."""
    head("digits, batch 64, Adam, against one net")
    measured, epochs = 8, 4
    for title, network, by_hand, count in (
        ("MLP 64-32-10", {"name": "mlp", "hidden": [32]}, partial(mlp, 32), 256),
        ("MLP 64-128-10", {"name": "mlp", "hidden": [128]}, partial(mlp, 128), 256),
        ("CNN 8-16", {"name": "cnn2d", "channels": [8, 16]}, small_cnn, 64),
    ):
        specs = _digits(network, epochs, count)
        data = samples(specs[0])
        _same_size(specs[0], by_hand())

        def several(data: Any = data, by_hand: Any = by_hand) -> float:
            loss, options = nn.CrossEntropyLoss(), {"batch_size": 64, "epochs": epochs}
            return sum(hand_loop(data, by_hand, [Adam], loss, **options) for _ in range(measured))

        for number in threads:
            against_hand(f"{title}, {count} trials", specs, several, measured, rounds, number)


def _same_size(spec: RunSpec, network: nn.Module) -> None:
    from lossbench.training.survey import survey

    assert survey(spec).sizes.parameters == parameters(network)


def jax(rounds: int) -> None:
    """Print how long JAX and lossbench take on one core."""
    if os.sched_getaffinity(0) != (one := {min(os.sched_getaffinity(0))}):
        # XLA sizes its pool of threads by the cores that the process may use when it starts.
        os.sched_setaffinity(0, one)
        os.execv(sys.executable, [*sys.orig_argv[:2], "jax", "--rounds", str(rounds)])
    import numpy as np
    from jax_loop import JaxTrainer, cross_entropy, mean_square

    from lossbench.training.build import build
    from lossbench.training.survey import survey

    torch.set_num_threads(1)
    print("\nus per step and trial, one core    JAX   lossbench   lossbench / JAX", end="")
    print("          JAX compiles, lossbench traces")
    small = trials(
        {
            "dataset": {"name": "cubic", "samples": 500},
            "network": {"name": "mlp", "hidden": [10]},
            "activation": "relu",
            "loss": "mse",
            "optimizer": {"name": "adam", "lr": 0.01},
            "train": {"epochs": 8, "batch_size": 15, "drop_last": True},
        },
        1000,
    )
    larger = _digits({"name": "mlp", "hidden": [32]}, 8, 256, drop_last=True)
    for title, specs, loss in (
        ("1-10-1, 1000 trials", small, mean_square),
        ("64-32-10, 256 trials", larger, cross_entropy),
    ):
        split, job = survey(specs[0]).splits["train"], build(specs)
        flat = split.inputs.reshape(len(split), -1)
        trainer = JaxTrainer(loss, flat.numpy(), split.target.numpy())
        weights = [job.step.weights(trial) for trial in range(len(specs))]
        params = [np.stack([w[name].numpy() for w in weights]) for name in weights[0]]
        epochs = range(1, specs[0].train.epochs + 1)
        batches = [step for epoch in epochs for step in job.order.epoch(epoch)]
        given = params, torch.stack([rows for (rows,) in batches], dim=1).numpy()
        begun = time.perf_counter()
        _, losses = trainer(*given)
        compiled = time.perf_counter() - begun
        traced, ours_losses = _steps(specs, batches)[1:]
        difference = abs(ours_losses[:, :3] - losses[:, :3]).max()
        assert difference < 1e-4, f"the contenders compute different things: {difference}"
        theirs, ours = [], []
        for _ in range(rounds):
            theirs.append(trainer(*given)[0])
            ours.append(_steps(specs, batches)[0])
        compiled -= statistics.median(theirs)
        ratios = spread([one / other for one, other in zip(ours, theirs, strict=True)])
        work = len(batches) * len(specs) * 1e-6
        print(f"{title:30}{statistics.median(theirs) / work:8.2f}", end="")
        print(f"{statistics.median(ours) / work:12.2f}   ", end="")
        print(f"{ratios:24}{compiled:8.2f} s, {traced:.2f} s", flush=True)


def _steps(specs: Sequence[RunSpec], batches: Sequence[Any]) -> tuple[float, float, Any]:
    """Make every step on given batches, as the JAX program does, and nothing else.

    Returns the seconds of the steps, those of building and tracing, and the losses.
    """
    from lossbench.training.build import build

    begun = time.perf_counter()
    job, losses = build(specs), []
    built = time.perf_counter()
    for number, step in enumerate(batches, start=1):
        losses.append(job.step.train(step, number, job.rates.at(number), None))
    values = torch.stack(losses, dim=1).numpy()
    return time.perf_counter() - built, built - begun, values


def _cubic_config(epochs: int = 5) -> dict[str, Any]:
    return {"extends": str(CONFIGS / "cubic.yaml"), "train": {"epochs": epochs}}


def scaling(rounds: int) -> None:
    """Print the cost per trial and step, and the memory of the largest group."""
    torch.set_num_threads(1)
    print("\ncubic, trials     us per trial and step   ratio to the line above")
    numbers = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
    costs: dict[int, list[float]] = {number: [] for number in numbers}
    every = trials(_cubic_config(), numbers[-1])
    for _ in range(rounds):
        for number in numbers:
            costs[number].append(lossbench(every[:number], 1).steps / (number * 170) * 1e6)
    for before, number in zip((None, *numbers), numbers, strict=False):
        pairs = zip(costs[number], costs[before or number], strict=True)
        ratio = spread([one / other for one, other in pairs]) if before else ""
        print(f"{number:13}{statistics.median(costs[number]):24.2f}   {ratio}")
    for number in (1, numbers[-1]):
        command = [sys.executable, __file__, "--peak", str(number)]
        print(
            f"peak memory, {number} trials: {subprocess.check_output(command, text=True)}", end=""
        )


def peak(number: int) -> None:
    """Train so many trials of cubic as pieces of a comparison, and print the peak memory."""
    from lossbench.session.assemble import Pieces, piece_of
    from lossbench.training.chunks import ChunkResult, plan_work, train_chunk

    specs, pieces = trials(_cubic_config(), number), Pieces()
    work = plan_work(specs, range(number), workers=1, cores=1)
    for chunk in work.chunks:
        own = [specs[position] for position in chunk.trials]
        for news in train_chunk(chunk, own, work.surveys[chunk.group]):
            if isinstance(news, ChunkResult):
                pieces.add(*piece_of(news))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def storage(rounds: int) -> None:
    """Print what keeping the results of 10 000 trials costs."""
    torch.set_num_threads(1)
    file = CONFIGS / "compare" / "optimizers_cubic.yaml"
    print("\n10 000 trials of optimizers_cubic  training s   writing s   reading s   share")
    loaded, shares = load_comparison(file, seeds=2000), []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            trained, written, read = _kept(loaded, Path(folder))
        shares.append((written + read) / trained)
        print(f"{'':35}{trained:10.2f}{written:12.2f}{read:12.2f}{shares[-1]:8.1%}", flush=True)
    print(f"{'median':69}{statistics.median(shares):8.1%}")


def _kept(loaded: Any, folder: Path) -> tuple[float, float, float]:
    """Return the seconds for training, writing (pieces, trials, curves) and reading back."""
    from lossbench.analysis.source import comparison_table
    from lossbench.session import comparing, judging
    from lossbench.session.assemble import Pieces, piece_of
    from lossbench.training.chunks import ChunkResult, train_chunk

    session = comparing.start(loaded, runs_dir=folder, workers=1)
    stage, directory, pieces = session.stage, session.directory, Pieces()
    trained = written = 0.0
    for chunk, specs in stage.pieces():
        begun = time.perf_counter()
        *_, result = train_chunk(chunk, specs, stage.work.surveys[chunk.group])
        ended = time.perf_counter()
        assert isinstance(result, ChunkResult)
        kept = piece_of(result)
        directory.write_piece(stage.piece_name(chunk.number), *kept)
        pieces.add(*kept)
        trained += ended - begun
        written += time.perf_counter() - ended
    begun = time.perf_counter()
    judging.describe_end(record := directory.read_record(), session.spec, stage, {})
    directory.write_record(record)
    judging.write_whole(directory, session.spec, stage, pieces)
    written += time.perf_counter() - begun
    begun = time.perf_counter()
    comparison_table(directory)
    return trained, written, time.perf_counter() - begun


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        return peak(args.peak)
    chosen = args.parts or PARTS
    if "cubic" in chosen:
        cubic(args.rounds, args.threads)
    if "digits" in chosen:
        digits(args.rounds, args.threads)
    if "scaling" in chosen:
        scaling(args.rounds)
    if "storage" in chosen:
        storage(args.rounds)
    if "jax" in chosen:  # the last: it goes on in a process of its own, on one core
        jax(args.rounds)
    return None


if __name__ == "__main__":
    main()
