"""How long a training step takes: lossbench against what people use instead, on the same work.

    pip install "lossbench[bench]"
    python tests/benchmarks/train_cubic.py [--epochs 20] [--rounds 5] [--threads 1]

The work is `configs/cubic.yaml`: a network 1-10-1, 500 points, batches of 15, Adam, the loss of
every step recorded. The contenders:

    lossbench        all that `lossbench train` does: metrics.jsonl, evaluation, checkpoint
    hand loop        what a tutorial shows: DataLoader, loss.item() at every step, torch.optim.Adam
    skorch, Lightning the same work as they document it, their logging and progress bars off

Every round runs all contenders once, in turn, in one process; the table gives medians over the
rounds, and the ratio to the hand loop round by round (median, lowest to highest). Ratios are what
to quote: the machine may be shared. lossbench stands there twice, with and without what it does
once per run (building, tracing, the run directory); the others' set-up is not counted.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lossbench.config.read import load
from lossbench.session.actions import start

CONFIG = Path(__file__).parents[2] / "configs" / "cubic.yaml"
BATCH, LEARNING_RATE, BETAS = 15, 0.01, (0.9, 0.99)

Contender = Callable[[int], dict[str, float]]
"""Trains so many epochs; returns seconds per name (one, or several ways to count)."""


def data() -> TensorDataset:
    """The points of the config."""
    x = torch.linspace(-1, 1, 500)[:, None]
    return TensorDataset(x, x**3)


def network() -> nn.Module:
    """The network of the config."""
    return nn.Sequential(nn.Linear(1, 10), nn.ReLU(), nn.Linear(10, 1))


def lossbench(epochs: int) -> dict[str, float]:
    """Train through the session that `lossbench train` uses, everything recorded."""
    with tempfile.TemporaryDirectory() as runs:
        begun = time.perf_counter()
        session = start(load(CONFIG, [f"train.epochs={epochs}"]), runs_dir=Path(runs))
        built = time.perf_counter()
        for _ in session:
            pass
        ended = time.perf_counter()
    return {"lossbench": ended - built, "lossbench, with set-up": ended - begun}


def hand_loop(epochs: int) -> dict[str, float]:
    """The loop of a tutorial."""
    model, loss_function = network(), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=BETAS)
    loader = DataLoader(data(), batch_size=BATCH, shuffle=True)
    losses = []
    begun = time.perf_counter()
    for _ in range(epochs):
        for x, y in loader:
            loss = loss_function(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return {"hand loop": time.perf_counter() - begun}


def with_skorch(epochs: int) -> dict[str, float]:
    """skorch's NeuralNetRegressor; it records the loss of every batch by itself."""
    from skorch import NeuralNetRegressor

    net = NeuralNetRegressor(
        network(),
        max_epochs=epochs,
        batch_size=BATCH,
        lr=LEARNING_RATE,
        optimizer=torch.optim.Adam,
        optimizer__betas=BETAS,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    x, y = data().tensors
    net.initialize()
    begun = time.perf_counter()
    net.fit(x.numpy(), y.numpy())
    return {"skorch": time.perf_counter() - begun}


def with_lightning(epochs: int) -> dict[str, float]:
    """Lightning's Trainer, the loss of every batch kept in a list."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.losses = network(), []

        def training_step(self, batch, _index):
            x, y = batch
            loss = nn.functional.mse_loss(self.net(x), y)
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE, betas=BETAS)

    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module, loader = Module(), DataLoader(data(), batch_size=BATCH, shuffle=True)
    begun = time.perf_counter()
    trainer.fit(module, loader)
    return {"Lightning": time.perf_counter() - begun}


def contenders() -> list[Contender]:
    """All contenders whose library is installed."""
    found: list[Contender] = [lossbench, hand_loop]
    for needed, contender in (("skorch", with_skorch), ("lightning", with_lightning)):
        try:
            __import__(needed)
        except ImportError:
            print(f"{needed} is not installed: left out (pip install 'lossbench[bench]')")
        else:
            found.append(contender)
    return found


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    chosen, steps = contenders(), args.epochs * 34
    for contender in chosen:
        contender(1)  # imports, caches, first allocations
    seconds: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for contender in chosen:
            for name, value in contender(args.epochs).items():
                seconds.setdefault(name, []).append(value)

    print(f"{args.rounds} rounds of {args.epochs} epochs ({steps} steps), {args.threads} thread(s)")
    print(f"{'':26}{'us per step':>12}   ratio to the hand loop")
    for name, values in seconds.items():
        ratios = [value / hand for value, hand in zip(values, seconds["hand loop"], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        per_step = statistics.median(values) / steps * 1e6
        print(f"{name:26}{per_step:12.0f}   {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
