"""Shares a piece of work among processes: each of its parts is claimed, done once, and not done again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from sgm_lightning.run.claims import Claims

Part = TypeVar("Part")


class Parts(Generic[Part]):
    """Iterates over the parts that are still to do. A part is claimed from its handing out until the next part is asked for.

    Every process that shares the work has its own `Parts`. It learns about the others only from files: from their claims,
    and from the results that `done` looks for. A process takes the next part that is neither done nor claimed.

    Args:
        parts: Parts in the order in which they are handed out.
        done: Function that returns whether a part's result exists, whichever process made it.
        claims: Claims of this process.
        name: Function that returns the name of a part's claim.
        wait: Whether to wait for parts that other processes have claimed, and to take over those of a process that dies.
            Then all parts are done in the end; otherwise claimed parts are left to the other processes.
        check: Function that is called while waiting; it may raise to stop.
        poll: Seconds between two checks while waiting.
    """

    def __init__(
        self,
        parts: Iterable[Part],
        done: Callable[[Part], bool],
        claims: Claims,
        name: Callable[[Part], str],
        wait: bool = True,
        check: Callable[[], None] = lambda: None,
        poll: float = 0.5,
    ) -> None:
        self.parts, self.done, self.claims, self.name = list(parts), done, claims, name
        self.wait, self.check, self.poll = wait, check, poll

    def __len__(self) -> int:
        """Return an upper bound."""
        return len(self.parts)

    def __iter__(self) -> Iterator[Part]:
        left = deque(self.parts)
        while left:
            worked = False
            for _ in range(len(left)):
                part = left.popleft()
                if self.done(part):
                    continue
                if not self.claims.take(self.name(part)):
                    left.append(part)
                    continue
                try:
                    if not self.done(part):  # done between the look and the claim
                        yield part
                        worked = True
                finally:
                    self.claims.release(self.name(part))
            if not self.wait:
                return
            if left and not worked:
                pause(self.poll, self.check)


def pause(seconds: float, check: Callable[[], None]) -> None:
    """Sleep, calling `check` meanwhile, which may raise."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        check()
        with suppress(InterruptedError):
            time.sleep(min(0.1, seconds))
