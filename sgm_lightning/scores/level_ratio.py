"""The minority score at a fine noise level relative to that at a coarse one: rarity without what is broken."""

from __future__ import annotations

from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoiser, Noise, NoiseLevel, Purpose
from sgm_lightning.errors import SGMError
from sgm_lightning.scores.minority import MinorityScore


class LevelRatio(MinorityScore):
    """ln E d(x_0, x0_hat_s(x_0)) − weight · ln E d(x_0, x0_hat_r(x_0)); higher = rarer, and less likely broken.

    x0_hat_s(x_0) is the model's reconstruction of x_0 after noise of the level s. A rare image and a broken one are both
    restored badly, and a minority score at one level takes the one for the other. Under a little noise (level s) the model
    misses the details of either, but under more noise (level r, `against`) it misses a broken image by more, because no
    whole image of the data resembles it. With a weight of 0 this orders images as the minority score at level s does, and a
    larger weight gives up rarity for realism. The units of the distance cancel at a weight of 1.

    Both levels see the same noise, and each image costs two calls of the network a draw. This score is not from a paper;
    docs/results/known_frequencies.md shows what it sees.

    Args:
        level: Fine noise level s: a log-SNR, or a `NoiseLevel` in any unit.
        against: Coarse noise level r, likewise.
        weight: Weight of the coarse level, at least 0.
        distance: Distance d, as in `MinorityScore`.
        num_draws: Number of noise draws whose distances are averaged, at each level.
        antithetic: Whether every second draw is the previous one with the opposite sign; see `MinorityScore`.
        batch_draws: Whether all draws of a level are denoised in one call; see `MinorityScore`.

    Raises:
        SGMError: If the weight is negative, or another argument is out of its range.
    """

    def __init__(
        self,
        level: float | NoiseLevel = 4.0,
        against: float | NoiseLevel = 0.0,
        weight: float = 0.4,
        distance: nn.Module | None = None,
        num_draws: int = 1,
        antithetic: bool = False,
        batch_draws: bool = False,
    ) -> None:
        super().__init__(distance, level, num_draws, antithetic, batch_draws)
        if not weight >= 0:
            raise SGMError(f"weight must be at least 0, got {weight}; 0 is the minority score at `level` alone.")
        self.against = MinorityScore(self.distance, against, num_draws, antithetic, batch_draws)
        self.weight_against = weight

    @property
    def calls(self) -> int:
        return 2 * self.num_draws

    def forward(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        noise: Noise,
        condition: Condition | None = None,
        index: int = 0,
        purpose: Purpose = Purpose.SCORE,
        turn: int = 0,
    ) -> Tensor:
        fine = super().forward(denoiser, x_0, noise, condition, index, purpose, turn)
        coarse = self.against(denoiser, x_0, noise, condition, index, purpose, turn)
        # An image that is restored without any error would have a logarithm of minus infinity.
        least = 1e-12
        ratio: Tensor = fine.clamp(min=least).log() - self.weight_against * coarse.clamp(min=least).log()
        return ratio

    def check(self, denoiser: Denoiser) -> None:
        super().check(denoiser)
        self.against.check(denoiser)

    def describe(self) -> str:
        levels = f"at {self.level} − {self.weight_against:g} · at {self.against.level}"
        return f"ln of {self.distance_name} {levels}, {self._draws_in_words}"
