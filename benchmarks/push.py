"""How far a guidance moves samples: of two directions with the same largest value one may be much longer than the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sgm_lightning import Denoiser, SampleNoise
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers import Sampler


class Still:
    """No noise: what is left of the difference of two steps is the guidance's."""

    def __init__(self, like: Tensor) -> None:
        self.zeros = torch.zeros_like(like)

    def step(self, index: int) -> Tensor:
        return self.zeros


def push(denoiser: Denoiser, sampler: Sampler, guidance: Guidance, scale: float, batch: int = 4) -> dict[str, float]:
    """Of a chain: `rms`, the mean RMS of the direction scale · g at guided steps; `shift`, the RMS of what it adds to the
    states, summed over the steps; `scale_variance`, the sum of scale · σ², or of the factor that stands for it."""
    found: dict[str, list[float]] = {"rms": [], "shift": [], "scale_variance": []}
    own = sampler.step

    def step(
        denoiser: Any, x_t: Tensor, denoised: Any, index: int, noise: Any, guided: Any, direction: Tensor | None
    ) -> Tensor:
        if direction is not None:
            memory, still = sampler.memory, Still(x_t)
            ends = []
            for d in (direction, None):
                sampler.memory = memory
                ends.append(own(denoiser, x_t, denoised, index, still, guided, d))  # type: ignore[arg-type]
            sampler.memory = memory
            shift, rms = (float(v.square().mean().sqrt()) for v in (ends[0] - ends[1], direction))
            found["rms"].append(rms)
            found["shift"].append(shift)
            found["scale_variance"].append(scale * shift / rms if rms else 0.0)
        return own(denoiser, x_t, denoised, index, noise, guided, direction)

    sampler.step = step  # type: ignore[method-assign]
    try:
        sampler(denoiser, SampleNoise(0, range(batch), denoiser.image_shape), guidance)
    finally:
        del sampler.step
    rms = found["rms"]
    return {"rms": sum(rms) / len(rms), "shift": sum(found["shift"]), "scale_variance": sum(found["scale_variance"])}
