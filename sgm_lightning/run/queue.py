"""The chunks that are still to draw, shared out as workers become free."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from sgm_lightning.errors import SGMError
from sgm_lightning.run.claims import Claims
from sgm_lightning.run.run_dir import RunDir

_MERGE = "merge"
_CHUNK = "chunk-"


class ChunkQueue:
    """Iterates over chunk numbers to draw, each claimed, until all are drawn *and merged*.

    Every worker of a run has one, and knows of the others by files alone. A worker takes the next chunk that is neither
    drawn nor claimed; without any left, it waits for the others' last chunks, to take over those of a worker that dies.
    Whoever then comes first merges. A chunk that the merge finds damaged is to draw again.

    Args:
        run: The run, opened.
        num_samples: N.
        chunk_size: Samples a chunk.
        claims: The claims of this worker; default in the run's folder.
        check: Called while waiting and merging; may raise to leave.
        poll: Seconds between two looks while waiting.

    Attributes:
        missing: Chunks that were not drawn when the queue was made.
    """

    MAX_MERGES = 3

    def __init__(
        self,
        run: RunDir,
        num_samples: int,
        chunk_size: int,
        claims: Claims | None = None,
        check: Callable[[], None] = lambda: None,
        poll: float = 0.5,
    ) -> None:
        self.run, self.num_samples, self.check, self.poll = run, num_samples, check, poll
        self.num_chunks = -(-num_samples // chunk_size)
        self.claims = claims or Claims(run.claims)
        self.missing = self._scan()

    def __len__(self) -> int:
        """An upper bound."""
        return self.num_chunks * self.MAX_MERGES

    def __iter__(self) -> Iterator[int]:
        missing: set[int] | None = self.missing
        for _ in range(self.MAX_MERGES):
            yield from self._take(missing or set())
            missing = self._merge_or_wait()
            if missing is None:
                return
        raise SGMError(
            f"Chunks {sorted(missing or ())} of {self.run.path} failed their checksum after being drawn {self.MAX_MERGES} "
            "times; the disk or the memory is faulty, move the run_dir to another one."
        )

    def close(self) -> None:
        """Give back the claims."""
        self.claims.close()

    def _scan(self) -> set[int]:
        self.run.discard_torn()
        return set(range(self.num_chunks)) - self.run.finished(self.num_chunks)

    def _take(self, missing: set[int]) -> Iterator[int]:
        left = deque(sorted(missing))
        while left:
            drawn = False
            for _ in range(len(left)):
                number = left.popleft()
                name = f"{_CHUNK}{number:06d}"
                if self.run.has(number):
                    continue
                if not self.claims.take(name):
                    left.append(number)
                    continue
                try:
                    if not self.run.has(number):  # drawn between the look and the claim
                        yield number
                        drawn = True
                finally:
                    self.claims.release(name)
            if left and not drawn:
                self._wait()

    def _merge_or_wait(self) -> set[int] | None:
        """None once the run is merged; else the chunks that the merge found missing or damaged."""
        while not self.run.merged(self.num_samples):
            if self.claims.take(_MERGE):
                try:
                    missing = self._scan()
                    if not missing and not self.run.merged(self.num_samples):
                        missing = self.run.merge(self.num_samples, self.num_chunks, self.check)
                        self.claims.sweep(self._drawn)
                    return missing or None
                finally:
                    self.claims.release(_MERGE)
            self._wait()
        return None

    def _drawn(self, name: str) -> bool:
        number = name.removeprefix(_CHUNK)
        return number.isdecimal() and self.run.has(int(number))

    def _wait(self) -> None:
        until = time.monotonic() + self.poll
        while time.monotonic() < until:
            self.check()
            with suppress(InterruptedError):
                time.sleep(min(0.1, self.poll))
