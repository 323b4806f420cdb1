"""What determines the samples of a run, which is what its folder is compared by."""

from __future__ import annotations

from typing import Any

import torch

from sgm_lightning.classifiers import NoisyClassifier
from sgm_lightning.files.digest import weights_sha256
from sgm_lightning.run import DRAW_VERSION
from sgm_lightning.version import __version__


def run_manifest(module: Any, data: Any, device: torch.device, settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run.

    Args:
        module: A `SamplingModule` whose weights have been read.
        data: Its data: N, chunks, seed and inputs.
        device: Device to draw on; it counts by its type.
        settings: The `sample_settings` of the run's configuration.
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
    """Fingerprints of the classifiers that guide; None without, as in runs of before there were any."""
    parts = () if guidance is None else guidance.modules()
    return [weights_sha256(part.state_dict()) for part in parts if isinstance(part, NoisyClassifier)] or None
