"""The image files below a folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from sgm_lightning.errors import SGMError

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".avif", ".jp2"),
    *(".tif", ".tiff", ".pgm", ".ppm", ".pnm"),
}
_OF_SYSTEMS = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # made by operating systems, beside names with a dot


def image_files(root: Path) -> list[Path]:
    """Return all image files below a folder, in order of their paths; links are followed, loops of links are not.

    A warning tells of hidden files and folders, those of operating systems, and files of other kinds, which are left out.

    Raises:
        SGMError: If a folder cannot be read, or there are no image files.
    """
    if not root.is_dir():
        raise SGMError(f"There is no folder {root}; check the path.")
    hidden: list[Path] = []
    others: list[Path] = []
    files = []
    for file in _walk(root, (), hidden):
        if file.suffix.lower() in SUFFIXES:
            files.append(file)
        else:
            others.append(file)
    for left_out, kind in ((hidden, "hidden or belong to an operating system"), (others, "no images by their names")):
        if left_out:
            warnings.warn(
                f"{len(left_out)} entries of {root} are {kind} and are left out, e.g. {left_out[0].name}.", stacklevel=3
            )
    if not files:
        raise SGMError(f"The folder {root} holds no images ({', '.join(sorted(SUFFIXES))}); check the path.")
    return sorted(files)


def _walk(folder: Path, above: tuple[tuple[int, int], ...], hidden: list[Path]) -> Iterator[Path]:
    """Yield the files below a folder; `above` identifies the folders on the way to it."""
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SGMError(
            f"The folder {folder} cannot be read ({error.strerror}); change its permissions or move it."
        ) from None
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name in _OF_SYSTEMS:
            hidden.append(path)
        elif entry.is_dir():
            yield from _walk(path, (*above, here), hidden)
        else:
            yield path
