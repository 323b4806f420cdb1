"""Reads files that may be something else: a pipe would be waited for, forever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: str | Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: If the file cannot be read, or is a pipe, a device or a folder.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return Path(path).read_bytes()
