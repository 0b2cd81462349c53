"""The level of a loss that needs no input: the best constant prediction."""

import torch
from torch import Tensor

from lossbench.training.model import Model

ITERATIONS = 100


def uninformed_level(model: Model, outputs: int, target: Tensor) -> float | None:
    """Return the lowest mean loss of a prediction that is the same for all samples.

    For cross entropy that is the entropy of the class shares, for squared error the variance. A
    trial whose loss stays there has learned nothing. None where no such level was found (a loss
    without a bottom, or one that cannot be evaluated on a constant).
    """
    raw = torch.zeros(1, outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [raw], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_change=1e-10
    )
    was_training = model.training
    model.eval()

    def closure() -> Tensor:
        optimizer.zero_grad()
        terms = model.loss(model.heads.split(raw.expand(len(target), outputs)), target)
        loss: Tensor = terms.total() / terms.weight_sum()
        loss.backward()
        return loss

    try:
        optimizer.step(closure)
        level = float(closure().detach())
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
    finally:
        model.train(was_training)
    return level if torch.isfinite(torch.tensor(level)) else None
