"""Writes files whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sgm_lightning.errors import SGMError
from sgm_lightning.files.process import Process, current

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)-(?P<started>\d+)-\d+\.tmp")
_FOREIGN_LEFTOVER_SECONDS = 3600.0
_FOLDER_HINT = "make space or the folder above it writable"


def cannot_write(path: Path, error: OSError) -> SGMError:
    """Return the error for a file of a run that cannot be written."""
    return SGMError(
        f"{path} cannot be written ({error.strerror}); make space or the folder writable, then repeat the command to "
        "resume, or choose another run_dir."
    )


def make_folder(folder: Path, hint: str = _FOLDER_HINT) -> None:
    """Make a folder and its parents, unless they exist.

    Args:
        folder: Folder to make.
        hint: Remedy that the error names.

    Raises:
        SGMError: If the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SGMError(f"{folder} cannot be made ({error.strerror}); {hint}.") from None


def write(
    path: Path,
    data: bytes | memoryview | str,
    exclusive: bool = False,
    new_folder: bool = True,
    hint: str = _FOLDER_HINT,
    last_check: Callable[[], object] = lambda: None,
) -> bool:
    """Write a file whole or not at all, making its folder if needed.

    Args:
        path: File to write.
        data: Content of the file; text is written as UTF-8.
        exclusive: Whether to leave an existing file as it is.
        new_folder: Whether to make the folder. Files of a run pass False, so that a folder removed during the run stays
            removed.
        hint: Remedy that the error names when the folder cannot be made.
        last_check: Function that is called right before the file gets its name; it may raise.

    Returns:
        Whether the file was written: False only if `exclusive` is set and the file exists.

    Raises:
        SGMError: If the file cannot be written; no temporary file is left behind then.
    """
    if new_folder:
        make_folder(path.parent, hint)
    content = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    return write_atomically(path, lambda file: file.write(content), exclusive, last_check)


def write_atomically(
    path: Path,
    fill: Callable[[IO[bytes]], Any],
    exclusive: bool = False,
    last_check: Callable[[], object] = lambda: None,
) -> bool:
    """Let `fill` write a temporary file beside `path`, flush it to the disk, and rename it.

    Args:
        path: File to write.
        fill: Function that writes the content; the folder must exist.
        exclusive: Whether to leave an existing file as it is.
        last_check: Function that is called right before the file gets its name; it may raise.

    Returns:
        Whether the file was written: False only if `exclusive` is set and the file exists.

    Raises:
        SGMError: If the file cannot be written; no temporary file is left behind then.
    """
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        last_check()
        if exclusive:
            os.link(temporary, path)  # unlike a rename, fails where the file exists
        else:
            os.replace(temporary, path)
        _sync_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    return True


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and rename it once it is filled; an error removes it.

    Raises:
        SGMError: If the folder cannot be written, or another one of its name is not empty.
    """
    make_folder(path.parent)
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise SGMError(
            f"{path} cannot be written ({error.strerror}); make space or the folder above it writable, or give another name."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a name beside `path` that tells which process uses it."""
    me = current()
    return path.with_name(f".{path.name}.{me.host}.{me.pid}-{me.started}-{threading.get_ident()}.tmp")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders of killed processes: those of this host at once, others after an hour."""
    me = current()
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None:
            continue
        try:
            writer = Process(match["host"], int(match["pid"]), int(match["started"]))
            age = time.time() - path.stat().st_mtime
            if writer.gone() or (writer.host != me.host and age > _FOREIGN_LEFTOVER_SECONDS):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError:  # another process was quicker, or the folder is read-only
            continue


def _sync_folder(folder: Path) -> None:
    """Flush a rename to the disk; file systems without this operation refuse, which is harmless."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
