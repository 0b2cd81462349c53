"""What every component of a kind promises, as functions that find out whether it keeps it.

    @contract("loss")
    def gradient(entry):
        '''The derivative is the one that finite differences give.'''
        ...
        raise BrokenError("the gradient at r = 0 is NaN")

A contract returns when it holds, raises BrokenError in words where it does not, and SkippedError
with the reason where it does not apply. `lossbench check` and the test suite run the same ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lossbench.lazy import torch
from lossbench.registry import KINDS, Entry

Contract = Callable[[Entry[Any]], None]
Verdict = Literal["passed", "failed", "skipped"]

CONTRACTS: dict[str, dict[str, Contract]] = {}
"""The contracts of each kind, by name."""


class BrokenError(Exception):
    """The component does not keep its promise: the message says in words how."""


class SkippedError(Exception):
    """The contract does not apply to this component: the message says why."""


@dataclass(frozen=True)
class Finding:
    """How one contract came out for one component."""

    kind: str
    name: str
    contract: str
    verdict: Verdict
    words: str = ""

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def contract(*kinds: str) -> Callable[[Contract], Contract]:
    """Add a function to the contracts of some kinds; its docstring says what is promised."""

    def add(function: Contract) -> Contract:
        for kind in kinds:
            CONTRACTS.setdefault(kind, {})[function.__name__] = function
        return function

    return add


def promise(name: str, kind: str) -> str:
    """Return what a contract of a kind promises, in one line."""
    doc = CONTRACTS[kind][name].__doc__ or ""
    return doc.strip().splitlines()[0].rstrip(".")


def check_contract(entry: Entry[Any], name: str) -> Finding:
    """Hold a component to one contract of its kind."""

    def found(verdict: Verdict, words: str = "") -> Finding:
        return Finding(entry.kind, entry.name, name, verdict, words)

    # Tensors this small are sooner computed than shared out among threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        CONTRACTS[entry.kind][name](entry)
    except BrokenError as broken:
        return found("failed", str(broken))
    except SkippedError as skipped:
        return found("skipped", str(skipped))
    except Exception as error:
        # Anything may be raised from within a formula that is being tried; that is a finding too.
        return found("failed", _words(error))
    finally:
        torch.set_num_threads(threads)
    return found("passed")


KNOWN = {
    "does not require grad and does not have a grad_fn": (
        "no gradient reaches the prediction: the value is cut off from it (by detach, NumPy, "
        "a comparison, a change to whole numbers), or a constant"
    ),
    "vmap: It looks like you're": (
        "it calls .item() or decides by a value (if, while), so that trials cannot share a "
        "computation: they are trained one by one (torch.where decides for each element)"
    ),
    "a leaf Variable that requires grad is being used in an in-place": (
        "it changes what it was given in place: write x = x - y, not x -= y"
    ),
}
"""What PyTorch says of common mistakes, by a part of it, and what that means."""


def _words(error: Exception) -> str:
    text = str(error).strip()
    for part, meaning in KNOWN.items():
        if part in text:
            return meaning
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


def check_entry(entry: Entry[Any]) -> list[Finding]:
    """Hold a component to all contracts of its kind, in order."""
    return [check_contract(entry, name) for name in CONTRACTS[entry.kind]]


def check_entries(kinds: Sequence[str]) -> Iterator[tuple[Entry[Any], list[Finding]]]:
    """Hold every component of some kinds to its contracts, one after another."""
    for kind in kinds:
        for entry in KINDS[kind].values():
            yield entry, check_entry(entry)
