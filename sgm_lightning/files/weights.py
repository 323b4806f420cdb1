"""Loads weights safely: only tensors and plain types are read, and a bad file raises a one-sentence `SGMError`."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.values import one_line

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COUNTERS = (torch.int64, torch.int32, torch.bool)
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile
_LARGE = 2**28  # bytes
_PACKED_AT_MOST = 10  # times: weights hardly pack, and torch stores them unpacked


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


def load_finite(path: str | Path, hint: str = "check the path") -> dict[str, Tensor]:
    """Load tensors as `load_tensors` does, and require that all are finite.

    Args:
        path: File to read.
        hint: Remedy that the error gives when the file is missing.

    Raises:
        SGMError: If the file cannot be read, or holds NaN or infinite weights.
    """
    weights = load_tensors(path, hint)
    check_weights(weights, path)
    return weights


def load_tensors(path: str | Path, hint: str = "check the path") -> dict[str, Tensor]:
    """Load a state dict from a `.safetensors` or a torch file to the CPU.

    A state dict that is the only one inside a larger mapping is taken out of it, and prefixes that `DistributedDataParallel`
    and `torch.compile` put before every name are removed.

    Args:
        path: File to read.
        hint: Remedy that the error gives when the file is missing.

    Raises:
        SGMError: If the file is missing, truncated, or holds anything but tensors.
    """
    content = load_content(path, hint)
    if not _all_tensors(content):
        inside = sorted(
            str(key) for key, value in content.items() if isinstance(value, dict) and value and _all_tensors(value)
        )
        if len(inside) != 1:
            several = f"; it holds several, {', '.join(inside[:5])}" if inside else ""
            raise SGMError(
                f"{path} holds no state dict (a mapping from names to tensors){several}; export one from the model."
            )
        content = content[inside[0]]
    return without_prefix(content)


def _all_tensors(content: dict[str, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without the prefixes that wrappers of a network put before every name."""
    for prefix in _WRAPPERS * 2:  # a wrapper may stand inside another one
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def load_exactly(module: nn.Module, weights: dict[str, Tensor], source: str | Path) -> None:
    """Load weights into a module; every parameter comes from the weights, and every weight goes into the module.

    Raises:
        SGMError: If the weights do not fit; see `check_fit`.
    """
    check_fit(module, weights, source)
    module.load_state_dict(weights)


def check_fit(module: nn.Module, weights: dict[str, Tensor], source: str | Path) -> None:
    """Raise unless weights are those of a module, which may be on the device `meta`.

    Raises:
        SGMError: If a tensor is missing or left over, its shape differs, or it holds counters in place of weights; the error
            names the first ones.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    left_over = [name for name in weights if name not in own]
    faults = [f"it lacks {_first(missing)}"] * bool(missing) + [f"it has {_first(left_over)} too many"] * bool(left_over)
    for name in own:
        if name in weights and own[name].shape != weights[name].shape:
            faults.append(f"{name} has shape {tuple(weights[name].shape)} in place of {tuple(own[name].shape)}")
            break
    for name in own:
        if name in weights and own[name].is_floating_point() != weights[name].is_floating_point():
            faults.append(f"{name} holds {weights[name].dtype} in place of {own[name].dtype}")
            break
    if faults:
        raise SGMError(
            f"{source} does not hold the weights of {type(module).__name__} as it is described ({'; '.join(faults)}); fetch "
            "or export the checkpoint again, or correct that."
        )


def _first(names: list[str]) -> str:
    return ", ".join(map(one_line, names[:3])) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")


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
        _check_packing(path)
        with warnings.catch_warnings():  # of pickle protocols, where a file is damaged
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except SGMError:
        raise
    except pickle.UnpicklingError:
        raise SGMError(
            f"{path} is damaged or holds Python objects beside tensors, which are not loaded for safety; export it as a "
            "plain state dict or as safetensors."
        ) from None
    except Exception as error:  # of safetensors, torch, zipfile and pickle, whatever a damaged file makes them raise
        raise SGMError(
            f"{path} cannot be read as weights ({reason_of(error, 120)}); it may be truncated, fetch it again."
        ) from None
    if not isinstance(content, dict):
        raise SGMError(f"{path} holds no state dict (a mapping from names to tensors); export one from the model.")
    return content


def _check_packing(path: Path) -> None:
    """Raise if a torch file unpacks to absurdly many bytes; torch would take the memory that the file's index names."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > _LARGE and unpacked > _PACKED_AT_MOST * path.stat().st_size:
        raise SGMError(
            f"{path} unpacks from {path.stat().st_size} bytes to {unpacked}, as no weights do; export the checkpoint again."
        )


def check_weights(weights: dict[str, Tensor], path: str | Path) -> None:
    """Raise unless all weights are dense, finite floating-point numbers of at least 16 bits; counters may be integers."""
    for name, tensor in weights.items():
        name = one_line(name)
        dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
        if not dense or tensor.dtype not in (*_FLOATS, *_COUNTERS):
            kind = tensor.dtype if dense else tensor.layout if tensor.device.type == "cpu" else "a shape without numbers"
            raise SGMError(
                f"{name} of {path} must be floating-point numbers of 16, 32 or 64 bits, got {kind}; export the checkpoint "
                "without quantisation."
            )
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise SGMError(
                f"{name} of {path} has the shape {tuple(tensor.shape)} but not as many numbers; export the checkpoint again."
            )
        # Networks compute with 32 bits, in which a finite number of 64 may be infinite.
        if tensor.dtype in _FLOATS and not bool(torch.isfinite(tensor.float()).all()):
            raise SGMError(f"{path} holds NaN or infinite weights in {name}; fetch or export the checkpoint again.")
