"""Turns parts of a configuration into JSON types that a manifest can hold and compare."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sgm_lightning.errors import SGMError
from sgm_lightning.files.digest import files_sha256
from sgm_lightning.files.locate import locate
from sgm_lightning.run.manifest import FILE

_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def plain(value: Any, key: str = "") -> Any:
    """Convert namespaces and other types to JSON types.

    Args:
        value: Configuration, or a part of it.
        key: Dotted key of the part, for errors.

    Raises:
        SGMError: If a number is NaN, which equals nothing, itself included: such a run could never be resumed.
    """
    if hasattr(value, "as_dict"):
        value = value.as_dict()
    if isinstance(value, dict):
        return {str(k): plain(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, key) for v in value]
    if isinstance(value, float) and math.isnan(value):
        raise SGMError(f"Settings must not be NaN, got {key}: nan; give a number, or leave the setting out.")
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def without(value: Any, keys: Collection[str]) -> Any:
    """Return a configuration without the keys of these names, at any depth of mappings."""
    if isinstance(value, dict):
        return {k: without(v, keys) for k, v in value.items() if k not in keys}
    return value


def by_bytes(value: Any) -> Any:
    """Replace every name of a file, or of a folder that holds weights, by a digest."""
    if isinstance(value, dict):
        return {key: inside if key == "class_path" else by_bytes(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [by_bytes(inside) for inside in value]
    files = _files(value) if isinstance(value, str) else []
    return FILE + files_sha256(files) if files else value


def _files(name: str) -> list[Path]:
    """Return the file of that name, or the weights in the folder of that name, if there are any."""
    try:
        path = Path(locate(name))
        if path.is_file():
            return [path]
        # The current folder and its parents are never meant as a folder of weights.
        if path.resolve() in (Path.cwd(), *Path.cwd().parents) or not path.is_dir():
            return []
        return sorted(file for file in path.rglob("*") if file.suffix in _WEIGHTS)
    except (OSError, ValueError):  # not a possible name of a file
        return []
