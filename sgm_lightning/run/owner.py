"""The ownership of a folder that one process alone may write."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import make_folder
from sgm_lightning.files.process import current
from sgm_lightning.run.claims import Claims
from sgm_lightning.run.parts import pause

_NAME = "owner"


class Owner:
    """Makes this process the only one that writes a run folder, by a claim that it keeps fresh.

    A process that has ended loses its folder to the next one at once if that can tell, else after `Claims.stale` seconds
    without a sign of life. So does one that was frozen: `check` raises once it wakes.

    Args:
        folder: Folder of the run.
        claims: Claims of this process; default: those in the folder.
    """

    def __init__(self, folder: Path, claims: Claims | None = None) -> None:
        self.folder = folder
        self.claims = claims or Claims(folder / "claims")

    def take(self, check: Callable[[], None] = lambda: None, tell: Callable[[str], object] = print) -> None:
        """Own the folder.

        Args:
            check: Function that is called while waiting to see whether another owner lives; it may raise to stop.
            tell: Function that prints why this waits.

        Raises:
            SGMError: If another process owns the folder, or it cannot be written.
        """
        make_folder(self.claims.folder)
        first: int | None = None
        while not self.claims.take(_NAME):
            holder = self.claims.holder(_NAME)
            if holder is not None:
                process, touched = holder
                here = process.host == current().host
                fresh = here and time.time() - touched / 1e9 < 2 * self.claims.heartbeat
                if fresh or touched != (first or touched):
                    place = "" if here else f" on {process.host}"
                    raise SGMError(
                        f"run_dir {self.folder} must have one owner, and process {process.pid}{place} is at work in it; "
                        "wait for its end, or choose another run_dir."
                    )
                if first is None:
                    tell(f"Waiting up to {self.claims.stale:.0f} s to see whether process {process.pid} still lives.")
                first = touched
            pause(0.2, check)

    def check(self) -> None:
        """Raise if another process has taken the folder over.

        Raises:
            SGMError: If this process is not the owner any more.
        """
        if not self.claims.holds(_NAME):
            raise SGMError(
                f"run_dir {self.folder} has another owner, since this process gave no sign of life for "
                f"{self.claims.stale:.0f} s; it ends and writes nothing more."
            )

    def close(self) -> None:
        """Give the folder back."""
        self.claims.close()
