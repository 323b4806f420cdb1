"""The variational bound as a score for guidance."""

from __future__ import annotations

import math

from torch import nn

from sgm_lightning.diffusion import Denoiser, NoiseLevel
from sgm_lightning.errors import SGMError
from sgm_lightning.scores.distances import SquaredError
from sgm_lightning.scores.minority import MinorityScore

_GOLDEN = (math.sqrt(5) - 1) / 2


class ELBOScore(MinorityScore):
    """−ELBO(x_0): the minority score over all noise levels, with the bound's weights.

    In continuous time (Kingma et al. 2021, eq. 18) the bound of x is, up to constants,
    ½ ∫ SNR(λ) E‖x − x0_hat(α_λ x + σ_λ noise)‖² dλ over λ = ln SNR. Each draw uses one λ of a low-discrepancy sequence
    that is uniform in [min_log_snr, max_log_snr] (golden-ratio steps over the guided steps, equal spacing over the draws of
    a step), with the weight ½ SNR(λ) (max − min). With one draw and a normalised gradient the weight cancels, and only the
    choice of λ remains.

    The reconstruction is held fixed as in the released self-guidance, so that the gradient is the bound's derivative with
    respect to x_0 alone, as if the denoiser did not depend on it. To guide fewer steps use the window's `interval`, which
    the sequence takes into account.

    Args:
        min_log_snr: Log-SNR ln(ᾱ / (1 − ᾱ)) of the noisiest level.
        max_log_snr: Log-SNR of the clearest level; the weight grows with the SNR, and details dominate beyond 4.
        num_draws: Number of levels that are drawn and averaged.
        distance: Distance between an image and its reconstruction; default the squared error, as in the bound.
        antithetic: Whether draws come in pairs of opposite noise, which share a level; see `MinorityScore`.
        batch_draws: Whether all draws are denoised in one call; see `MinorityScore`.

    Raises:
        SGMError: If the range is empty.
    """

    def __init__(
        self,
        min_log_snr: float = -6.0,
        max_log_snr: float = 2.0,
        num_draws: int = 2,
        distance: nn.Module | None = None,
        antithetic: bool = False,
        batch_draws: bool = False,
    ) -> None:
        if not min_log_snr < max_log_snr:
            raise SGMError(f"min_log_snr must be less than max_log_snr, got {min_log_snr} and {max_log_snr}.")
        distance = SquaredError() if distance is None else distance
        super().__init__(distance, min_log_snr, num_draws, antithetic, batch_draws)
        self.range = (min_log_snr, max_log_snr)

    def log_snr(self, turn: int, number: int) -> float:
        """Return the level λ of the `number`-th draw at the `turn`-th guided step."""
        low, high = self.range
        # A pair of antithetic draws shares its level, because terms that are odd in the noise cancel only then.
        strata, stratum = (self.num_draws // 2, number // 2) if self.antithetic else (self.num_draws, number)
        u = (stratum + (turn * _GOLDEN) % 1) / strata % 1
        return low + u * (high - low)

    def place(self, denoiser: Denoiser, turn: int, number: int) -> tuple[Denoiser, int]:
        return NoiseLevel(log_snr=self.log_snr(turn, number)).place(denoiser)

    def weight(self, denoiser: Denoiser, s: int) -> float:
        low, high = self.range
        return 0.5 * (high - low) * math.exp(denoiser.process.log_snr_list[s])

    def describe(self) -> str:
        low, high = self.range
        return f"bound over log-SNR {low:g} … {high:g}, {self.num_draws} draws"
