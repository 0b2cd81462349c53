"""One batch through a model, before anything is decided: does it fit, and how large is it?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lossbench.errors import LossbenchError, UsageError
from lossbench.plugins import blame
from lossbench.training.model import Model
from lossbench.training.plan import Sizes


def probe(
    model: Model, inputs: Tensor, target: Tensor, own_files: Sequence[Path] = ()
) -> tuple[Sizes, Tensor]:
    """Send one batch forward and backward; returns the sizes and the raw outputs.

    Neither the weights nor the random state are changed.
    Raises UsageError where the network, the loss and the data do not fit together, naming the
    line where it is one of the user's own files.
    """
    seen: list[int] = []

    def watch(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            seen.append(output.numel())

    handles = [module.register_forward_hook(watch) for module in model.network.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
            raw, total, weight = model(inputs, target)
            if parameters:
                torch.autograd.grad(total / weight, parameters, allow_unused=True)
    except LossbenchError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        blamed = blame(error, *own_files)
        if blamed is not None:
            raise blamed from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"the network, the loss and the data do not fit together: {reason}",
            hint=f"a batch of inputs has shape {list(inputs.shape)}, "
            f"its targets have shape {list(target.shape)}",
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
    sizes = Sizes(
        parameters=sum(p.numel() for p in parameters),
        largest_activation=max(seen, default=0),
        activations=sum(seen),
        multiplications=counter.get_total_flops() // 2,
    )
    return sizes, raw.detach()
