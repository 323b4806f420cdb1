"""Several guidances at once, and any of them in a part of the chain alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.base import Guidance


class Together(Guidance):
    """The sum of the directions of those guidances that act in a step; one forward of the model serves all.

    Args:
        guidances: At least one; all of the same `weighting`.

    Raises:
        SGMError: If there are none, or their weightings differ.
    """

    def __init__(self, guidances: list[Guidance]) -> None:
        super().__init__()
        weightings = {guidance.weighting for guidance in guidances}
        if len(weightings) != 1:
            raise SGMError(
                f"Guidances that act together must have one weighting, got {sorted(weightings)} of {len(guidances)} "
                "guidances; set `weighting` alike."
            )
        self.guidances = nn.ModuleList(guidances)
        self.weighting = guidances[0].weighting
        self.needs_grad = any(guidance.needs_grad for guidance in guidances)
        self.couples_batch = any(guidance.couples_batch for guidance in guidances)
        self.least_batch = max(guidance.least_batch for guidance in guidances)
        for part in self.guidances.modules():
            if isinstance(part, Guidance):
                part.retains_graph = True

    def _parts(self, index: int, num_steps: int) -> list[Guidance]:
        return [part for part in self.guidances if isinstance(part, Guidance) and part.active(index, num_steps)]

    def active(self, index: int, num_steps: int) -> bool:
        return bool(self._parts(index, num_steps))

    def needs_grad_at(self, index: int, num_steps: int) -> bool:
        return any(part.needs_grad_at(index, num_steps) for part in self._parts(index, num_steps))

    def forward(
        self, denoiser: Denoiser, x_t: Tensor, denoised: Denoised, index: int, noise: Noise, condition: Condition
    ) -> Tensor:
        total = torch.zeros_like(x_t.detach())
        parts = self._parts(index, denoiser.process.num_steps)
        for part in parts:
            total = total + part(denoiser, x_t, denoised, index, noise, condition)
        return total


class Window(Guidance):
    """A guidance in a part of the chain, and there at every n-th step only.

    Args:
        guidance: What acts inside; its own window holds, too.
        start_ratio: Guide only where index > num_steps · start_ratio; −1 for the whole chain.
        stop_ratio: Guide only where index ≤ num_steps · stop_ratio; 1 for the whole chain.
        interval: Guide where respaced index % interval == 0; index 0 counts.

    Raises:
        SGMError: If the window is empty or the interval is not positive.
    """

    def __init__(self, guidance: Guidance, start_ratio: float = -1.0, stop_ratio: float = 1.0, interval: int = 1) -> None:
        super().__init__()
        if start_ratio >= stop_ratio:
            raise SGMError(f"start_ratio must be less than stop_ratio, got {start_ratio} and {stop_ratio}.")
        if interval < 1:
            raise SGMError(f"interval must be at least 1, got {interval}; 1 guides every step.")
        self.guidance = guidance
        self.start_ratio = start_ratio
        self.stop_ratio = stop_ratio
        self.interval = interval
        self.weighting = guidance.weighting
        self.needs_grad = guidance.needs_grad
        self.couples_batch = guidance.couples_batch
        self.least_batch = guidance.least_batch

    def active(self, index: int, num_steps: int) -> bool:
        inside = num_steps * self.start_ratio < index <= num_steps * self.stop_ratio and index % self.interval == 0
        return inside and self.guidance.active(index, num_steps)

    def needs_grad_at(self, index: int, num_steps: int) -> bool:
        return self.active(index, num_steps) and self.guidance.needs_grad_at(index, num_steps)

    def forward(
        self, denoiser: Denoiser, x_t: Tensor, denoised: Denoised, index: int, noise: Noise, condition: Condition
    ) -> Tensor:
        direction: Tensor = self.guidance(denoiser, x_t, denoised, index, noise, condition)
        return direction
