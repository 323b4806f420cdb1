"""Signals that ask a run to stop: it ends soon, loses nothing finished, and can be resumed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h
PEER = getattr(signal, "SIGUSR2", signal.SIGTERM)  # what the processes of a job pass on to one another
_ECHO_SECONDS = 1.0  # launchers pass a signal on: what comes so soon is the same request


class Interrupted(BaseException):
    """A signal asked the run to stop. Like `KeyboardInterrupt` it is no `Exception`, so that no handler swallows it."""


class StopSignals:
    """Makes SIGTERM, SIGINT and SIGUSR1 (Slurm's early warning) raise `Interrupted`, at once or at the next `check`.

    A signal that comes again later than a second after the first ends the process at once.

    Attributes:
        deferred: Whether `Interrupted` waits for the next `check`, as while a chunk is drawn.
        on_signal: Function that the handler calls, to pass the signal on.
    """

    NUMBERS = (*(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)), PEER)

    def __init__(self) -> None:
        self.received: str | None = None
        self.deferred = False
        self.on_signal: Callable[[], None] = lambda: None
        self._when = 0.0

    def install(self) -> None:
        """Install the handlers in place of any others, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in self.NUMBERS:
                signal.signal(number, self._handle)

    @contextmanager
    def handling(self, for_good: bool = False) -> Iterator[None]:
        """Install the handlers inside the block and restore the previous ones after it.

        With `for_good`, the signals are ignored after a failure instead.
        """
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
        """Ask the run to stop as a signal would, from any thread. It takes effect at the next `check`."""
        if self.received is None:
            self.received, self._when = reason, time.monotonic()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if number != PEER and time.monotonic() - self._when > _ECHO_SECONDS:
                # Not `print`: the signal may have come in the middle of one.
                os.write(
                    2, f"interrupted ({signal.Signals(number).name} received again): this process ends at once.\n".encode()
                )
                os._exit(EXIT_RESUMABLE)
            return
        self.stop("signal of another process" if number == PEER else signal.Signals(number).name)
        self.on_signal()
        if not self.deferred:
            self.check()


stop_signals = StopSignals()
