"""Images in files: a folder, or a CSV of paths and labels."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.images.base import Images
from sgm_lightning.images.decode import read_pixels
from sgm_lightning.images.listing import image_files


class _Files(Images):
    """Image files and the name of the class of each, or None."""

    def __init__(self, files: Sequence[Path], classes: Sequence[str] | None, name: str) -> None:
        # One block of bytes: a list of objects would be copied to every worker, page by page, as it is read.
        self._files = np.array([os.fsencode(file) for file in files])
        self.name = name
        if classes is not None:
            self.class_names = sorted(set(classes), key=_by_number)
            number = {name: i for i, name in enumerate(self.class_names)}
            self.labels = torch.tensor([number[name] for name in classes])

    def __len__(self) -> int:
        return len(self._files)

    def place(self, index: int) -> str:
        return os.fsdecode(self._files[index])

    def picture(self, index: int) -> np.ndarray:
        return read_pixels(Path(self.place(index)))

    def cache_key(self) -> str:
        digest = hashlib.sha256()
        for file in map(Path, map(self.place, range(len(self)))):
            try:
                state = file.stat()
            except OSError:
                digest.update(os.fsencode(file) + b" missing")
            else:
                digest.update(os.fsencode(file.resolve()) + f" {state.st_size} {state.st_mtime_ns}".encode())
        return digest.hexdigest()


class ImageFolder(_Files):
    """All image files below a folder, in order of their paths.

    Args:
        path: Folder with the files, in subfolders or not.
        classes: Source of the classes. `auto`: by subfolder if there are several, else none; `subfolder`: the first folder
            below the path; `prefix`: the file's name up to the first underscore, as in ADM; `none`.
        limit: Number of images to use, from the first one on.
        name: Name of the set in reports; default the folder's name.

    Raises:
        SGMError: If there are no images, or files without a class.
    """

    def __init__(
        self,
        path: str,
        classes: Literal["auto", "subfolder", "prefix", "none"] = "auto",
        limit: int | None = None,
        name: str | None = None,
    ) -> None:
        folder = Path(path)
        files = image_files(folder)[:limit]
        names: list[str] | None = None
        if classes == "prefix":
            names = [file.name.split("_")[0] for file in files]
        elif classes != "none":
            names = [file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files]
            if classes == "auto" and ("" in names or len(set(names)) < 2):
                names = None
            elif names and "" in names:
                stray = files[names.index("")]
                raise SGMError(f"{stray} lies in no subfolder, which would be its class; move it or set `classes: none`.")
        super().__init__(files, names, name or folder.name)


class CSVImages(_Files):
    """Image files that are listed in a CSV with a header line.

    Args:
        file: Path of the CSV file.
        root: Folder that the paths are relative to; default the CSV's folder.
        path_column: Column of the paths.
        label_column: Column of the classes; no labels if there is no such column.

    Raises:
        SGMError: If the file or the column is missing.
    """

    def __init__(self, file: str, root: str | None = None, path_column: str = "path", label_column: str = "label") -> None:
        table = Path(file)
        columns, rows = _table(table)
        if not rows or path_column not in columns:
            found = ", ".join(columns) if rows else "no rows"
            raise SGMError(f"{table} must have rows with a column {path_column}, got {found}; set `path_column`.")
        wanted = [path_column, label_column] if label_column in columns else [path_column]
        for line, row in rows:
            if missing := [column for column in wanted if not (row[column] or "").strip()]:
                raise SGMError(f"Every row of {table} must have a {missing[0]}, got none in line {line}; fill it in.")
        folder = table.parent if root is None else Path(root)
        super().__init__(
            [folder / row[path_column] for _, row in rows],
            [row[label_column] for _, row in rows] if label_column in columns else None,
            table.name,
        )


def _table(file: Path) -> tuple[Sequence[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns of a CSV, and its rows with line numbers. A byte-order mark, as of spreadsheets, is left out."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SGMError(
            f"{file} cannot be read ({reason_of(error)}); check the path, and that it is a CSV in UTF-8."
        ) from None
    return reader.fieldnames or [], rows


def _by_number(name: str) -> tuple[bool, float, str]:
    """Return a sort key that puts classes that are numbers first, in order of the numbers: 0, 1, 2, 10; 0.0, 1.0, 10.0."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (not math.isfinite(number), number if math.isfinite(number) else 0.0, name)
