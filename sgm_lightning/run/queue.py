"""Hands the chunks that are still to draw to workers as they become free."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from sgm_lightning.errors import SGMError
from sgm_lightning.run.claims import Claims
from sgm_lightning.run.parts import Parts, pause
from sgm_lightning.run.run_dir import RunDir

_MERGE = "merge"
_CHUNK = "chunk-"


class ChunkQueue:
    """Iterates over chunk numbers to draw, each claimed, until all are drawn *and merged*.

    Every worker of a run has its own queue. The chunks are the `Parts` of the run; all workers wait until every chunk is
    drawn, and the first one then merges. Chunks that the merge finds damaged are drawn again.

    Args:
        run: Folder of the run, already opened.
        num_samples: Number of samples, N.
        chunk_size: Number of samples in a chunk.
        claims: Claims of this worker; by default those in the run's folder.
        check: Function that is called while waiting and merging; it may raise to stop.
        poll: Seconds between two checks while waiting.

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
        self.num_chunks = math.ceil(num_samples / chunk_size)
        self.claims = claims or Claims(run.claims)
        self.missing = self._scan()

    def __len__(self) -> int:
        """Return an upper bound."""
        return self.num_chunks * self.MAX_MERGES

    def __iter__(self) -> Iterator[int]:
        missing: set[int] | None = self.missing
        for _ in range(self.MAX_MERGES):
            yield from Parts(sorted(missing or ()), self.run.has, self.claims, _claim, check=self.check, poll=self.poll)
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
        return set(range(self.num_chunks)) - self.run.discard_torn()

    def _merge_or_wait(self) -> set[int] | None:
        """Return None once the run is merged, else the chunks that the merge found missing or damaged."""
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
            pause(self.poll, self.check)
        return None

    def _drawn(self, name: str) -> bool:
        number = name.removeprefix(_CHUNK)
        return number.isdecimal() and self.run.has(int(number))


def _claim(number: int) -> str:
    return f"{_CHUNK}{number:06d}"
