"""Rarity for the model itself, as torchmetrics: minority score and bound, computed while images come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.metrics.indexed import PerSampleMetric
from sgm_lightning.scores.elbo import negative_elbo
from sgm_lightning.scores.minority import minority_score


class MinorityScore(PerSampleMetric):
    """E d(x_0, x0_hat(x_s)) of finished images, averaged over draws and over steps s (Um & Ye, ECCV 2024); higher = rarer.

    Args:
        denoiser: The model.
        distance: d, maps two (B, C, H, W) batches in [−1, 1] to (B,).
        perturb_indices: Respaced index s, or several.
        num_draws: Draws a step.
        seed: Of the draws; those of sample i depend on (seed, i) alone.
        **kwargs: As in `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(
        self,
        denoiser: Denoiser,
        distance: Callable[[Tensor, Tensor], Tensor],
        perturb_indices: int | Sequence[int],
        num_draws: int = 8,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.denoiser, self.distance, self.num_draws, self.seed = denoiser, distance, num_draws, seed
        self.perturb_indices = [perturb_indices] if isinstance(perturb_indices, int) else list(perturb_indices)

    def update(self, images: Tensor, index: Tensor, condition: Condition | None = None) -> None:
        """Score (B, C, H, W) uint8 images of the samples `index`."""
        scores = [
            minority_score(images, self.denoiser, self.distance, s, self.seed, index.tolist(), self.num_draws, condition)
            for s in self.perturb_indices
        ]
        super().update(torch.stack(scores).mean(0), index)

    def values(self, rows: Tensor) -> Tensor:
        return rows


class NegativeELBO(PerSampleMetric):
    """NELBO of finished images in bits per dimension, on the denoiser's chain; higher = rarer.

    Args:
        denoiser: The model on its chain of K indices; a chain has its own bound.
        num_strata: None for the full sum; else see `negative_elbo`.
        seed: Of the draws.
        clip: Clip x0_hat, as in sampling.
        **kwargs: As in `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(
        self, denoiser: Denoiser, num_strata: int | None = None, seed: int = 0, clip: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(row_shape=(3,), **kwargs)
        self.denoiser, self.num_strata, self.seed, self.clip = denoiser, num_strata, seed, clip

    def update(self, images: Tensor, index: Tensor, condition: Condition | None = None) -> None:
        """Bound (B, C, H, W) uint8 images of the samples `index`."""
        found = negative_elbo(images, self.denoiser, self.seed, index.tolist(), self.num_strata, condition, self.clip)
        super().update(torch.stack(list(found), 1), index)

    def values(self, rows: Tensor) -> Tensor:
        return rows[:, 0]

    def compute(self) -> dict[str, Tensor]:
        """Means: `nelbo`, the `score` in it, and the `standard_error` that drawing steps leaves in a single sample."""
        rows = self.ordered()[1].double()
        total, error, score = rows.mean(0)
        return {"nelbo": total, "score": score, "standard_error": error}
