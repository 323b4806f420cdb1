"""The reverse chain, written once; a sampler is its step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance

OnStep = Callable[[int, Denoised, Tensor], None]


class SamplingMethod(nn.Module, ABC):
    """From noise to one image for every sample. A module, so that what it scores with follows the model to its device."""

    @property
    def plain(self) -> SamplingMethod:
        """What draws the baseline: the method without its own preference for the tail."""
        return self

    @abstractmethod
    def indices(self, num_steps: int) -> list[int]:
        """Respaced indices in the order of sampling."""

    @abstractmethod
    def forward(
        self,
        denoiser: Denoiser,
        noise: Noise,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Draw one batch.

        Args:
            denoiser: The model on its chain.
            noise: Source of all randomness; its shape is the samples' shape.
            guidance: Optional guidance.
            condition: Labels and low-resolution images.
            on_step: Called after every step with the index, the step's `Denoised` and x_{t−1}.

        Returns:
            (B, C, H, W) float32 x_0, nominally in [−1, 1].

        Raises:
            SGMError: If a state became NaN or infinite; it names the first such step and the samples.
        """


@dataclass
class State:
    """Where a batch is in its chain.

    Attributes:
        x: (B, C, H, W) float32 x_t.
        noise: Its source of randomness.
        condition: Its labels and low-resolution images.
        bad_index: (B,) int64: the first step that left a row not finite, −1 if none.
        memory: What a multistep sampler keeps of the steps before.
    """

    x: Tensor
    noise: Noise
    condition: Condition
    bad_index: Tensor
    memory: Any = None


class Chain(SamplingMethod):
    """One state that moves from x_T to x_0, a step at a time."""

    def forward(
        self,
        denoiser: Denoiser,
        noise: Noise,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        state = self.begin(denoiser, noise, guidance, condition)
        for index in self.indices(denoiser.process.num_steps):
            denoised = self.move(denoiser, state, index, guidance)
            if on_step is not None:
                on_step(index, denoised, state.x)
        return self.finish(denoiser, state)

    @abstractmethod
    def begin(
        self, denoiser: Denoiser, noise: Noise, guidance: Guidance | None = None, condition: Condition | None = None
    ) -> State:
        """x_T; every check comes before a step is taken."""

    @abstractmethod
    def move(self, denoiser: Denoiser, state: State, index: int, guidance: Guidance | None = None) -> Denoised:
        """One step of the state, in place."""

    @abstractmethod
    def selected(self, memory: Any, rows: Sequence[int]) -> Any:
        """The memory of some rows of the batch, which alone go on."""

    def finish(self, denoiser: Denoiser, state: State) -> Tensor:
        """x_0, all of it finite: the one read of the device in a chain."""
        steps = state.bad_index.tolist()
        bad = [i for i, step in enumerate(steps) if step >= 0]
        if not bad:
            return state.x
        first = max(steps[i] for i in bad)
        train_step = denoiser.process.step_list[first]
        raise SGMError(
            f"The state became NaN or infinite at respaced index {first} (train step {train_step}) for the samples "
            f"{[int(state.noise.indices[i]) for i in bad]}; check the weights, the guidance's scale or the precision."
        )


class Sampler(Chain):
    """From x_T to x_0, with or without guidance.

    Args:
        clip: Clip x0_hat to [−1, 1] in every step: the unguided one, as what wraps the sampler has changed it.

    Attributes:
        memory: What `step` keeps of the chain that is being moved; it belongs to the chain's `State`.
    """

    memory: Any = None

    def __init__(self, clip: bool = True) -> None:
        super().__init__()
        self.clip = clip

    @abstractmethod
    def step(
        self,
        denoiser: Denoiser,
        x_t: Tensor,
        denoised: Denoised,
        index: int,
        noise: Noise,
        guidance: Guidance | None,
        direction: Tensor | None,
    ) -> Tensor:
        """x_{t−1} from x_t; `direction` is the guidance's, None where the step is not guided."""

    def answers(self, guidance: Guidance, index: int) -> bool:
        """Whether a direction at respaced `index` changes x_{t−1}; where it does not, none is asked for."""
        return True

    def selected(self, memory: Any, rows: Sequence[int]) -> Any:
        return memory

    def indices(self, num_steps: int) -> list[int]:
        return list(range(num_steps))[::-1]

    def begin(
        self, denoiser: Denoiser, noise: Noise, guidance: Guidance | None = None, condition: Condition | None = None
    ) -> State:
        condition = condition or Condition()
        denoiser.check_condition(condition)
        if guidance is not None and guidance.needs_grad and torch.is_inference_mode_enabled():
            raise SGMError(
                "Guidance needs gradients, which torch.inference_mode forbids; set `trainer.inference_mode: false`."
            )
        x = noise.start()
        return State(x, noise, condition, torch.full((x.shape[0],), -1, device=x.device))

    def move(self, denoiser: Denoiser, state: State, index: int, guidance: Guidance | None = None) -> Denoised:
        self.memory = state.memory
        state.x, denoised = self.advance(denoiser, state.x, index, state.noise, guidance, state.condition)
        state.memory, self.memory = self.memory, None
        finite = torch.isfinite(state.x).flatten(1).all(1)
        state.bad_index = torch.where((state.bad_index < 0) & ~finite, index, state.bad_index)
        return denoised

    def advance(
        self,
        denoiser: Denoiser,
        x_t: Tensor,
        index: int,
        noise: Noise,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
    ) -> tuple[Tensor, Denoised]:
        """One step from x_t at `index`: x_{t−1} and the step's `Denoised`.

        At a guided step one forward serves both the step and the guidance.
        """
        condition = condition or Condition()
        num_steps = denoiser.process.num_steps
        guided = guidance is not None and guidance.active(index, num_steps) and self.answers(guidance, index)
        with_grad = guided and guidance is not None and guidance.needs_grad_at(index, num_steps)
        direction = None
        with torch.set_grad_enabled(with_grad):
            x_t = x_t.detach().requires_grad_(with_grad)
            denoised = denoiser(x_t, index, condition)
        if guided and guidance is not None:
            direction = guidance(denoiser, x_t, denoised, index, noise, condition)
        with torch.no_grad():
            x_t = x_t.detach()
            x0_hat = denoised.x0_hat.detach()
            denoised = Denoised(
                x0_hat.clamp(-1, 1) if self.clip else x0_hat,
                denoised.variance.detach(),
                denoised.log_variance.detach(),
            )
            return self.step(denoiser, x_t, denoised, index, noise, guidance, direction), denoised
