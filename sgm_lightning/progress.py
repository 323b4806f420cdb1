"""Progress of a long piece of work: a bar on a terminal, a line from time to time in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

_REFRESH_SECONDS = 0.2  # of a bar


class Progress:
    """Shows the part of the work that is done, its rate and the time left, on stderr.

    On a terminal this is a bar. Elsewhere, as in the log of a job, it is a line when the first part is done, every
    `seconds` after it, and at the end.

    Args:
        what: Name of the work, e.g. "Sampling".
        total: Amount of work.
        unit: Unit of the amount, e.g. "images".
        done: Amount that was done before, which does not count for the rate.
        shown: Whether to show anything.
        rate_unit: Unit of the rate, if it is another one.
        per_unit: Number of these in a unit of work.
        seconds: Seconds between two lines.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        what: str,
        total: float,
        unit: str,
        done: float = 0,
        shown: bool = True,
        rate_unit: str | None = None,
        per_unit: float = 1,
        seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit, self.done, self.shown = what, total, unit, min(done, total), shown
        self.rate_unit, self.per_unit = rate_unit or unit, per_unit
        self.seconds, self.clock = seconds, clock
        self._before, self._begun = self.done, clock()
        self._told: float | None = None  # when something was shown last
        self._ended = self.done >= total
        self._bar = None
        if shown and sys.stderr.isatty():
            form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}{postfix}]"
            self._bar = tqdm(total=total, initial=self.done, desc=what, bar_format=form)

    def advance(self, amount: float, note: str = "") -> None:
        """Count a piece of work as done, and show a note, e.g. the loss, beside it."""
        self.move_to(self.done + amount, note)

    def move_to(self, done: float, note: str = "") -> None:
        """Count so much work as done; it never becomes less."""
        self.done = max(self.done, min(done, self.total))
        if not self.due() or self.done == self._before:
            return
        if self._bar is None:
            self._tell(note)
            return
        self._bar.set_postfix_str("".join(f", {part}" for part in (self._rate(), note) if part), refresh=False)
        self._bar.update(self.done - self._bar.n)
        self._told, self._ended = self.clock(), self.done >= self.total

    def due(self) -> bool:
        """Return whether it is time to show something; a note that is costly to make may wait for it."""
        wait = self.seconds if self._bar is None else _REFRESH_SECONDS
        if not self.shown or self._ended:
            return False
        return self._told is None or self.clock() - self._told >= wait or self.done >= self.total

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
        self.shown, self._bar = False, None

    def _rate(self) -> str:
        seconds, done = self.clock() - self._begun, self.done - self._before
        return f"{done * self.per_unit / seconds:.3g} {self.rate_unit}/s" if seconds > 0 and done > 0 else ""

    def _tell(self, note: str) -> None:
        seconds, done = self.clock() - self._begun, self.done - self._before
        left = duration(seconds * (self.total - self.done) / done) + " left" if done > 0 and self.done < self.total else ""
        facts = ", ".join(part for part in (self._rate(), note, left) if part)
        amount = f"{self.done:.0f} of {self.total:.0f} {self.unit}"
        print(f"{self.what}: {', '.join(part for part in (amount, facts) if part)}", file=sys.stderr, flush=True)
        self._told, self._ended = self.clock(), self.done >= self.total


def say(line: str) -> None:
    """Print a line on stderr, above a bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def duration(seconds: float) -> str:
    """Return a time in its two largest units, e.g. `1 h 05 min`."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes else f"{int(seconds)} s"
