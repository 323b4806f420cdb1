"""Methods that change another method's chain."""

from __future__ import annotations

from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser, Noise, Process, Step
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Sampler, SamplingMethod, State
from sgm_lightning.samplers.ddpm import DDPM


class Wrapper(Sampler):
    """A sampler that changes the chain of another sampler and uses its updates. Wrappers nest in any order.

    Args:
        sampler: Sampler whose chain is changed; default: ancestral sampling.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        super().__init__()
        self.sampler = DDPM() if sampler is None else sampler
        self.order, self.clip = self.sampler.order, self.sampler.clip

    @property
    def plain(self) -> SamplingMethod:
        return self.sampler.plain

    def bind(self, denoiser: Denoiser) -> Denoiser:
        """Return the model as this wrapper changes it, once per chain; default: unchanged."""
        return denoiser

    def indices(self, num_steps: int) -> list[int]:
        return self.sampler.indices(num_steps)

    def adds_noise(self, process: Process, index: int) -> bool:
        return self.sampler.adds_noise(process, index)

    def answers_shift(self, index: int) -> bool:
        return self.sampler.answers_shift(index)

    def condition(self, state: State, index: int) -> Condition:
        return self.sampler.condition(state, index)

    def start(
        self, denoiser: Denoiser, noise: Noise, condition: Condition | None = None, guidance: Guidance | None = None
    ) -> State:
        return self.sampler.start(self.bind(denoiser), noise, condition, guidance)

    def update(self, step: Step, shift: Tensor | None) -> Tensor:
        return self.sampler.update(step, shift)
