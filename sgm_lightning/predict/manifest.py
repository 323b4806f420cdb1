"""The manifest of a run: everything that determines its samples, to be compared with that of its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sgm_lightning.classifiers import NoisyClassifier
from sgm_lightning.diffusion import Denoiser
from sgm_lightning.errors import SGMError
from sgm_lightning.files.digest import module_settings, weights_sha256
from sgm_lightning.files.values import is_whole, shown
from sgm_lightning.run import DRAW_VERSION
from sgm_lightning.version import __version__

MAX_THREADS = 1024  # more are a mistake, and may end the process


def run_manifest(module: Any, data: Any, device: torch.device, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a run.

    Args:
        module: `SamplingModule` whose weights have been read.
        data: Data of the module: N, chunks, seed and inputs.
        device: Device to draw on; only its type counts.
        settings: Result of `sample_settings` for the run's configuration.
    """
    return {
        "draw_version": DRAW_VERSION,
        "weights": weights_sha256(module.denoiser.network.state_dict()),
        "model": model_facts(module.denoiser),
        "classifiers": _classifiers(module.guidance),
        "seed": data.seed,
        "chunk_size": data.chunk_size,
        "device": device.type,
        "threads": module.threads,
        "inputs": data.fingerprint(),
        "settings": settings,
        "num_samples": data.num_samples,
        "version": __version__,
        "torch": torch.__version__,
    }


def recorded_threads(manifest: dict[str, Any], folder: Path) -> int:
    """Return the number of threads on record in a run's manifest.

    Raises:
        SGMError: If there is none that can be meant.
    """
    threads = manifest.get("threads")
    if not isinstance(threads, int) or not is_whole(threads, MAX_THREADS):
        raise SGMError(
            f"threads in {folder / 'manifest.json'} must be a whole number from 1 to {MAX_THREADS}, got {shown(threads)}; "
            "restore the file, or choose another run_dir."
        )
    return threads


def model_facts(denoiser: Denoiser) -> dict[str, Any]:
    """Return what determines a model's samples besides its weights, as JSON types.

    That is the process, what the network predicts, its codec, its classes, and its configuration, or its printed structure
    where it has none.
    """
    model, network = denoiser.model, denoiser.network
    process = denoiser.process.full()
    index = torch.arange(process.num_steps, device=process.time(0).device)
    columns = (*process.scales(index), process.time(index))
    levels = torch.stack([column.flatten().double() for column in columns], 1).cpu()
    config = getattr(network, "config", None)
    facts = _plain(config) if isinstance(config, Mapping) else {"structure": _sha256(repr(network).encode())}
    return {
        "process": f"{process.num_steps} levels, sha256 {_sha256(levels.numpy().tobytes())}",
        "prediction": model.prediction,
        "variance": model.variance,
        "codec": _codec(model.codec),
        "classes": [model.num_classes, model.null_class],
        "network": {"class": type(network).__name__, **facts},
    }


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's own configuration without the notes of the library that wrote it."""
    return json.loads(json.dumps({key: value for key, value in config.items() if not key.startswith("_")}, default=str))


def _codec(codec: object) -> Any:
    if isinstance(codec, torch.nn.Module):
        return module_settings(codec)
    return {"class": type(codec).__name__, **{key: str(value) for key, value in sorted(vars(codec).items())}}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _classifiers(guidance: torch.nn.Module | None) -> list[str] | None:
    """Return fingerprints of the classifiers that guide; None without any, as in runs older than classifiers."""
    parts = () if guidance is None else guidance.modules()
    return [weights_sha256(part.state_dict()) for part in parts if isinstance(part, NoisyClassifier)] or None
