"""Identifies the current process, and detects whether another one has ended."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process, as it is recorded for the other processes of a run.

    Attributes:
        host: Host name with, where the system provides them, its boot id and pid namespace, because cloned machines and
            containers may share a name.
        pid: Process id on its host.
        started: Start time in clock ticks, which distinguishes a reused pid; 0 if unknown.
        job: Slurm job id, or an empty string.
        restart: Number of times that Slurm has requeued the job.
    """

    host: str
    pid: int
    started: int = 0
    job: str = ""
    restart: int = 0

    def gone(self) -> bool:
        """Return whether the process has certainly ended; False if this host cannot tell."""
        me = current()
        if self.job and self.job == me.job and self.restart < me.restart:
            return True
        return self.host == me.host and started(self.pid) not in (None, self.started)


def started(pid: int) -> int | None:
    """Return the start time of a living process of this host; −1 if there is none, None if the time is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has a number as large
        return -1
    except OSError:
        pass
    return None


@cache
def _current(pid: int) -> Process:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        host = f"{socket.gethostname()}-{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        host = socket.gethostname()
    return Process(
        host=re.sub(r"[^\w-]", "_", host),  # it is part of file names whose parts are separated by dots
        pid=pid,
        started=started(pid) or 0,
        job=os.environ.get("SLURM_JOB_ID", ""),
        restart=int(restart) if (restart := os.environ.get("SLURM_RESTART_COUNT", "")).isdecimal() else 0,
    )


def current() -> Process:
    """Return the current process."""
    return _current(os.getpid())
