"""Checks that a method suits a model, before anything is drawn or written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser, SampleNoise
from sgm_lightning.guidance import Guidance
from sgm_lightning.predict.stand_in import walker
from sgm_lightning.samplers import DDPM, SamplingMethod
from sgm_lightning.scores import MinorityScore


class _FirstStepDone(Exception):
    """Raised after the first step, to end the check."""


def check_method(
    denoiser: Denoiser, sampler: SamplingMethod, guidance: Guidance | None = None, condition: Condition | None = None
) -> None:
    """Raise any error that drawing would raise.

    The method's first step is tried on one sample, and so is every score, and every guidance at the first step where it acts
    (which may be late in the chain). The network is not called.

    Args:
        denoiser: Model on its chain.
        sampler: Method that draws the samples.
        guidance: Guidance of the method's steps.
        condition: Condition of the one sample.

    Raises:
        SGMError: If the method, the guidance and the model do not go together.
    """
    device = next(denoiser.network.parameters()).device
    probe = walker(denoiser)
    noise = SampleNoise(0, [0], denoiser.image_shape, device)
    if guidance is not None:
        guidance.check(probe)
    with torch.no_grad(), suppress(_FirstStepDone):
        sampler(probe, noise, guidance, condition, _stop)
    for part in [] if guidance is None else [m for m in guidance.modules() if isinstance(m, Guidance)]:
        _try(probe, sampler, part, condition, noise)
    for score in (m for m in sampler.modules() if isinstance(m, MinorityScore)):
        with torch.no_grad():
            score(probe, noise.start(), noise, condition)


def acts_nowhere(denoiser: Denoiser, sampler: SamplingMethod, guidance: Guidance) -> bool:
    """Return whether the guidance acts at no step of the chain."""
    num_steps = denoiser.process.num_steps
    return not any(guidance.acts(index, num_steps) for index in sampler.indices(num_steps))


def _try(probe: Denoiser, sampler: SamplingMethod, part: Guidance, condition: Condition | None, noise: SampleNoise) -> None:
    num_steps = probe.process.num_steps
    index = next((i for i in sampler.indices(num_steps) if part.acts(i, num_steps)), None)
    if index is None:
        return
    ancestral = DDPM()
    with torch.no_grad():
        ancestral.step(ancestral.start(probe, noise, condition, part), index, part)


def _stop(index: int, denoised: Any, x: Tensor) -> None:
    raise _FirstStepDone
