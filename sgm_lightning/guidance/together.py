"""Several guidances at once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Denoiser, Noise, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.base import Guidance
from sgm_lightning.guidance.window import Window


class Together(Guidance):
    """The sum of the directions of the guidances that act at a step. They share one forward of the model.

    Each guidance has its window, and draws separate noise.

    Args:
        guidances: Guidances to add, at least one, all with the same `weighting`.
        window: Part of the chain outside of which no guidance acts; default all steps.

    Raises:
        SGMError: If there are no guidances, or their weightings differ.
    """

    def __init__(self, guidances: list[Guidance], window: Window | None = None) -> None:
        weightings = {guidance.weighting for guidance in guidances}
        if len(weightings) != 1:
            raise SGMError(
                f"Guidances that act together must have one weighting, got {sorted(weightings)} of {len(guidances)} "
                "guidances; set `weighting` alike."
            )
        super().__init__(window, guidances[0].weighting)
        self.guidances = nn.ModuleList(guidances)
        self.needs_grad = any(guidance.needs_grad for guidance in guidances)
        self.couples_batch = any(guidance.couples_batch for guidance in guidances)
        self.least_batch = max(guidance.least_batch for guidance in guidances)

    def acts(self, index: int, num_steps: int) -> bool:
        return bool(self._acting(index, num_steps))

    def differentiates(self, index: int, num_steps: int) -> bool:
        return any(part.differentiates(index, num_steps) for _, part in self._acting(index, num_steps))

    def check(self, denoiser: Denoiser) -> None:
        for _, part in self._parts():
            part.check(denoiser)

    def ahead(self, noise: Noise, index: int, num_steps: int) -> None:
        for number, part in self._acting(index, num_steps):
            part.ahead(noise.apart(number), index, num_steps)

    def forward(self, step: Step) -> Tensor:
        acting = self._acting(step.index, step.process.num_steps)
        last = max((n for n, part in acting if part.differentiates(step.index, step.process.num_steps)), default=-1)
        total = torch.zeros_like(step.x_t.detach())
        for number, part in acting:
            keeps = step.keeps_graph or number < last
            total = total + part(replace(step, noise=step.noise.apart(number), keeps_graph=keeps))
        return total

    def _parts(self) -> list[tuple[int, Guidance]]:
        return [(number, part) for number, part in enumerate(self.guidances) if isinstance(part, Guidance)]

    def _acting(self, index: int, num_steps: int) -> list[tuple[int, Guidance]]:
        if not self.window.contains(index, num_steps):
            return []
        return [(number, part) for number, part in self._parts() if part.acts(index, num_steps)]
