"""Which device trains."""

import torch

from lossbench.errors import UsageError

AUTO_GPU_FROM = 50_000
"""Parameters of all trials together from which a GPU is worth the launch of its kernels."""


def choose_device(asked: str, parameters: int) -> tuple[torch.device, str]:
    """Return the device and the reason.

    `auto` takes a GPU where there is one and there is enough to do for it.
    Raises UsageError where the device asked for is not there, naming those that are.
    """
    if asked != "auto":
        return _asked_for(asked), "asked for (train.device)"
    gpu = _gpu()
    if gpu is None:
        return torch.device("cpu"), "auto: no GPU here"
    if parameters < AUTO_GPU_FROM:
        return torch.device("cpu"), f"auto: {parameters} parameters are too few for a GPU"
    return torch.device(gpu), f"auto: {parameters} parameters and a GPU"


def available() -> list[str]:
    """Return the names of the devices of this machine."""
    gpu = _gpu()
    return ["cpu"] if gpu is None else ["cpu", gpu]


def _gpu() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return None


def _asked_for(asked: str) -> torch.device:
    here = ", ".join(available())
    try:
        device = torch.device(asked)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"there is no device '{asked}' here", hint=f"valid: auto, {here}"
        ) from error
    return device
