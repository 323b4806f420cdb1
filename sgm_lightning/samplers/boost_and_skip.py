"""Boost-and-Skip (Um, Kim & Ye, ICML 2025)."""

from __future__ import annotations

from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Chain, State
from sgm_lightning.samplers.wrapper import Wrapper


class BoostAndSkip(Wrapper):
    """x_T = γ z with γ > 1, and the chain begins Δ_t steps late.

    The larger start lies in the tail of N(0, I), and the skipped steps, which have the least signal and contract the most,
    do not bring it back. Without guidance: the cost is that of plain sampling.

    Args:
        boost: γ > 0 (CelebA 64: 4.0; ImageNet 64: 2.5).
        skip_steps: Δ_t, the first (noisiest) respaced steps left out (the paper: 3 of 250).
        sampler: The chain that is changed; default ancestral.

    Raises:
        SGMError: If an argument is out of its range.
    """

    def __init__(self, boost: float = 4.0, skip_steps: int = 3, sampler: Chain | None = None) -> None:
        super().__init__(sampler)
        if boost <= 0:
            raise SGMError(f"boost must be positive, got {boost}; the paper uses 2.5 to 4.")
        if skip_steps < 0:
            raise SGMError(f"skip_steps must be at least 0, got {skip_steps}; the paper uses 3 of 250.")
        self.boost = boost
        self.skip_steps = skip_steps

    def indices(self, num_steps: int) -> list[int]:
        found = self.sampler.indices(num_steps)
        if self.skip_steps >= len(found):
            raise SGMError(f"skip_steps must be less than the number of steps ({len(found)}), got {self.skip_steps}.")
        return found[self.skip_steps :]

    def begin(
        self, denoiser: Denoiser, noise: Noise, guidance: Guidance | None = None, condition: Condition | None = None
    ) -> State:
        state = self.sampler.begin(denoiser, noise, guidance, condition)
        state.x = self.boost * state.x
        return state
