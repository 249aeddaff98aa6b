"""SIGINT and SIGTERM: the first one asks for an orderly stop, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupts"]


class Interrupts:
    """While it is open, the first signal sets ``asked``; use it as a context manager, on the main thread.

    Elsewhere it does nothing: signals are the main thread's. One that is open inside of another, as that of a run
    inside of that of a tuning, takes over what was asked and hands on what is asked of it.

    Args:
        last: called before the process ends at the second signal.
    """

    def __init__(self, last: Callable[[], None]) -> None:
        self.asked: signal.Signals | None = None
        self._last = last
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        for outer in self._outer():
            self.asked = self.asked or outer.asked
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for outer in self._outer():
            outer.asked = outer.asked or self.asked

    def _outer(self) -> set[Interrupts]:
        """Those that this one is open inside of."""
        owners = (getattr(handler, "__self__", None) for handler in self._before.values())
        return {owner for owner in owners if isinstance(owner, Interrupts)}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.asked is not None:
            self._last()
            os._exit(128 + number)
        self.asked = signal.Signals(number)
        # Straight to the terminal: the program may be in the middle of a print, which must not be entered twice.
        os.write(
            2, f"\n{self.asked.name}: finishing this round, then saving; once more to end at once\n".encode()
        )
