"""The manifest of a run: everything that determines its samples, to be compared with that of its folder."""

from __future__ import annotations

from typing import Any

import torch

from sgm_lightning.classifiers import NoisyClassifier
from sgm_lightning.files.digest import weights_sha256
from sgm_lightning.run import DRAW_VERSION
from sgm_lightning.version import __version__


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


def _classifiers(guidance: torch.nn.Module | None) -> list[str] | None:
    """Return fingerprints of the classifiers that guide; None without any, as in runs older than classifiers."""
    parts = () if guidance is None else guidance.modules()
    return [weights_sha256(part.state_dict()) for part in parts if isinstance(part, NoisyClassifier)] or None
