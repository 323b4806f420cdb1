"""Boost-and-Skip (Um, Kim & Ye, ICML 2025)."""

from __future__ import annotations

from sgm_lightning.diffusion import Condition, Denoiser, Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Sampler, State
from sgm_lightning.samplers.wrapper import Wrapper


class BoostAndSkip(Wrapper):
    """Starts at x_T = γ z with γ > 1, and begins the chain Δ_t steps late.

    The larger start lies in the tail of N(0, I), and the skipped steps, which have the least signal and contract the most,
    do not bring it back. Without guidance, the cost is that of plain sampling.

    Args:
        boost: Factor γ > 0 of the start (CelebA 64: 4.0; ImageNet 64: 2.5).
        skip_steps: Number Δ_t of the first (noisiest) respaced steps that are left out (the paper: 3 of 250).
        sampler: Sampler whose chain is changed; default: ancestral sampling.

    Raises:
        SGMError: If an argument is out of its range.
    """

    def __init__(self, boost: float = 4.0, skip_steps: int = 3, sampler: Sampler | None = None) -> None:
        super().__init__(sampler)
        if boost <= 0:
            raise SGMError(f"boost must be positive, got {boost}; the paper uses 2.5 to 4.")
        if skip_steps < 0:
            raise SGMError(f"skip_steps must be at least 0, got {skip_steps}; the paper uses 3 of 250.")
        self.boost = boost
        self.skip_steps = skip_steps

    def indices(self, num_steps: int) -> list[int]:
        indices = self.sampler.indices(num_steps)
        if self.skip_steps >= len(indices):
            raise SGMError(f"skip_steps must be less than the number of steps ({len(indices)}), got {self.skip_steps}.")
        return indices[self.skip_steps :]

    def start(
        self, denoiser: Denoiser, noise: Noise, condition: Condition | None = None, guidance: Guidance | None = None
    ) -> State:
        state = super().start(denoiser, noise, condition, guidance)
        state.x = self.boost * state.x
        return state
