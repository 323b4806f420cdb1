"""Who is at work on what: one small file a claim, kept fresh by its holder."""

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


class Claims:
    """Claims in a folder that processes of several hosts share.

    A claim saves work; it guards nothing. Should two processes hold the same one (a host slept, a file server lagged),
    both write the same bytes, each file in one rename.

    A claim is given up for dead when its process is known to be gone (same host, or an earlier start of the same Slurm
    job), or when its file has not been touched for `stale` seconds of this process's own time: clocks of hosts are never
    compared.

    Args:
        folder: Where the claim files are.
        heartbeat: Seconds between touches of the claims held.
        stale: Seconds without a touch after which a claim is dead.
    """

    def __init__(self, folder: Path, heartbeat: float = 10.0, stale: float = 60.0) -> None:
        self.folder, self.heartbeat, self.stale = folder, heartbeat, stale
        self._held: dict[str, str] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> bool:
        """Claim `name`; False if another process holds it.

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
        """Give a claim back, unless another process took it over."""
        token = self._held.pop(name, None)
        path = self.folder / name
        if token is not None and _content(path).get("token") == token:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def sweep(self, done: Callable[[str], bool]) -> None:
        """Remove the claims, whose ever they are, on what is done."""
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
            owner = {key: value for key, value in content.items() if key != "token"}
            return Process(**owner).gone() or now - since > self.stale
        except TypeError:  # being written, or cut short by a full disk
            return now - since > self.stale

    @staticmethod
    def _remove(path: Path, content: dict[str, Any]) -> None:
        """Remove the dead claim of that content; of several processes that try, one does."""
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
                with contextlib.suppress(OSError):  # taken over, or the disk is away: the writer will tell
                    os.utime(self.folder / name)


def _content(path: Path) -> dict[str, Any]:
    """What a claim file says; empty while it is being written or after it has gone."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
