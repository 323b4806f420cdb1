"""A pretrained network together with the process that it was trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from diffusers import UNet2DModel
from torch import Tensor

from sgm_lightning.diffusion import Denoiser, DiffusionProcess
from sgm_lightning.diffusion.denoiser import Prediction, Variance


@dataclass
class Backbone:
    """What a checkpoint holds.

    Attributes:
        network: The U-Net, float32.
        betas: (T,) float64 training chain.
        prediction: What the network predicts.
        variance: How it (or its training) sets the reverse variance.
        schedule: Name of the schedule, for export: linear, scaled_linear, cosine or explicit.
    """

    network: UNet2DModel
    betas: Tensor
    prediction: Prediction = "epsilon"
    variance: Variance = "fixed_small"
    schedule: str = "explicit"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a sample."""
        size = self.network.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.network.config.out_channels // (2 if self.variance == "learned_range" else 1), height, width

    @property
    def upsampler(self) -> bool:
        """Whether the network takes a low-resolution image beside x_t."""
        return self.network.config.in_channels == 2 * self.image_shape[0]

    @property
    def low_res_size(self) -> int | None:
        """Side of the images that an upsampler enlarges; None where the checkpoint does not say."""
        size: int | None = self.network.config.get("low_res_size")
        return size

    @property
    def null_class(self) -> int | None:
        """The class that stands for "any" in a network trained with label dropout."""
        config = self.network.config
        return config.num_class_embeds - 1 if config.get("null_class") else None

    @property
    def num_classes(self) -> int | None:
        """Number of classes, the null class not counted; None for an unconditional network."""
        count: int | None = self.network.config.num_class_embeds
        return count if count is None or self.null_class is None else count - 1

    def denoiser(self, spacing: str | int | None = None, frozen: bool = True) -> Denoiser:
        """The network on a respaced chain (see `spaced_steps`); weights are shared, and frozen or not."""
        return Denoiser(
            self.network,
            DiffusionProcess(self.betas, spacing),
            self.prediction,
            self.variance,
            self.image_shape,
            self.num_classes,
            self.upsampler,
            frozen,
            self.null_class,
            self.low_res_size,
        )


class Checkpoint(ABC):
    """Where a backbone comes from. Making one reads no weights; `load` does."""

    @abstractmethod
    def load(self) -> Backbone:
        """Read the network and the process.

        Raises:
            SGMError: If the checkpoint is missing, damaged, not finite, or does not fit its description.
        """
