"""The networks of shift-tolerant LPIPS, whose maps hardly change when an image moves by a pixel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sgm_lightning.errors import SGMError
from sgm_lightning.files.weights import load_exactly, load_finite

_WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
# With smaller sides, a map would be too small for the reflection at its border.
_SMALLEST = {"alex": 21, "vgg": 18}
# Beginnings of the names in the package's files, and what they are called here.
_RENAMED = ((r"scaling_layer\.", ""), (r"net\.slice\d\.", "layers."), (r"lin(\d)\.model\.1\.weight", r"heads.\1"))
# Where no channel responds, the zero vector stays zero.
_TINY = 1e-10


class Blur(nn.Module):
    """Halves maps after smoothing them by [1, 2, 1] / 4 along both sides; the border reflects two pixels.

    Args:
        channels: Number of channels, which are smoothed one by one.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.empty(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (2, 2, 2, 2), mode="reflect"), self.filt, stride=2, groups=len(self.filt))


class ShiftTolerantNetwork(nn.Module):
    """AlexNet or VGG-16 as ST-LPIPS trained them, with the learned weights of their channels (Ghildyal & Liu, ECCV 2022).

    No convolution and no pooling has a stride; a `Blur` after it halves the maps instead. Weights are frozen, and read from
    the files of the package `stlpips-pytorch`, whose code is not imported.

    Args:
        net: Name of the trunk, `alex` or `vgg`.

    Raises:
        SGMError: If the package is not installed.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Literal["alex", "vgg"] = "alex") -> None:
        super().__init__()
        self._net = net
        stages = _alexnet() if net == "alex" else _vgg()
        self._ends = set(accumulate(map(len, stages)))
        self.layers = nn.ModuleList(layer for stage in stages for layer in stage)
        self.heads = nn.ParameterList(torch.empty(1, width, 1, 1) for width in _WIDTHS[net])
        for name in ("shift", "scale"):
            self.register_buffer(name, torch.empty(1, 3, 1, 1))
        file = _installed(net)
        load_exactly(self, _renamed(load_finite(file)), file)
        self.eval().requires_grad_(False)

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """Yield five maps √w ⊙ f / ‖f‖, where f is the vector of a pixel's activations and w the channels' learned weights.

        Args:
            x: Images, (B, C, H, W) float32 in [−1, 1]; one channel is repeated to three.

        Raises:
            SGMError: If the images have neither one nor three channels, or are too small for the trunk.
        """
        self._check(x)
        x, heads = (x - self.shift) / self.scale, iter(self.heads)
        for number, layer in enumerate(self.layers, 1):
            x = layer(x)
            if number in self._ends:
                yield next(heads).sqrt() * x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + _TINY)

    def _check(self, x: Tensor) -> None:
        channels, height, width = x.shape[1:]
        least = _SMALLEST[self._net]
        if channels not in (1, 3):
            raise SGMError(f"ST-LPIPS compares images of 1 or 3 channels, got {channels}; take another distance.")
        if min(height, width) < least:
            raise SGMError(
                f"ST-LPIPS on {self._net} takes images of at least {least} × {least} pixels, got {height} × {width}; "
                "enlarge them, as FeatureDistance does with STLPIPSFeatures of a `size`."
            )


def _alexnet() -> list[list[nn.Module]]:
    return [
        [nn.Conv2d(3, 64, 11, padding=2), Blur(64), nn.ReLU(inplace=True)],
        [*_halving(64, 3), *_convolution(64, 192, 5)],
        [*_halving(192, 3), *_convolution(192, 384)],
        _convolution(384, 256),
        _convolution(256, 256),
    ]


def _vgg() -> list[list[nn.Module]]:
    stages: list[list[nn.Module]] = []
    given = 3
    for width, depth in zip(_WIDTHS["vgg"], (2, 2, 3, 3, 3), strict=True):
        stage = _halving(given, 2) if stages else []
        for _ in range(depth):
            stage += _convolution(given, width)
            given = width
        stages.append(stage)
    return stages


def _convolution(given: int, width: int, side: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(given, width, side, padding=side // 2), nn.ReLU(inplace=True)]


def _halving(channels: int, side: int) -> list[nn.Module]:
    return [nn.MaxPool2d(side, stride=1), Blur(channels)]


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for old, new in _RENAMED:
        weights = {re.sub(f"^{old}", new, name): value for name, value in weights.items()}
    return weights


def _installed(net: str) -> Path:
    """Return the path of a trunk's file in the installed package, without importing it: it asks for unusual packages."""
    package = find_spec("stlpips_pytorch")
    if package is None or not package.submodule_search_locations:
        raise SGMError(
            "ST-LPIPS takes its weights from the package `stlpips-pytorch`; install it with `pip install "
            "'sgm-lightning[perceptual]'`."
        )
    return Path(package.submodule_search_locations[0]) / "weights" / "vST0.0" / f"{net}_shift_tolerant.pth"
