"""The minority score: the part of an image that a model cannot restore after noise is added (Um & Ye, ECCV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoiser, Noise, NoiseLevel, Purpose, SampleNoise, from_images
from sgm_lightning.errors import SGMError
from sgm_lightning.scores.distances import Lp, distance_name


class MinorityScore(nn.Module):
    """E d(x_0, x0_hat(α_s x_0 + σ_s noise)); higher = rarer for the model.

    Guidance increases it, `BestOf` chooses by it, and `predict`, `test` and `score` report it. The model restores an image
    that is likely under it, while it turns a rare one into something else.

    Args:
        distance: Distance d, a module that maps two (B, C, H, W) batches in [−1, 1] to (B,); default the L_2 norm. If it has
            a method `held`, which maps one batch to (B,), a guidance does not change that value: see `PerComplexity`.
        level: Noise level s to which the image is perturbed: a number, which is the log-SNR ln(ᾱ_s / (1 − ᾱ_s)), or a
            `NoiseLevel` in any unit. At the default, 2, it sees true rarity best where that is known
            (docs/results/known_frequencies.md). The released self-guidance uses the ratio 0.8 of its chain.
        num_draws: Number of noise draws whose distances are averaged.
        antithetic: Whether every second draw is the previous one with the opposite sign, which cancels terms that are odd in
            the noise; `num_draws` must then be even.
        batch_draws: Whether all draws are denoised in one call of the network: faster where one batch does not fill the
            device.
        fixed: Side of the distance that gets no gradient where the score is differentiated: the `reconstruction`
            (released), the `reference` x_0, or both, `alternating` over successive guided steps.
        clip: Whether x0_hat is clipped to [−1, 1] first, as minority guidance does when it scores a data set.

    Raises:
        SGMError: If an argument is out of its range or two arguments exclude each other.
    """

    def __init__(
        self,
        distance: nn.Module | None = None,
        level: float | NoiseLevel = 2.0,
        num_draws: int = 1,
        antithetic: bool = False,
        batch_draws: bool = False,
        fixed: Literal["reconstruction", "reference", "alternating"] = "reconstruction",
        clip: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= num_draws <= 10_000:
            raise SGMError(f"num_draws must lie between 1 and 10000, got {num_draws}; the paper uses 1.")
        if antithetic and num_draws % 2:
            raise SGMError(f"antithetic draws come in pairs, got num_draws: {num_draws}; use an even number.")
        self.distance = Lp(2.0) if distance is None else distance
        self.level = level if isinstance(level, NoiseLevel) else NoiseLevel(log_snr=level)
        self.level.check()
        self.num_draws, self.antithetic, self.batch_draws = num_draws, antithetic, batch_draws
        self.fixed, self.clip = fixed, clip

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
        """Score a batch.

        Args:
            denoiser: Denoiser of the model that scores.
            x_0: Images, or a chain's x0_hat, (B, C, H, W) float32 in [−1, 1].
            noise: Random numbers of the samples.
            condition: Condition of the images.
            index: Respaced index of the chain at which the images are scored; it determines the noise.
            purpose: Purpose of the random numbers, which determines the noise, too.
            turn: Number of the guided step, for scores that differ from one guided step to the next.

        Returns:
            The scores, (B,) float32.
        """
        condition = condition or Condition()
        levels = [self.place(denoiser, turn, number) for number in range(self.num_draws)]
        draws = self.draws(noise, purpose, index)
        if self.batch_draws:
            distances = self._at_once(levels, x_0, draws, condition, turn)
        else:
            distances = [
                self._distance(chain, x_0, s, draw, condition, turn) for (chain, s), draw in zip(levels, draws, strict=True)
            ]
        weighted = [self.weight(chain, s) * d for (chain, s), d in zip(levels, distances, strict=True)]
        return torch.stack(weighted).mean(0)

    @torch.no_grad()
    def of_images(
        self, images: Tensor, denoiser: Denoiser, seed: int, indices: Sequence[int], condition: Condition | None = None
    ) -> Tensor:
        """Return the (B,) float32 scores of (B, C, H, W) uint8 images; (seed, indices[i]) determines image i's noise."""
        x_0 = from_images(denoiser.model.codec, images)
        return self(denoiser, x_0, SampleNoise(seed, indices, x_0.shape[1:], x_0.device), condition)

    def place(self, denoiser: Denoiser, turn: int, number: int) -> tuple[Denoiser, int]:
        """Return a denoiser on the chain that has the level of a draw, and the level's index on it."""
        return self.level.place(denoiser)

    def check(self, denoiser: Denoiser) -> None:
        """Raise unless the model has the level of the first draw. This also creates the chain of that level."""
        self.place(denoiser, 0, 0)

    def weight(self, denoiser: Denoiser, s: int) -> float:
        """Return the factor of the distance at index s in the mean over the draws."""
        return 1.0

    def held(self, x_0: Tensor) -> Tensor | None:
        """Return the (B,) value of each image that a guidance must not change, or None."""
        held = getattr(self.distance, "held", None)
        return None if held is None else held(x_0)

    def draws(self, noise: Noise, purpose: Purpose, index: int) -> list[Tensor]:
        """Return the noise of every draw, (B, C, H, W) float32 each."""
        draws: list[Tensor] = []
        for number in range(self.num_draws):
            draws.append(-draws[-1] if self.antithetic and number % 2 else noise.draw(purpose, index, number))
        return draws

    def ahead(self, noise: Noise, purpose: Purpose, index: int) -> None:
        """Request the draws at `index` in advance."""
        for number in range(0, self.num_draws, 2 if self.antithetic else 1):
            noise.ahead(purpose, index, number)

    def describe(self) -> str:
        """Return the definition in words, as reports print it beside every value."""
        return f"{self.distance_name} at {self.level}, {self._draws_in_words}"

    @property
    def calls(self) -> int:
        """Number of calls of the network for one image."""
        return self.num_draws

    @property
    def _draws_in_words(self) -> str:
        return "1 draw" if self.num_draws == 1 else f"mean of {self.num_draws} draws"

    @property
    def distance_name(self) -> str:
        """Name of the distance in words."""
        return distance_name(self.distance)

    def _at_once(
        self, levels: list[tuple[Denoiser, int]], x_0: Tensor, draws: list[Tensor], condition: Condition, turn: int
    ) -> list[Tensor]:
        count, steps = len(draws), [s for _, s in levels]
        # Filled on the device: a list would have to be copied there, and the host would wait.
        each = [torch.full((len(x_0),), s, device=x_0.device) for s in steps]
        at: int | Tensor = steps[0] if len(set(steps)) == 1 else torch.cat(each)
        rows = condition.repeat(count)
        distances = self._distance(levels[0][0], x_0.repeat(count, 1, 1, 1), at, torch.cat(draws), rows, turn)
        return list(distances.view(count, -1))

    def _distance(
        self, denoiser: Denoiser, x_0: Tensor, s: int | Tensor, draw: Tensor, condition: Condition, turn: int
    ) -> Tensor:
        """Return the (B,) distances between x_0 and its reconstruction from s."""
        moving = self.fixed == "reference" or (self.fixed == "alternating" and turn % 2 == 1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and moving):
            x0_hat = denoiser(denoiser.process.q_sample(x_0, s, draw), s, condition).x0_hat
        x0_hat = x0_hat.clamp(-1, 1) if self.clip else x0_hat
        distance: Tensor = self.distance(x0_hat, x_0.detach()) if moving else self.distance(x_0, x0_hat)
        return distance
