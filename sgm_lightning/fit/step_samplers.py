"""Distributions over the steps of the chain, from which training draws."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sgm_lightning.errors import SGMError


class StepSampler(nn.Module, ABC):
    """A distribution over the steps 0 … T − 1, with the weights that keep the loss unbiased."""

    @abstractmethod
    def probabilities(self, num_steps: int) -> Tensor:
        """Return (T,) float64 probabilities, all positive and with sum 1."""

    def forward(self, uniform: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """Return steps for uniform draws by inverting the distribution function, so that the draw decides on any device.

        Args:
            uniform: (B,) float64 draws in [0, 1).
            num_steps: Length T of the chain.

        Returns:
            (B,) int64 steps t, and (B,) float32 importance weights 1 / (T p_t).
        """
        p = self.probabilities(num_steps).to(uniform.device)
        index = torch.searchsorted(p.cumsum(0), uniform.contiguous(), right=True).clamp(max=num_steps - 1)
        return index, (1 / (num_steps * p[index])).float()

    def update(self, index: Tensor, loss: Tensor) -> None:
        """Learn from the (B,) losses of the global batch, which are the same on every process.

        Args:
            index: (B,) steps of the losses.
            loss: (B,) losses without importance weights.
        """

    @property
    def learns(self) -> bool:
        """True if `update` does anything, so that losses have to be gathered."""
        return False


class UniformSteps(StepSampler):
    """Draws every step with equal probability."""

    def probabilities(self, num_steps: int) -> Tensor:
        return torch.full((num_steps,), 1 / num_steps, dtype=torch.float64)


class LossSecondMoment(StepSampler):
    """Draws p_t ∝ √E[L_t²] over the last losses of every step (Nichol & Dhariwal 2021, eq. 18).

    The distribution is uniform until every step has `history` losses.

    Args:
        history: Number of losses that are kept for each step.
        uniform_share: Share of the uniform distribution that is mixed in.
        num_steps: Length T of the chain that is trained.
    """

    def __init__(self, history: int = 10, uniform_share: float = 0.001, num_steps: int = 1000) -> None:
        super().__init__()
        if history < 1 or not 0 < uniform_share <= 1:
            raise SGMError(
                f"history must be at least 1 and uniform_share in (0, 1], got {history} and {uniform_share}; the paper "
                "uses 10 and 0.001."
            )
        self.uniform_share = uniform_share
        # No buffers, which would move to the GPU, where every element read would make the host wait.
        self.losses = torch.zeros(num_steps, history, dtype=torch.float64)
        self.counts = torch.zeros(num_steps, dtype=torch.int64)

    @property
    def learns(self) -> bool:
        return True

    def get_extra_state(self) -> Tensor:
        """Return the (T, history + 1) losses and counts, for the state dict."""
        return torch.cat([self.losses, self.counts[:, None]], 1)

    def set_extra_state(self, state: Tensor) -> None:
        self.losses, self.counts = state[:, :-1].clone(), state[:, -1].long()

    def probabilities(self, num_steps: int) -> Tensor:
        if num_steps != len(self.counts):
            raise SGMError(f"The model's chain has {num_steps} steps, got step_sampler.num_steps {len(self.counts)}.")
        uniform = torch.full_like(self.losses[:, 0], 1 / num_steps)
        if bool((self.counts < self.losses.shape[1]).any()):
            return uniform
        weights = self.losses.square().mean(1).sqrt()
        return weights / weights.sum() * (1 - self.uniform_share) + uniform * self.uniform_share

    @torch.no_grad()
    def update(self, index: Tensor, loss: Tensor) -> None:
        history = self.losses.shape[1]
        for step, value in zip(index.tolist(), loss.double().tolist(), strict=True):
            # A ring buffer: the oldest loss is overwritten.
            self.losses[step, int(self.counts[step]) % history] = value
            self.counts[step] += 1
