"""The reverse chain, which all samplers share; a sampler defines its update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoised, Denoiser, Noise, OnStep, Process, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.guidance.base import differentiable


class SamplingMethod(nn.Module, ABC):
    """Draws one image per sample from noise.

    It is an `nn.Module` so that a network it scores with moves to the model's device.
    """

    @property
    def title(self) -> str:
        """Name of the samples in reports."""
        return type(self).__name__

    @property
    def plain(self) -> SamplingMethod:
        """The method without its preference for the tail, which draws the baseline."""
        return self

    @abstractmethod
    def indices(self, num_steps: int) -> list[int]:
        """Return the respaced indices in the order of sampling."""

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
            denoiser: Denoiser of the model on its chain.
            noise: Random numbers of the samples, of the model's shape.
            guidance: Guidance of the steps, or None.
            condition: Condition of the samples.
            on_step: Function that is called after every step with the index, the step's `Denoised` and x_{t−1}.

        Returns:
            The samples x_0, (B, C, H, W) float32, nominally in [−1, 1].

        Raises:
            SGMError: If a state became NaN or infinite; it names the first such step and the samples.
        """


@dataclass
class State:
    """The state of a batch in its chain.

    Attributes:
        denoiser: Denoiser of the model, as the methods around the sampler have changed it.
        x: State x_t, (B, C, H, W) float32.
        noise: Random numbers of the samples.
        condition: Condition of the samples.
        bad_index: Index of the first step after which a row is not finite, (B,) int64; −1 if none.
        level: Index of the noise level of x, −1 at the end; None before the first step.
        past: Pairs (index, x0_hat) of the previous steps, as many as the sampler's order needs.
        visits: Number of steps that the chain has taken at each index.
    """

    denoiser: Denoiser
    x: Tensor
    noise: Noise
    condition: Condition
    bad_index: Tensor
    level: int | None = None
    past: list[tuple[int, Tensor]] = field(default_factory=list)
    visits: Counter[int] = field(default_factory=Counter)

    def select(self, rows: Tensor) -> None:
        """Keep only some rows of the batch. This reads from the device once."""
        chosen = rows.tolist()
        self.x, self.bad_index = self.x[rows], self.bad_index[rows]
        self.noise, self.condition = self.noise.select(chosen), self.condition.select(rows)
        self.past = [(index, x0_hat[rows]) for index, x0_hat in self.past]


class Sampler(SamplingMethod):
    """Moves one state from x_T to x_0, a step at a time, with or without guidance.

    A subclass implements `update`; methods that change the chain around it override `indices`, `start` and `condition`.

    Args:
        clip: Whether the predicted x_0 is clipped to [−1, 1] at every step, after methods around the sampler have changed
            the prediction and before guidance shifts it; default: true where the model diffuses pixels.

    Attributes:
        order: Number of predictions that a step combines, the current one included.
    """

    order: int = 1

    def __init__(self, clip: bool | None = None) -> None:
        super().__init__()
        self.clip = clip

    @abstractmethod
    def update(self, step: Step, shift: Tensor | None) -> Tensor:
        """Return x_{t−1} of a step. `shift` is a guidance's direction in units of the step's variance, or None."""

    def indices(self, num_steps: int) -> list[int]:
        """Return the respaced indices in the order of sampling. If they rise again, the state is noised to that level."""
        return list(range(num_steps))[::-1]

    def adds_noise(self, process: Process, index: int) -> bool:
        """Return True if the update from respaced `index` uses the step's noise."""
        return index > 0

    def answers_shift(self, index: int) -> bool:
        """Return True if a shift at respaced `index` changes x_{t−1}; where it does not, no guidance is computed."""
        return True

    def condition(self, state: State, index: int) -> Condition:
        """Return the condition of the step at respaced `index`."""
        return state.condition

    def start(
        self, denoiser: Denoiser, noise: Noise, condition: Condition | None = None, guidance: Guidance | None = None
    ) -> State:
        """Return the state at x_T. All checks are made here, before the first step."""
        condition = condition or Condition()
        denoiser.model.check_condition(condition)
        if guidance is not None:
            guidance.check(denoiser)
        x = noise.start()
        bad_index = torch.full((x.shape[0],), -1, device=x.device)
        return State(denoiser, x, noise, condition, bad_index)

    def forward(
        self,
        denoiser: Denoiser,
        noise: Noise,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        state = self.start(denoiser, noise, condition, guidance)
        for index in self.indices(denoiser.process.num_steps):
            denoised = self.step(state, index, guidance)
            if on_step is not None:
                on_step(index, denoised, state.x)
        return finite(state)

    def step(self, state: State, index: int, guidance: Guidance | None = None) -> Denoised:
        """Move the state by one step, in place. At a guided step one forward serves both the step and the guidance."""
        denoiser, num_steps = state.denoiser, state.denoiser.process.num_steps
        self._climb(state, index)
        visit = state.visits[index]
        guidance = self._acting(guidance, index, num_steps)
        # The noise is made while the network runs.
        if self.adds_noise(denoiser.process, index):
            state.noise.ahead_step(index, visit)
        if guidance is not None:
            guidance.ahead(state.noise, index, num_steps)
        differentiates = guidance is not None and guidance.differentiates(index, num_steps)
        condition = self.condition(state, index)
        with torch.set_grad_enabled(differentiates):
            x_t = differentiable(state.x) if differentiates else state.x.detach()
            denoised = denoiser(x_t, index, condition)
        step = Step(denoiser, index, x_t, denoised, state.noise, condition, tuple(state.past), visit)
        direction = None if guidance is None else guidance(step)
        with torch.no_grad():
            clip = denoiser.model.codec.bounded if self.clip is None else self.clip
            step = replace(step, x_t=x_t.detach(), denoised=denoised.detached(clip))
            shifts = guidance is not None and guidance.weighting == "variance"
            state.x = self.update(step, direction if shifts else None)
            if direction is not None and not shifts:
                state.x = state.x + direction
            bad = ~torch.isfinite(state.x).flatten(1).all(1) & (state.bad_index < 0)
            state.bad_index = torch.where(bad, index, state.bad_index)
        state.past = [*state.past, (index, step.denoised.x0_hat)][-(self.order - 1) :] if self.order > 1 else []
        state.level, state.visits[index] = index - 1, visit + 1
        return step.denoised

    def _acting(self, guidance: Guidance | None, index: int, num_steps: int) -> Guidance | None:
        """Return the guidance if it changes the step at `index`, else None."""
        if guidance is None or not guidance.acts(index, num_steps):
            return None
        return guidance if guidance.weighting != "variance" or self.answers_shift(index) else None

    def _climb(self, state: State, index: int) -> None:
        """Noise the state up to `index` if the chain returns to it."""
        if state.level is not None and index > state.level:
            noise = state.noise.jump(index, state.visits[index])
            state.x = state.denoiser.process.renoise(state.x, state.level, index, noise)
            state.past = []


def finite(state: State) -> Tensor:
    """Return x_0 if it is finite. This is the only read from the device in a sampler's chain.

    Raises:
        SGMError: If a row became NaN or infinite.
    """
    steps = state.bad_index.tolist()
    bad = [row for row, step in enumerate(steps) if step >= 0]
    if not bad:
        return state.x
    first, samples = max(steps[row] for row in bad), [int(state.noise.indices[row]) for row in bad]
    raise SGMError(
        f"The state became NaN or infinite at respaced index {first} ({state.denoiser.process.describe(first)}) for the "
        f"samples {samples}; check the weights, the guidance's scale or the precision."
    )
