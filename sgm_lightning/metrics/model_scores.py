"""Rarity under the model, as torchmetrics: minority score and bound, computed as images arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.metrics.indexed import PerSampleMetric
from sgm_lightning.scores.elbo import negative_elbo
from sgm_lightning.scores.minority import MinorityScore


class MinorityScoreMetric(PerSampleMetric):
    """The minority score of finished images (Um & Ye, ECCV 2024); higher = rarer.

    Args:
        score: Definition of the score, or several, e.g. at several noise levels, whose mean is taken.
        denoiser: Denoiser of the model that scores.
        seed: Seed of the draws; those of sample i depend on (seed, i) alone.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(
        self, score: MinorityScore | Sequence[MinorityScore], denoiser: Denoiser, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.scores = nn.ModuleList([score] if isinstance(score, MinorityScore) else score)
        self.denoiser, self.seed = denoiser, seed

    def update(self, images: Tensor, index: Tensor, condition: Condition | None = None) -> None:
        """Score (B, C, H, W) uint8 images of the samples `index`."""
        indices = index.tolist()
        scores = [score.of_images(images, self.denoiser, self.seed, indices, condition) for score in self.scores]  # type: ignore[operator]
        super().update(torch.stack(scores).mean(0), index)

    def values(self, rows: Tensor) -> Tensor:
        return rows


class NegativeELBO(PerSampleMetric):
    """NELBO of finished images in bits per dimension, on the denoiser's chain; higher = rarer.

    Args:
        denoiser: Denoiser of the model on its chain of K indices; the bound depends on the chain.
        num_strata: Number of strata of the chain, or None for the full sum; see `negative_elbo`.
        seed: Seed of the draws.
        clip: Whether x0_hat is clipped, as in sampling.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(
        self, denoiser: Denoiser, num_strata: int | None = None, seed: int = 0, clip: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(row_shape=(3,), **kwargs)
        self.denoiser, self.num_strata, self.seed, self.clip = denoiser, num_strata, seed, clip

    def update(self, images: Tensor, index: Tensor, condition: Condition | None = None) -> None:
        """Estimate the bound of (B, C, H, W) uint8 images of the samples `index`."""
        found = negative_elbo(images, self.denoiser, self.seed, index.tolist(), self.num_strata, condition, self.clip)
        super().update(torch.stack(list(found), 1), index)

    def values(self, rows: Tensor) -> Tensor:
        return rows[:, 0]

    def compute(self) -> dict[str, Tensor]:
        """Return means: `nelbo`, the `score` in it, and the `standard_error` of a single sample due to drawing steps."""
        rows = self.ordered()[1].double()
        total, error, score = rows.mean(0)
        return {"nelbo": total, "score": score, "standard_error": error}
