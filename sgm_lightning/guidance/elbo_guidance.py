"""Self-guidance on the variational bound itself."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from sgm_lightning.diffusion import DiffusionProcess
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.self_guidance import SelfGuidance
from sgm_lightning.scores.distances import SquaredError

_GOLDEN = (math.sqrt(5) - 1) / 2


class ELBOGuidance(SelfGuidance):
    """Ascent on −ELBO(x0_hat): the minority score over all noise levels, with the bound's weights.

    In continuous time (Kingma et al. 2021, eq. 18) the bound of x is, up to constants,
    ½ ∫ SNR(λ) E‖x − x0_hat(√ᾱ_λ x + √(1 − ᾱ_λ) noise)‖² dλ over λ = ln SNR. Each draw takes one λ, the next of a
    low-discrepancy sequence that is uniform in [min_log_snr, max_log_snr] (the golden ratio's over the guided steps, equally
    spaced over the draws of a step), and counts ½ SNR(λ) (max − min). With one draw and `normalize: true` the weight
    cancels, and what is left is the rule by which λ is chosen.

    The reconstruction is held fixed as in the released self-guidance, so that this is the bound's derivative with respect
    to x_0 alone, as if the denoiser did not answer.

    Args:
        min_log_snr: Noisiest level, ln(ᾱ / (1 − ᾱ)).
        max_log_snr: Clearest level; the weight grows with the SNR, and details dominate beyond 4.
        num_draws: Levels at a guided step.
        distance: Default the squared error, which the bound is made of.
        **options: Of `SelfGuidance`, but for its perturb step. Thin out the steps by its `interval`, which the sequence
            knows, rather than by that of a `Window`.

    Raises:
        SGMError: If the range is empty, or a perturb step is given.
    """

    def __init__(
        self,
        min_log_snr: float = -6.0,
        max_log_snr: float = 2.0,
        num_draws: int = 2,
        distance: nn.Module | None = None,
        **options: Any,
    ) -> None:
        if not min_log_snr < max_log_snr:
            raise SGMError(f"min_log_snr must be less than max_log_snr, got {min_log_snr} and {max_log_snr}.")
        given = [key for key, value in options.items() if key.startswith("perturb_") and value is not None]
        if given:
            raise SGMError(f"ELBOGuidance draws its perturb step, got {given[0]}; give min_log_snr and max_log_snr instead.")
        super().__init__(num_draws=num_draws, distance=SquaredError() if distance is None else distance, **options)
        self.range = (min_log_snr, max_log_snr)

    def perturb_index(self, process: DiffusionProcess, index: int, draw: int = 0) -> int:
        low, high = self.range
        # A pair of antithetic draws shares its level: only there does what is odd in the noise cancel.
        strata, stratum = (self.num_draws // 2, draw // 2) if self.antithetic else (self.num_draws, draw)
        # Over the guided steps alone: multiples of some intervals (13) hardly move the golden ratio's sequence.
        u = (stratum + (index // self.interval * _GOLDEN) % 1) / strata % 1
        return process.index_of_log_snr(low + u * (high - low))

    def weight(self, process: DiffusionProcess, s: int) -> float:
        low, high = self.range
        return 0.5 * (high - low) * math.exp(process.log_snr_list[s])
