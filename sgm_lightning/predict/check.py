"""Whether a method goes with a model, found out before anything is drawn or written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers import DDPM, SamplingMethod


class _Enough(Exception):
    """The first step is done."""


def answered(denoiser: Denoiser) -> Denoiser:
    """The same model, whose network answers at once, with nothing of interest: all else is as it will be."""
    channels = denoiser.image_shape[0] * (2 if denoiser.variance == "learned_range" else 1)
    return denoiser.answered_by(lambda x, *_, **__: 0.5 * x[:, :1].expand(-1, channels, -1, -1))


def check_method(
    denoiser: Denoiser, sampler: SamplingMethod, guidance: Guidance | None = None, condition: Condition | None = None
) -> None:
    """Raise what drawing would: the method's first step, and one step of every guidance in it, on one sample.

    A guidance may act late in the chain, so that each is tried where it first acts. The network is not called.

    Args:
        denoiser: The model on its chain.
        sampler: The method.
        guidance: Its guidance.
        condition: Labels and low-resolution image of the one sample.

    Raises:
        SGMError: If the method, the guidance and the model do not go together.
    """
    probe = answered(denoiser)
    try:
        with torch.no_grad(), suppress(_Enough):
            sampler(probe, _noise(denoiser), guidance, condition, _stop)
        for part in _guidances(guidance):
            _try(probe, sampler, part, condition)
    except RuntimeError:
        if torch.is_inference_mode_enabled():
            raise needs_gradients() from None
        raise
    with torch.inference_mode(False):  # what a sampler chooses by takes no gradients when it draws
        for part in _guidances(sampler):
            _try(probe, sampler, part, condition)


def _try(probe: Denoiser, sampler: SamplingMethod, part: Guidance, condition: Condition | None) -> None:
    num_steps = probe.process.num_steps
    index = next((i for i in sampler.indices(num_steps) if part.active(i, num_steps)), None)
    if index is None:
        return
    noise = _noise(probe)
    with torch.no_grad():
        DDPM().advance(probe, noise.start(), index, noise, part, condition)


def needs_gradients() -> SGMError:
    """The error for a guidance under inference mode."""
    return SGMError(
        "Guidance needs gradients, which inference mode forbids, got trainer.inference_mode: true; set "
        "`trainer.inference_mode: false`."
    )


def _noise(denoiser: Denoiser) -> SampleNoise:
    return SampleNoise(0, [0], denoiser.image_shape, next(denoiser.network.parameters()).device)


def _guidances(module: nn.Module | None) -> list[Guidance]:
    return [] if module is None else [part for part in module.modules() if isinstance(part, Guidance)]


def _stop(index: int, denoised: Any, x: Tensor) -> None:
    raise _Enough
