"""Claims on pieces of work: one small file for each claim, kept fresh by its holder."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sgm_lightning.files.atomic import cannot_write
from sgm_lightning.files.process import Process, current
from sgm_lightning.files.regular import read_regular


class Claims:
    """Claims in a folder that processes of several hosts share.

    A claim avoids duplicate work but protects no data. If two processes hold the same claim (a host slept, a file server
    lagged), both write the same bytes, each file in one rename.

    A claim counts as dead when its process is known to have ended (same host, or an earlier start of the same Slurm job), or
    when its file has not been touched for `stale` seconds of this process's own time. Clocks of different hosts are never
    compared.

    Args:
        folder: Folder of the claim files.
        heartbeat: Seconds between touches of the held claims.
        stale: Seconds without a touch after which a claim counts as dead.
    """

    def __init__(self, folder: Path, heartbeat: float = 10.0, stale: float = 60.0) -> None:
        self.folder, self.heartbeat, self.stale = folder, heartbeat, stale
        self._held: dict[str, str] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> bool:
        """Claim `name`; return False if another process holds the claim.

        Raises:
            SGMError: If the folder cannot be written.
        """
        path = self.folder / name
        token = uuid.uuid4().hex
        try:
            for _ in range(2):
                if self._create(path, token):
                    self._held[name] = token
                    self._seen.pop(name, None)
                    self._beat()
                    return True
                content = _content(path)
                if not self._dead(path, content):
                    return False
                self._remove(path, content)
        except OSError as error:
            raise cannot_write(path, error) from None
        return False

    def release(self, name: str) -> None:
        """Give a claim back, unless another process has taken it over."""
        token = self._held.pop(name, None)
        path = self.folder / name
        if token is not None and _content(path).get("token") == token:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def holds(self, name: str) -> bool:
        """Return whether this process still holds its claim; while the file cannot be read it does."""
        path = self.folder / name
        if content := _content(path):
            return name in self._held and content.get("token") == self._held[name]
        try:
            path.stat()
        except FileNotFoundError:
            return False
        except OSError:  # of the disk, perhaps passing
            pass
        return name in self._held

    def holder(self, name: str) -> tuple[Process, int] | None:
        """Return the process that holds a claim and when, in nanoseconds, it last gave a sign of life; None if none does."""
        path = self.folder / name
        content = _content(path)
        try:
            return _process(content), path.stat().st_mtime_ns
        except (OSError, TypeError):
            return None

    def any_alive(self) -> bool:
        """Return whether any process holds a claim, as far as this one can tell."""
        try:
            paths = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return False
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        return any(not self._dead(path, _content(path)) for path in paths)

    def remove_ended(self) -> None:
        """Remove the claims of processes that are known to have ended, and what they left when they removed a claim."""
        with contextlib.suppress(OSError):  # they are taken over otherwise
            for path in self.folder.iterdir():
                content = _content(path)
                with contextlib.suppress(TypeError):
                    if _process(content).gone():
                        self._remove(path, content)

    def sweep(self, done: Callable[[str], bool]) -> None:
        """Remove the claims of all processes on work that is done."""
        for path in self.folder.iterdir():
            if done(path.name.lstrip(".").split(".")[0]):  # a removal cut short leaves `.NAME.…`
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give back all claims."""
        self._stop.set()
        for name in list(self._held):
            self.release(name)

    @staticmethod
    def _create(path: Path, token: str) -> bool:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, json.dumps({**asdict(current()), "token": token}).encode())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return True

    def _dead(self, path: Path, content: dict[str, Any]) -> bool:
        try:
            modified = path.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        now = time.monotonic()
        known, since = self._seen.get(path.name, (None, now))
        if modified != known:
            self._seen[path.name] = (modified, now)
            since = now
        try:
            return _process(content).gone() or now - since > self.stale
        except TypeError:  # being written, or cut short by a full disk
            return now - since > self.stale

    @staticmethod
    def _remove(path: Path, content: dict[str, Any]) -> None:
        """Remove the dead claim with that content; if several processes try, exactly one removes it."""
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return
        if _content(aside) != content:  # another process was quicker, and this is its fresh claim
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)

    def _beat(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(target=self._touch, daemon=True, name="claims")
            self._thread.start()

    def _touch(self) -> None:
        while not self._stop.wait(self.heartbeat):
            for name in list(self._held):
                with contextlib.suppress(OSError):  # the disk is unavailable: the next write raises
                    if self.holds(name):
                        os.utime(self.folder / name)


def _process(content: dict[str, Any]) -> Process:
    """Return the process in the content of a claim; raise TypeError if it is being written, cut short, or damaged."""
    found = Process(**{key: value for key, value in content.items() if key != "token"})
    for name, value in asdict(found).items():
        if type(value) is not (str if name in ("host", "job") else int):
            raise TypeError(f"{name}: {value!r}")
    return found


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a claim file; it is empty while the file is being written and after it is gone."""
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
