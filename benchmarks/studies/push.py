"""How far a guidance moves samples: of two directions with the same largest value one may be much longer than the other."""

from __future__ import annotations

from torch import Tensor

from sgm_lightning import Denoiser, SampleNoise
from sgm_lightning.diffusion import Step
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers import Sampler


def push(denoiser: Denoiser, sampler: Sampler, guidance: Guidance, scale: float, batch: int = 4) -> dict[str, float]:
    """The size of what a guidance adds to a chain.

    `rms` is the mean RMS of the direction scale · g at guided steps; `shift` the RMS of what it adds to the states, summed
    over the steps; `scale_variance` the sum of scale · σ², or of the factor that stands for it.
    """
    found: dict[str, list[float]] = {"rms": [], "shift": [], "scale_variance": []}
    own = sampler.update

    def update(step: Step, direction: Tensor | None) -> Tensor:
        moved = own(step, direction)
        if direction is not None:
            # The noise is the same in both, so that the difference is the guidance's.
            shift, rms = (float(v.square().mean().sqrt()) for v in (moved - own(step, None), direction))
            found["rms"].append(rms)
            found["shift"].append(shift)
            found["scale_variance"].append(scale * shift / rms if rms else 0.0)
        return moved

    sampler.update = update  # type: ignore[method-assign]
    try:
        sampler(denoiser, SampleNoise(0, range(batch), denoiser.image_shape), guidance)
    finally:
        del sampler.update
    rms = found["rms"]
    return {"rms": sum(rms) / len(rms), "shift": sum(found["shift"]), "scale_variance": sum(found["scale_variance"])}
