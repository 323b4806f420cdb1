"""A piece of work in parts that several processes share: each part is claimed, done once, and not done again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from sgm_lightning.run.claims import Claims

Part = TypeVar("Part")


class Parts(Generic[Part]):
    """Iterates over the parts that are still to do; each is claimed from when it is handed out until the next is asked for.

    Every process that shares the work has one, and knows of the others by files alone: by their claims, and by the results
    that `done` looks for. A process takes the next part that is neither done nor claimed.

    Args:
        parts: The parts, in the order in which they are handed out.
        done: Says whether a part's result is there, whoever made it.
        claims: The claims of this process.
        name: Gives the name of a part's claim.
        wait: Whether to wait for the parts that other processes have claimed, and to take over those of a process that
            dies. All parts are done in the end then; otherwise what others have claimed is left to them.
        check: Called while waiting; may raise to leave.
        poll: Seconds between two looks while waiting.
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
        """An upper bound."""
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
    """Sleep, and call `check` meanwhile; it may raise."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        check()
        with suppress(InterruptedError):
            time.sleep(min(0.1, seconds))
