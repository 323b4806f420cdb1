"""A process that is defined by its noise levels alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sgm_lightning.diffusion.process import Process
from sgm_lightning.errors import SGMError


class LevelProcess(Process):
    """q(x_t | x_0) = N(α_t x_0, σ_t² I) at any levels: α = 1 for EDM (Karras et al. 2022), α = 1 − σ for rectified flow.

    Args:
        alphas: Scale α of every level, positive; index 0 is the least noisy.
        sigmas: Noise scale σ of every level, positive, so that σ / α rises.
        times: Time that the network is given for every level; default: σ / α.

    Raises:
        SGMError: If the lists differ in length, or the levels do not rise.
    """

    alphas: Tensor
    sigmas: Tensor
    times: Tensor

    def __init__(self, alphas: Sequence[float], sigmas: Sequence[float], times: Sequence[float] | None = None) -> None:
        super().__init__()
        ratios = [sigma / alpha if alpha > 0 else math.nan for alpha, sigma in zip(alphas, sigmas, strict=False)]
        rising = all(low < high for low, high in zip([0.0, *ratios], ratios, strict=False))
        if not len(alphas) == len(sigmas) == len(times or alphas) or not ratios or not rising:
            raise SGMError(
                f"alphas, sigmas and times must be equally many with σ / α positive and rising, got {len(alphas)}, "
                f"{len(sigmas)} and {len(times or alphas)} with σ / α = {ratios[:5]} …; list the least noisy level first."
            )
        self.num_steps = len(alphas)
        self.log_snr_list = [-2 * math.log(ratio) for ratio in ratios]
        self._times = list(ratios if times is None else times)
        # Index −1, the last entry, is the clean image.
        self.register_buffer("alphas", torch.tensor([*alphas, 1.0], dtype=torch.float32), persistent=False)
        self.register_buffer("sigmas", torch.tensor([*sigmas, 0.0], dtype=torch.float32), persistent=False)
        self.register_buffer("times", torch.tensor(self._times, dtype=torch.float32), persistent=False)

    def scales(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(index, int):
            return self.alphas[index], self.sigmas[index]
        return self.alphas[index].view(-1, 1, 1, 1), self.sigmas[index].view(-1, 1, 1, 1)

    def time(self, index: int | Tensor) -> Tensor:
        return self.times[index]

    def share(self, index: int) -> float:
        return (index + 1) / self.num_steps

    def describe(self, index: int) -> str:
        return f"time {self._times[index]:g}"
