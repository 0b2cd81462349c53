"""Ctrl-C and SIGTERM, taken note of instead of obeyed at once."""

import contextlib
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """While the block runs, notes the first SIGINT or SIGTERM, so that the work can be saved.

    A second signal ends at once (KeyboardInterrupt). Only the main thread may set handlers:
    elsewhere nothing is noted. A signal that was ignored stays ignored, as under `nohup`.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.getsignal(number)
                if previous not in (signal.SIG_IGN, None):
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            with contextlib.suppress(ValueError):  # left in another thread than it was entered in
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
