"""Loads weights safely: only tensors and plain types are read, and a bad file raises a one-sentence `SGMError`."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sgm_lightning.errors import SGMError


def cache_folder() -> Path:
    """Return the folder that keeps features, decoded pictures and downloads: $SGM_CACHE, or ~/.cache/sgm_lightning."""
    return Path(os.environ.get("SGM_CACHE", "~/.cache/sgm_lightning")).expanduser()


def require_file(path: Path, hint: str) -> None:
    """Raise unless there is a file at `path`; the error gives `hint` as the remedy."""
    if not path.is_file():
        raise SGMError(f"There is no weights file at {path}; {hint}.")


def require_release(path: Path, url: str | None, setting: str) -> None:
    """Raise unless the file of a release is at `path`.

    Args:
        path: Path of the file.
        url: Address to fetch the file from, if known.
        setting: Setting that names the file, for the error.
    """
    require_file(path, f"{f'fetch it from {url} and' if url else 'check the path or'} set {setting}")


def load_finite(path: str | Path) -> dict[str, Tensor]:
    """Load tensors as `load_tensors` does, and require that all are finite.

    Raises:
        SGMError: If the file cannot be read, or holds NaN or infinite weights.
    """
    weights = load_tensors(path)
    check_weights(weights, path)
    return weights


def load_tensors(path: str | Path, hint: str = "check the path") -> dict[str, Tensor]:
    """Load a state dict from a `.safetensors` or a torch file to the CPU.

    Args:
        path: File to read.
        hint: Remedy that the error gives when the file is missing.

    Raises:
        SGMError: If the file is missing, truncated, or holds anything but tensors.
    """
    content = load_content(path, hint)
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise SGMError(f"{path} holds no state dict (a mapping from names to tensors); export one from the model.")
    return content


def load_content(path: str | Path, hint: str = "check the path") -> dict[str, Any]:
    """Load the content of a `.safetensors` or a torch file: tensors and plain types, by name, on the CPU.

    Args:
        path: File to read.
        hint: Remedy that the error gives when the file is missing.

    Raises:
        SGMError: If the file is missing, truncated, or holds Python objects.
    """
    path = Path(path)
    require_file(path, hint)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SGMError(
            f"{path} is damaged or holds Python objects beside tensors, which are not loaded for safety; export it as a "
            "plain state dict or as safetensors."
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0][:120]
        raise SGMError(f"{path} cannot be read as weights ({reason}); it may be truncated, fetch it again.") from None
    if not isinstance(content, dict):
        raise SGMError(f"{path} holds no state dict (a mapping from names to tensors); export one from the model.")
    return content


def check_weights(weights: dict[str, Tensor], path: str | Path) -> None:
    """Raise unless all weights are finite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SGMError(f"{path} holds NaN or infinite weights in {name}; fetch or export the checkpoint again.")
