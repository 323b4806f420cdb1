"""Classifier-free guidance (Ho & Salimans 2022)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Chain, SamplingMethod, State
from sgm_lightning.samplers.wrapper import Wrapper


class ClassifierFreeGuidance(Wrapper):
    """x0_hat ← x0_hat(x_t, ∅) + w (x0_hat(x_t, c) − x0_hat(x_t, ∅)); the same of eps_hat, as both are linear in each other.

    ∅ is the class after the last of a network that was trained with label dropout. Both are one call of twice the batch;
    w = 1 is the conditional model and w = 0 the unconditional one. w > 1 seeks what is typical of a class, w < 0 what is
    not. The variance is the conditional one's. A guidance sees the guided model.

    Args:
        scale: w.
        sampler: The chain that is changed; default ancestral.
    """

    def __init__(self, scale: float = 1.5, sampler: Chain | None = None) -> None:
        super().__init__(sampler)
        self.scale = scale

    @property
    def plain(self) -> SamplingMethod:
        """Guidance towards a class is no preference for the tail: it stays."""
        inner = self.sampler.plain
        return ClassifierFreeGuidance(self.scale, inner) if isinstance(inner, Chain) else inner

    def begin(
        self, denoiser: Denoiser, noise: Noise, guidance: Guidance | None = None, condition: Condition | None = None
    ) -> State:
        if denoiser.null_class is None:
            raise SGMError(
                "Classifier-free guidance needs a network trained with label dropout, got one without a null class; train "
                "it with `model.label_dropout: 0.1`, or leave the method out."
            )
        return self.sampler.begin(denoiser, noise, guidance, condition)

    def move(self, denoiser: Denoiser, state: State, index: int, guidance: Guidance | None = None) -> Denoised:
        return self.sampler.move(denoiser.modified(self._guided), state, index, guidance)

    def _guided(self, denoiser: Denoiser, x_t: Tensor, index: int | Tensor, condition: Condition) -> Denoised:
        assert denoiser.null_class is not None and condition.labels is not None
        count = len(x_t)
        both = condition.repeat(2)
        assert both.labels is not None
        if both.embedding is None:
            labels = torch.cat([both.labels[:count], torch.full_like(both.labels[count:], denoiser.null_class)])
            both = replace(both, labels=labels)
        else:
            null = denoiser.class_embedding(torch.full_like(condition.labels, denoiser.null_class))
            both = replace(both, embedding=torch.cat([both.embedding[:count], null]))
        repeated = index if isinstance(index, int) else torch.cat([index, index])
        denoised = denoiser(torch.cat([x_t, x_t]), repeated, both)
        conditional, unconditional = denoised.x0_hat[:count], denoised.x0_hat[count:]
        variance, log_variance = (
            value[:count] if value.ndim and len(value) == 2 * count else value
            for value in (denoised.variance, denoised.log_variance)
        )
        return Denoised(unconditional + self.scale * (conditional - unconditional), variance, log_variance)
