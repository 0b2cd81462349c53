"""How two tensors are compared, and what is said where they differ."""

from collections.abc import Callable, Iterable
from typing import Any

from lossbench.checks.contracts import BrokenError
from lossbench.lazy import Tensor, torch

# torch's kernels keep some constants in float32 even for float64 inputs (hardsigmoid's 1 / 6,
# celu's 1 / alpha); the digits beyond are held by finite differences and identities.
TOLERANCE = {"float32": (2e-5, 2e-6), "float64": (2e-7, 1e-9)}
"""How far a formula may be from a kernel, by dtype: relative, and absolute."""


def tolerance(dtype: Any) -> tuple[float, float]:
    """Return the relative and the absolute tolerance for a dtype."""
    return TOLERANCE[str(dtype).removeprefix("torch.")]


def number(value: Tensor | float) -> str:
    """Return a number as it is written in a sentence."""
    return f"{float(value):.6g}"


def require_close(
    got: Tensor, expected: Tensor, words: str, *, rtol: float = 1e-9, atol: float = 1e-12
) -> None:
    """Make sure that two tensors agree; the words say of what they are.

    Raises BrokenError with the first place where they do not.
    """
    if got.shape != expected.shape:
        raise BrokenError(f"{words}: shape {list(got.shape)} instead of {list(expected.shape)}")
    wrong = ~torch.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)
    if bool(wrong.any()):
        place = tuple(int(i) for i in wrong.nonzero()[0])
        at = f" at {list(place)}" if place else ""
        raise BrokenError(f"{words}: {number(got[place])} instead of {number(expected[place])}{at}")


def require_finite(values: Tensor, inputs: Tensor, words: str) -> None:
    """Make sure that all values are finite; says at which input the first is not.

    `inputs` has the shape of the values, or is left out of the sentence.
    """
    wrong = ~torch.isfinite(values)
    if not bool(wrong.any()):
        return
    place = tuple(int(i) for i in wrong.nonzero()[0])
    value = "NaN" if bool(values[place].isnan()) else "infinite"
    at = f" at {number(inputs[place])}" if inputs.shape == values.shape else ""
    raise BrokenError(f"{words} is {value}{at}")


def require_gradients(
    cases: Iterable[tuple[Callable[..., Tensor], list[Tensor], str]], detached: str | None
) -> None:
    """Make sure that autograd gives what finite differences give, in each case.

    A case is a function, what it is differentiated by, and words that say which case it is.
    Where `detached` says why a part carries no gradient, the two must differ somewhere: a part
    that was meant to be held fast and is not shows in nothing else.
    """
    differ = False
    for place, (call, leaves, words) in enumerate(cases):
        for leaf in leaves:
            leaf.requires_grad_()
        # Element by element for the first case, but for the many pixels of an image; in one
        # random direction for the others: a wrong gradient is wrong in nearly all of them. What
        # a part without gradient leaves out may be so little that only single elements show it.
        brief = place > 0 and detached is None
        fast = brief or sum(leaf.numel() for leaf in leaves) > 100
        agree = torch.autograd.gradcheck(
            call, leaves, raise_exception=False, fast_mode=fast, atol=1e-6, rtol=1e-4
        )
        if not agree and detached is None:
            raise BrokenError(f"autograd and finite differences disagree{words}")
        differ |= not agree
    if detached is not None and not differ:
        raise BrokenError(
            f"it is declared that {detached}; but the gradient is that of finite differences: "
            "a part that is to be held fast is not, or there is nothing to declare"
        )
