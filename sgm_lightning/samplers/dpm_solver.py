"""DPM-Solver++ (Lu et al. 2022), the multistep solver of second order, and its form with noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sgm_lightning.diffusion import Process, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.samplers.base import Sampler

_LEAST_RATIO = 0.1  # of the length of the step before to that of a step of second order


class DPMSolverPlusPlus(Sampler):
    """DPM-Solver++(2M): x_{t−1} = σ'/σ x_t + α' (1 − e^{−h}) D, D = x0_hat + (x0_hat − x0_hat_before) / 2r.

    α, σ and α', σ' are the scales at t and t − 1, λ = ln(α / σ), h = λ' − λ, r = h_before / h. The first step and the
    last are of first order. With `stochastic` the step is that of SDE-DPM-Solver++(2M):
    x_{t−1} = σ'/σ e^{−h} x_t + α' (1 − e^{−2h}) D + σ' √(1 − e^{−2h}) z.

    A guidance is the score shift x0_hat ← x0_hat + σ² / α · g. The solver does not extrapolate it, because a shift at some
    steps only is not smooth. Its factor, which changes much within a long step, is integrated exactly with g held fixed:
    x_{t−1} is shifted by σ' (ln((1 + σ) / α) − ln((1 + σ') / α')) g, or by 2 σ'² / α' (asinh e^{λ'} − asinh e^λ) g with
    noise. The shifts of a chain add up to the same sum at any number of steps, so a `rate` means the same at 20 steps and at
    250; for short steps the second is ancestral sampling's σ² g. The effect of a shift on x_0 also depends on the steps
    after it: those without noise preserve more of it, so that with `min_sigma` a rate moves x_0 up to twice as far as
    without.

    Where a step is more than ten times as long as the one before (r < 1/10), it is of first order, too: at the seam of
    `spacing: "14,7"` (train steps 500 and 499) the solver would extrapolate by 19 times the last change of x0_hat, noise
    included, elsewhere by 0.3 to 2 times.

    Args:
        stochastic: Whether the steps add noise.
        clip: Whether the predicted x_0 is clipped; see `Sampler`.
        min_sigma: With `stochastic`, steps that start below this noise level σ / α add none (S_tmin of Karras et al. 2022):
            noise early in the chain corrects errors, noise late in a short chain remains as grain. Default: all steps add
            noise.

    Raises:
        SGMError: If `min_sigma` is negative, or given without `stochastic`.
    """

    order = 2

    def __init__(self, stochastic: bool = False, clip: bool | None = None, min_sigma: float | None = None) -> None:
        super().__init__(clip)
        if min_sigma is not None and not (stochastic and min_sigma >= 0):
            raise SGMError(
                f"min_sigma is the noise level, at least 0, below which `stochastic: true` adds no noise, got {min_sigma} "
                f"and stochastic: {stochastic}; leave it out for one form at all steps."
            )
        self.stochastic = stochastic
        self.min_sigma = min_sigma

    @property
    def title(self) -> str:
        return "DPM-Solver++"

    def adds_noise(self, process: Process, index: int) -> bool:
        noisy = math.exp(-process.log_snr_list[index] / 2) >= (self.min_sigma or 0.0)
        return index > 0 and self.stochastic and noisy

    def answers_shift(self, index: int) -> bool:
        """Return False at index 0, where σ' and with it the score's shift is zero."""
        return index > 0

    def update(self, step: Step, shift: Tensor | None) -> Tensor:
        index, x0_hat = step.index, step.denoised.x0_hat
        if index == 0:  # the clean image, where σ' and with it noise and shift are zero
            return x0_hat
        noisy = self.adds_noise(step.process, index)
        (alpha, sigma), (next_alpha, next_sigma) = step.scales, step.next_scales
        h = (next_alpha / next_sigma).log() - (alpha / sigma).log()
        extrapolated = x0_hat
        if step.past and step.past[-1][0] == index + 1 and _length_ratio(step.process, index) >= _LEAST_RATIO:
            past_alpha, past_sigma = step.process.scales(index + 1)
            r = ((alpha / sigma).log() - (past_alpha / past_sigma).log()) / h
            extrapolated = x0_hat + (x0_hat - step.past[-1][1]) / (2 * r)
        decay = -torch.expm1(-2 * h if noisy else -h)
        x = next_sigma / sigma * ((-h).exp() if noisy else 1) * step.x_t + next_alpha * decay * extrapolated
        if shift is not None:
            x = x + self._push(step, noisy) * shift
        return x + next_sigma * decay.sqrt() * step.z if noisy else x

    @staticmethod
    def _push(step: Step, noisy: bool) -> Tensor:
        """Return the integral of the score shift's factor over the step."""
        (alpha, sigma), (next_alpha, next_sigma) = step.scales, step.next_scales
        if noisy:
            return 2 * next_sigma**2 / next_alpha * ((next_alpha / next_sigma).asinh() - (alpha / sigma).asinh())
        return next_sigma * (((1 + sigma) / alpha).log() - ((1 + next_sigma) / next_alpha).log())


def _length_ratio(process: Process, index: int) -> float:
    """Return r of the step from `index` to `index` − 1, without waiting for the device."""
    before, here, after = (process.log_snr_list[i] for i in (index + 1, index, index - 1))
    return (here - before) / (after - here)
