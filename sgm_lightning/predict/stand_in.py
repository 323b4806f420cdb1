"""A stand-in that answers at once, for walking a method's chain without its network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sgm_lightning.diffusion import Denoiser


class StandIn(nn.Module):
    """Returns half of its input's first channel, and counts the images that it is called and differentiated for.

    Args:
        channels: Number of channels of the output.

    Attributes:
        forwards: Number of images that were denoised.
        backwards: Number of images through which it was differentiated.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        self.forwards += len(x)
        out = x[:, :1].expand(-1, self.channels, -1, -1) * 0.5
        if out.requires_grad:
            out.register_hook(self._count)
        return out

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def walker(denoiser: Denoiser) -> Denoiser:
    """Return the same model on the same chain, with a `StandIn` as its network."""
    channels = denoiser.image_shape[0] * (2 if denoiser.model.variance == "learned_range" else 1)
    return Denoiser(denoiser.model, denoiser.process, network=StandIn(channels))
