"""Classifier-free guidance (Ho & Salimans 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from sgm_lightning.diffusion import ChangedDenoiser, Condition, Denoised, Denoiser, Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance, Window
from sgm_lightning.samplers.base import Sampler, SamplingMethod, State
from sgm_lightning.samplers.wrapper import Wrapper


class ClassifierFreeGuidance(Wrapper):
    """Replaces x0_hat by x0_hat(x_t, ∅) + w (x0_hat(x_t, c) − x0_hat(x_t, ∅)).

    Guiding eps_hat instead would give the same result, because x0_hat is linear in it. ∅ is the null class, the last one
    of a network that was trained with label dropout. Both predictions come from one call with twice the batch; w = 1 is the
    conditional model and w = 0 the unconditional one. w > 1 favours images typical of a class, w < 0 untypical ones. The
    variance is that of the conditional prediction. A guidance gets the guided prediction.

    Args:
        scale: Guidance scale w.
        sampler: Sampler whose chain is changed; default: ancestral sampling.
        window: Part of the chain in which w applies (Kynkäänniemi et al. 2024), default all steps. Outside, the conditional
            model is used.
    """

    def __init__(self, scale: float = 1.5, sampler: Sampler | None = None, window: Window | None = None) -> None:
        super().__init__(sampler)
        self.scale = scale
        self.window = Window() if window is None else window

    @property
    def plain(self) -> SamplingMethod:
        """The method on the plain sampler. Guidance towards a class is no preference for the tail, so it is kept."""
        inner = self.sampler.plain
        return ClassifierFreeGuidance(self.scale, inner, self.window) if isinstance(inner, Sampler) else inner

    def start(
        self, denoiser: Denoiser, noise: Noise, condition: Condition | None = None, guidance: Guidance | None = None
    ) -> State:
        if denoiser.model.null_class is None:
            raise SGMError(
                "Classifier-free guidance needs a network trained with label dropout, got one without a null class; train "
                "it with `model.label_dropout: 0.1`, or leave the method out."
            )
        return super().start(denoiser, noise, condition, guidance)

    def bind(self, denoiser: Denoiser) -> Denoiser:
        return ChangedDenoiser(denoiser, self.guided)

    def guided(self, inner: Denoiser, x_t: Tensor, index: int | Tensor, condition: Condition) -> Denoised:
        """Return the model's prediction, moved away from the unconditional one."""
        if isinstance(index, int) and not self.window.contains(index, inner.process.num_steps):
            return inner(x_t, index, condition)
        count = len(x_t)
        repeated = index if isinstance(index, int) else torch.cat([index, index])
        denoised = inner(torch.cat([x_t, x_t]), repeated, self._both(inner, condition))
        conditional, unconditional = denoised.x0_hat[:count], denoised.x0_hat[count:]
        variance, log_variance = (
            value[:count] if value.ndim and len(value) == 2 * count else value
            for value in (denoised.variance, denoised.log_variance)
        )
        return Denoised(unconditional + self.scale * (conditional - unconditional), variance, log_variance)

    @staticmethod
    def _both(inner: Denoiser, condition: Condition) -> Condition:
        """Return the condition followed by that of the null class."""
        labels, null = condition.labels, inner.model.null_class
        assert labels is not None and null is not None
        nulls = torch.full_like(labels, null)
        both = condition.repeat(2)
        embedding = condition.get("embedding")
        if embedding is None:
            return both.replace(labels=torch.cat([labels, nulls]))
        return both.replace(embedding=torch.cat([embedding, inner.model.embed_classes(nulls)]))
