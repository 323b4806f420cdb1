"""Distances between batches of images: modules that map two (B, C, H, W) float32 batches in [−1, 1] to (B,)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.weights import load_exactly, load_finite

logger = logging.getLogger(__name__)


def distance_name(distance: nn.Module) -> str:
    """Return the name of a distance in words: its attribute `name`, else that of its class."""
    return getattr(distance, "name", type(distance).__name__)


class Lp(nn.Module):
    """‖a − b‖_p over all pixels of an image.

    Args:
        p: Order of the norm, ≥ 1.
    """

    def __init__(self, p: float = 2.0) -> None:
        super().__init__()
        if p < 1:
            raise SGMError(f"The order p of a norm must be at least 1, got {p}; the usual ones are 1 and 2.")
        self.p = p

    @property
    def name(self) -> str:
        return f"L_{self.p:g}"

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vector_norm((a - b).flatten(1), ord=self.p, dim=1)


class SquaredError(nn.Module):
    """‖a − b‖² over all pixels of an image."""

    name = "squared error"

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).sum(1)


class PerComplexity(nn.Module):
    """d(a, b) / √(c(a)² + floor²): the distance relative to the complexity c of the image, which guidance keeps fixed.

    Images with more contrast or more edges lose more of either when they are perturbed and denoised, whether they are rare
    or not, and samples guided by d alone drift towards them. The ratio does not change when the contrast of an image and
    of its reconstruction is multiplied by the same factor. That makes it a score, but does not end the drift: a guidance
    holds one of the two images fixed, and the ratio as a function of the other still grows with contrast. So `held` returns
    the value that must not change, and `SelfGuidance` removes the component along its gradient from the direction: to
    first order, a guided step does not change c(x0_hat).

    Args:
        distance: Distance d; default the L_2 norm.
        complexity: Complexity c, a root mean square in units of [−1, 1]: `contrast` of a − mean(a), or `detail` of the
            differences between neighbouring pixels.
        floor: Lower bound of the denominator, for nearly empty images.

    Raises:
        SGMError: If the floor is not positive.
    """

    def __init__(
        self,
        distance: nn.Module | None = None,
        complexity: Literal["contrast", "detail"] = "contrast",
        floor: float = 0.1,
    ) -> None:
        super().__init__()
        if floor <= 0:
            raise SGMError(f"floor must be positive, got {floor}; an empty image has no complexity.")
        self.distance = Lp(2.0) if distance is None else distance
        self.complexity = complexity
        self.floor = floor

    @property
    def name(self) -> str:
        return f"{distance_name(self.distance)} per {self.complexity}"

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        distance: Tensor = self.distance(a, b)
        return distance / (self.held(a) + self.floor**2).sqrt()

    def held(self, a: Tensor) -> Tensor:
        """Return c(a)², (B,). Its gradient has the direction of c's, and is zero where c has no gradient."""
        if self.complexity == "contrast":
            return (a - a.mean(dim=(1, 2, 3), keepdim=True)).square().mean(dim=(1, 2, 3))
        rows, columns = (a.diff(dim=d).square().mean(dim=(1, 2, 3)) for d in (2, 3))
        return (rows + columns) / 2


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity (Zhang et al. 2018), version 0.1, from the `lpips` package.

    One channel is repeated to three. Images with a side below 32 pixels are enlarged to 64 bilinearly, because the
    trunks have no features for smaller ones.

    Args:
        net: Name of the trunk. The released self-guidance uses `alex`, minority guidance `vgg`.
        features: File with the trunk's weights in torchvision's layout (the `features` module, `.pt` or
            `.safetensors`), for machines without internet access; default: torchvision's download. `STLPIPS` needs none.
    """

    def __init__(self, net: Literal["alex", "vgg", "squeeze"] = "alex", features: str | Path | None = None) -> None:
        super().__init__()
        try:
            import lpips
        except ImportError:
            raise SGMError("LPIPS needs the package lpips; install it with `pip install 'sgm-lightning[lpips]'`.") from None
        try:
            self.metric = lpips.LPIPS(net=net, pnet_rand=features is not None, verbose=False)
        except OSError as error:
            reason = reason_of(error)
            raise SGMError(
                f"The weights of the {net} trunk could not be downloaded ({reason}); give them as `features: FILE`, in "
                "torchvision's layout, or use STLPIPS, whose package has all weights."
            ) from None
        if features is not None:
            self._load_trunk(load_finite(features), features)
        self.metric.requires_grad_(False)
        self._net = net

    @property
    def name(self) -> str:
        return f"LPIPS-{self._net}"

    def _load_trunk(self, weights: dict[str, Tensor], source: str | Path) -> None:
        """Load the trunk's weights. Its slices keep torchvision's layer numbers: slice2.4.weight is features.4.weight."""
        weights = {key.removeprefix("features."): value for key, value in weights.items()}
        trunk = self.metric.net
        names = {name: name.partition(".")[2] for name, _ in trunk.named_parameters()}
        missing = [name for name in names.values() if name not in weights]
        if missing:
            raise SGMError(
                f"The LPIPS trunk's weights lack {missing[0]}; give the state dict of torchvision's `features` module."
            )
        load_exactly(trunk, {name: weights[theirs] for name, theirs in names.items()}, source)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        distance: Tensor = self.metric(self._fit(a), self._fit(b))
        return distance.flatten()

    def _fit(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 32:
            self._say_resized(tuple(x.shape[-2:]))
            x = nn.functional.interpolate(x, (64, 64), mode="bilinear", align_corners=False)
        return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x

    def _say_resized(self, size: tuple[int, ...]) -> None:
        if not getattr(self, "_said", False):
            self._said = True
            logger.warning("LPIPS: images of %d×%d are enlarged to 64×64 (bilinear).", *size)


class FeatureDistance(nn.Module):
    """‖f(a) − f(b)‖_p in the space of any feature extractor.

    Args:
        extractor: Module that maps (B, C, H, W) float32 in [−1, 1] to features of any shape (B, …), or a
            `FeatureExtractor`.
        p: Order of the norm, ≥ 1.
    """

    def __init__(self, extractor: nn.Module, p: float = 2.0) -> None:
        super().__init__()
        self.extractor = extractor.eval().requires_grad_(False)
        self.norm = Lp(p)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        features = getattr(self.extractor, "of_floats", self.extractor)
        distance: Tensor = self.norm(features(a), features(b))
        return distance
