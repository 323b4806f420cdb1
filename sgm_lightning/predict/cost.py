"""What a sample costs before it is drawn: calls of the network and floating-point operations."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sgm_lightning.backbones import Backbone
from sgm_lightning.diffusion import Condition, Denoiser, DiffusionProcess
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers import SamplingMethod


@dataclass
class Cost:
    """Of one sample.

    Attributes:
        forwards: Images that the network denoises.
        backwards: Images through which it is differentiated.
        forward_flops: Floating-point operations of a forward, a multiplication and an addition counted as two.
        backward_flops: Of a backward to the image alone; the weights are frozen.
        other_flops: Of everything else, such as a distance's own network.
    """

    forwards: int
    backwards: int
    forward_flops: float
    backward_flops: float
    other_flops: float

    @property
    def flops(self) -> float:
        """Of a sample."""
        return self.forwards * self.forward_flops + self.backwards * self.backward_flops + self.other_flops


class _StandIn(nn.Module):
    """Answers as the network does, at once, and counts."""

    def __init__(self, out_channels: int, class_embedding: nn.Module | None) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.class_embedding = class_embedding
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor, step: Tensor, class_labels: Tensor | None = None) -> Tensor:
        self.forwards += len(x)
        out = x[:, :1].expand(-1, self.out_channels, -1, -1) * 0.5
        if out.requires_grad:
            out.register_hook(self._count)
        return out

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class _Operations(TorchDispatchMode):
    """Counts by torch's own table. (`FlopCounterMode` tracks modules, too, which `autograd.grad` does not allow.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def sampling_cost(backbone: Backbone, spacing: str | int | None, sampler: SamplingMethod, guidance: Guidance | None) -> Cost:
    """Count one sample's calls by walking its chain with a stand-in, and a call's operations on tensors without data."""
    config = backbone.network.config
    condition = _condition(backbone)
    stand_in = _StandIn(config.out_channels, getattr(backbone.network, "class_embedding", None))
    process = DiffusionProcess(backbone.betas, spacing)
    rest = (backbone.prediction, backbone.variance, backbone.image_shape, backbone.num_classes, backbone.upsampler)
    walker = Denoiser(stand_in, process, *rest, null_class=backbone.null_class)
    with _Operations() as other:
        sampler(walker, SampleNoise(0, [0], backbone.image_shape), guidance, condition)

    network = copy.deepcopy(backbone.network).to("meta").eval().requires_grad_(False)
    height, width = backbone.image_shape[1:]
    x = torch.empty(1, config.in_channels, height, width, device="meta", requires_grad=True)
    labels = None if condition.labels is None else condition.labels.to("meta")
    with _Operations() as forward:
        out = network(x, torch.zeros(1, device="meta"), labels).sample
    with _Operations() as backward:
        torch.autograd.grad(out.sum(), x)
    return Cost(stand_in.forwards, stand_in.backwards, forward.total, backward.total, other.total)


def _condition(backbone: Backbone) -> Condition:
    channels, height, width = backbone.image_shape
    labels = None if backbone.num_classes is None else torch.zeros(1, dtype=torch.long)
    side = backbone.low_res_size
    low_size = (height // 2, width // 2) if side is None else (side, side)
    low_res = torch.zeros(1, channels, *low_size) if backbone.upsampler else None
    return Condition(labels, low_res)
