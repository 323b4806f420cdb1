"""What a method changes of another one's chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Chain, SamplingMethod, State
from sgm_lightning.samplers.ddpm import DDPM


class Wrapper(Chain):
    """A chain that leaves its steps to another one, and changes what it needs to: wrappers can be nested in any order.

    Args:
        sampler: The chain that is changed; default ancestral.
    """

    def __init__(self, sampler: Chain | None = None) -> None:
        super().__init__()
        self.sampler = sampler or DDPM()

    @property
    def plain(self) -> SamplingMethod:
        return self.sampler.plain

    def indices(self, num_steps: int) -> list[int]:
        return self.sampler.indices(num_steps)

    def begin(
        self, denoiser: Denoiser, noise: Noise, guidance: Guidance | None = None, condition: Condition | None = None
    ) -> State:
        return self.sampler.begin(denoiser, noise, guidance, condition)

    def move(self, denoiser: Denoiser, state: State, index: int, guidance: Guidance | None = None) -> Denoised:
        return self.sampler.move(denoiser, state, index, guidance)

    def selected(self, memory: Any, rows: Sequence[int]) -> Any:
        return self.sampler.selected(memory, rows)
