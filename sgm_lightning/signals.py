"""Signals that ask a run to stop: it ends soon, loses nothing finished, and says that it can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h


class Interrupted(BaseException):
    """A signal asked the run to stop. Not an `Exception`, so that nobody swallows it (as `KeyboardInterrupt`)."""


class StopSignals:
    """SIGTERM, SIGINT and SIGUSR1 (Slurm's early warning) raise `Interrupted`: at once, or at the next `check`.

    Attributes:
        deferred: Whether to wait for the next `check`, as while a chunk is drawn.
        on_signal: Called in the handler, to pass the signal on.
    """

    NUMBERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

    def __init__(self) -> None:
        self.received: str | None = None
        self.deferred = False
        self.on_signal: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Put our handlers in place, whatever was there."""
        if threading.current_thread() is threading.main_thread():
            for number in self.NUMBERS:
                signal.signal(number, self._handle)

    @contextmanager
    def handling(self, for_good: bool = False) -> Iterator[None]:
        """Our handlers inside, the previous ones afterwards; after a failure `for_good`, signals are ignored."""
        before: dict[int, Any] = {number: signal.getsignal(number) for number in self.NUMBERS}
        self.received, self.deferred, self.on_signal = None, False, lambda: None
        self.install()
        failed = True
        try:
            yield
            failed = False
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, signal.SIG_IGN if for_good and failed else handler)

    def check(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self.received is not None:
            raise Interrupted(f"{self.received} received")

    def stop(self, reason: str) -> None:
        """As if a signal had come, from any thread; takes effect at the next `check`."""
        self.received = self.received or reason

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = signal.Signals(number).name
        self.on_signal()
        if not self.deferred:
            self.check()


stop_signals = StopSignals()
