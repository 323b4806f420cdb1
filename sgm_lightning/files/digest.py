"""SHA-256 digests of what results depend on: tensors by name, files, and the plain settings of a module."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn


def weights_sha256(weights: Mapping[str, Tensor], before: bytes = b"") -> str:
    """Return the digest of a state dict: names and bytes, in the order of the names.

    Args:
        weights: State dict to digest.
        before: Bytes that are hashed first, such as a description of the model that the weights belong to.
    """
    digest = hashlib.sha256(before)
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def files_sha256(files: Iterable[Path]) -> str:
    """Return the digest of the content of files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def module_settings(module: nn.Module) -> dict[str, Any]:
    """Describe a module by its class, the plain settings of all its parts, and the digest of its weights."""
    settings = {
        f"{name}.{key}".lstrip("."): str(value) if is_dataclass(value) else value
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if not key.startswith("_") and key != "training" and (is_dataclass(value) or isinstance(value, (str, int, float)))
    }
    return {"class": type(module).__name__, "settings": settings, "weights": weights_sha256(module.state_dict())}
