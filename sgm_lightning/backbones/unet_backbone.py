"""The backbone whose network is a `diffusers.UNet2DModel`, which records most of its properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from sgm_lightning.backbones.base import Backbone
from sgm_lightning.diffusion import Codec, Condition, DiffusionProcess, Prediction, Variance
from sgm_lightning.diffusion.codec import PIXELS
from sgm_lightning.errors import SGMError


class ClassEmbedding(nn.Embedding):
    """Embeds integer classes; floating-point vectors are returned unchanged."""

    def forward(self, labels: Tensor) -> Tensor:
        return labels if labels.is_floating_point() else super().forward(labels)


@dataclass
class UNetBackbone(Backbone):
    """A U-Net with the process that it was trained on.

    Attributes:
        network: U-Net with float32 weights.
        betas: Betas of the training chain, (T,) float64.
        prediction: Quantity that the network predicts.
        variance: Reverse variance, as the network (or its training) sets it.
        schedule: Name of the noise schedule, for export: linear, scaled_linear, cosine or explicit.
        codec: Conversion between images and the space in which the model diffuses.
    """

    network: UNet2DModel
    betas: Tensor
    prediction: Prediction = "epsilon"
    variance: Variance = "fixed_small"
    schedule: str = "explicit"
    codec: Codec = PIXELS

    def __post_init__(self) -> None:
        embedding = getattr(self.network, "class_embedding", None)
        if isinstance(embedding, nn.Embedding):
            # The same weights under the same name; methods such as CADS pass vectors in place of classes.
            embedding.__class__ = ClassEmbedding

    @property
    def image_shape(self) -> tuple[int, int, int]:
        size = self.network.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.network.config.out_channels // (2 if self.variance == "learned_range" else 1), height, width

    @property
    def upsampler(self) -> bool:
        channels: int = self.network.config.in_channels
        return channels == 2 * self.image_shape[0]

    @property
    def low_res_size(self) -> int | None:
        size: int | None = self.network.config.get("low_res_size")
        return size

    @property
    def null_class(self) -> int | None:
        config = self.network.config
        return config.num_class_embeds - 1 if config.get("null_class") else None

    @property
    def num_classes(self) -> int | None:
        count: int | None = self.network.config.num_class_embeds
        return count if count is None or self.null_class is None else count - 1

    def process(self, spacing: str | int | None = None) -> DiffusionProcess:
        return DiffusionProcess(self.betas, spacing)

    def call(self, run: Callable[..., Tensor], x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        if condition.low_res is not None:
            # As in ADM's super-resolution network: enlarged bilinearly, then concatenated after x_t.
            size = x.shape[-2:]
            enlarged = nn.functional.interpolate(condition.low_res, size, mode="bilinear", align_corners=False)
            x = torch.cat([x, enlarged], dim=1)
        classes = condition.get("embedding", condition.labels)
        return run(x, time) if classes is None else run(x, time, class_labels=classes)

    def embed_classes(self, labels: Tensor) -> Tensor:
        vectors: Tensor = self.network.class_embedding(labels)
        return vectors


def as_unet(backbone: Backbone) -> UNetBackbone:
    """Return the backbone if it is a U-Net, as training, conversion and writing in another layout require.

    Raises:
        SGMError: If it is no `UNetBackbone`.
    """
    if not isinstance(backbone, UNetBackbone):
        raise SGMError(
            f"Training and conversion need a diffusers UNet2DModel, got a {type(backbone.network).__name__}; use "
            "ADMCheckpoint, DiffusersCheckpoint, TrainedCheckpoint or NewNetwork."
        )
    return backbone
