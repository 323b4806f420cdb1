"""The cost of a sample before it is drawn: calls of the network and floating-point operations."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sgm_lightning.backbones import Backbone
from sgm_lightning.diffusion import Condition, Denoiser, SampleNoise
from sgm_lightning.guidance import Guidance
from sgm_lightning.predict.stand_in import StandIn, walker
from sgm_lightning.samplers import SamplingMethod


@dataclass
class Cost:
    """Cost of one sample.

    Attributes:
        forwards: Number of images that the network denoises.
        backwards: Number of images through which the network is differentiated.
        forward_flops: Floating-point operations of one forward pass; a multiplication and an addition count as two.
        backward_flops: Operations of one backward pass to the input image (weights are frozen and get no gradient).
        other_flops: Operations outside the network, such as those of a distance's own network.
    """

    forwards: int
    backwards: int
    forward_flops: float
    backward_flops: float
    other_flops: float

    @property
    def flops(self) -> float:
        """Floating-point operations of a sample."""
        return self.forwards * self.forward_flops + self.backwards * self.backward_flops + self.other_flops


class _Operations(TorchDispatchMode):
    """Counts operations by torch's table. (`FlopCounterMode` tracks modules, too, which `autograd.grad` does not allow.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def sampling_cost(backbone: Backbone, spacing: str | int | None, sampler: SamplingMethod, guidance: Guidance | None) -> Cost:
    """Count a sample's calls by walking its chain with a stand-in, and a call's operations on tensors without data."""
    condition = _condition(backbone)
    denoiser = backbone.denoiser(spacing)
    walk = walker(denoiser)
    with _Operations() as other:
        sampler(walk, SampleNoise(0, [0], backbone.image_shape), guidance, condition)
    stand_in = walk.network
    assert isinstance(stand_in, StandIn)

    network = copy.deepcopy(backbone.network).to("meta")
    weightless = Denoiser(backbone, denoiser.process, network=network).to("meta")
    x = torch.empty(1, *backbone.image_shape, device="meta", requires_grad=True)
    with _Operations() as forward:
        out, fraction = weightless.predict(x, 0, condition.to("meta"))
    with _Operations() as backward:
        torch.autograd.grad(out.sum() if fraction is None else out.sum() + fraction.sum(), x)
    return Cost(stand_in.forwards, stand_in.backwards, forward.total, backward.total, other.total)


def _condition(backbone: Backbone) -> Condition:
    channels, height, width = backbone.image_shape
    labels = None if backbone.num_classes is None else torch.zeros(1, dtype=torch.long)
    side = backbone.low_res_size
    low_size = (height // 2, width // 2) if side is None else (side, side)
    return Condition(labels, torch.zeros(1, channels, *low_size) if backbone.upsampler else None)
