"""Measurements of single images. Each gives one row, which does not depend on the other images, the process or the time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.errors import SGMError
from sgm_lightning.features import FeatureExtractor
from sgm_lightning.scores import negative_elbo
from sgm_lightning.world import EmojiReader

FEATURES = "features/"
READING = "reading"


class ImageMeasurements(nn.Module):
    """Measures every image by itself: its features in every space, the bound of its likelihood, and what a reader reads.

    Args:
        extractors: Feature extractors by the names of their spaces.
        nelbo: Whether to bound the likelihood of the images.
        nelbo_strata: Number of strata, as in `negative_elbo`.
        reader: Reader of the emoji world; None for images of anything else.
    """

    def __init__(
        self,
        extractors: Mapping[str, FeatureExtractor],
        nelbo: bool = True,
        nelbo_strata: int | None = 10,
        reader: EmojiReader | None = None,
    ) -> None:
        super().__init__()
        if nelbo_strata is not None and nelbo_strata < 1:
            raise SGMError(f"nelbo_strata must be at least 1, got {nelbo_strata}; set it to null for the full sum.")
        self.reader = reader
        self.extractors = nn.ModuleDict(extractors)
        self.nelbo = nelbo
        self.nelbo_strata = nelbo_strata

    def forward(
        self,
        images: Tensor,
        indices: Sequence[int],
        denoiser: Denoiser | None = None,
        condition: Condition | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """Measure a batch.

        Args:
            images: (B, C, H, W) uint8 images.
            indices: Index of each sample; the draws of its bound come from the random stream of this index.
            denoiser: Model for the bound; None for no bound.
            condition: Condition under which the images were drawn.
            seed: Seed of the draws.

        Returns:
            `nelbo` and `nelbo_error` (B,), in bits per dimension, `features/SPACE` (B, D), and `reading` (B, 9).
        """
        # The rounding of convolutions depends on strides, which depend on the origin of the images (and with one channel no
        # check of contiguity shows it).
        images = images.clone(memory_format=torch.contiguous_format)
        rows = {FEATURES + name: extractor(images) for name, extractor in self.extractors.items()}
        if self.reader is not None:
            rows[READING] = self.reader(images)
        if self.nelbo and denoiser is not None:
            with torch.autocast(images.device.type, enabled=False):
                bound = negative_elbo(images, denoiser, seed, indices, self.strata(denoiser), condition)
            rows["nelbo"], rows["nelbo_error"] = bound.total, bound.standard_error
        return rows

    def strata(self, denoiser: Denoiser) -> int | None:
        """Return the number of strata of the bound on this chain; None: a short chain is summed whole."""
        fits = self.nelbo_strata is not None and self.nelbo_strata < denoiser.process.num_steps // 2
        return self.nelbo_strata if fits else None

    def fingerprint(self) -> str:
        """Return a digest of the measurements: equal fingerprints mean equal rows."""
        extractors = {name: extractor.fingerprint() for name, extractor in self.extractors.items()}  # type: ignore[operator]
        parts = [extractors, self.nelbo, self.nelbo_strata]
        if self.reader is not None:  # parts of runs without a reader stay valid
            parts.append(self.reader.fingerprint())
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
