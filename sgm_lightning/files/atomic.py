"""Files that exist whole or not at all."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from sgm_lightning.errors import SGMError
from sgm_lightning.files.process import Process, current

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)-(?P<started>\d+)-\d+\.tmp")
_FOREIGN_LEFTOVER_SECONDS = 3600.0


def cannot_write(path: Path, error: OSError) -> SGMError:
    """The error for a file of a run that cannot be written."""
    return SGMError(
        f"{path} cannot be written ({error.strerror}); make space or the folder writable, then repeat the command to "
        "resume, or choose another run_dir."
    )


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any], exclusive: bool = False) -> bool:
    """Let `write` fill a temporary file beside `path`, bring it to the disk, and rename it.

    Args:
        path: The file.
        write: Writes the content.
        exclusive: Leave an existing file as it is.

    Returns:
        Whether the file is this one.

    Raises:
        SGMError: If the disk refuses; nothing is left behind then.
    """
    me = current()
    owner = f"{me.host}.{me.pid}-{me.started}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.name}.{owner}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
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


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written: those of this host at once, others after an hour."""
    me = current()
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None:
            continue
        try:
            writer = Process(match["host"], int(match["pid"]), int(match["started"]))
            age = time.time() - path.stat().st_mtime
            if writer.gone() or (writer.host != me.host and age > _FOREIGN_LEFTOVER_SECONDS):
                path.unlink(missing_ok=True)
        except OSError:  # another process was quicker, or the folder is read-only
            continue


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk; file systems that know no such thing refuse, harmlessly."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
