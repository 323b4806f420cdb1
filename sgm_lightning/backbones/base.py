"""The interfaces of a backbone, a pretrained network with all that sampling needs, and of its checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from sgm_lightning.diffusion import Codec, Condition, Denoiser, Pixels, Prediction, Process, Variance
from sgm_lightning.errors import SGMError


class Backbone(ABC):
    """A network, its process, its codec, and the conditions that it takes.

    Attributes:
        network: Network with float32 weights.
        prediction: Quantity that the network predicts.
        variance: Reverse variance, as the network (or its training) sets it.
        codec: Conversion between images and the space in which the model diffuses.
    """

    network: nn.Module
    prediction: Prediction
    variance: Variance
    codec: Codec = Pixels()

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of x_t."""

    @abstractmethod
    def process(self, spacing: str | int | None = None) -> Process:
        """Return the network's noise levels, respaced (see `spaced_steps`)."""

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return self.codec.pixel_shape(self.image_shape)

    @property
    def num_classes(self) -> int | None:
        """Number of classes, the null class not counted; None for an unconditional network."""
        return None

    @property
    def null_class(self) -> int | None:
        """Class that stands for "any" in a network trained with label dropout, else None."""
        return None

    @property
    def upsampler(self) -> bool:
        """True if the network takes a low-resolution image besides x_t."""
        return False

    @property
    def low_res_size(self) -> int | None:
        """Side of the images that an upsampler enlarges; None where the checkpoint does not record it."""
        return None

    def call(self, run: Callable[..., Tensor], x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """Return the network's output; `run(x, time, **conditions)` calls it. Default: all conditions by their names."""
        return run(x, time, **condition)

    def check_condition(self, condition: Condition) -> None:
        """Raise an `SGMError` unless the network was trained with such a condition."""
        if self.num_classes is None and condition.labels is not None:
            raise SGMError("Labels were given to an unconditional model; set `labels: none`.")
        if self.num_classes is not None and condition.labels is None:
            raise SGMError(f"The model is conditional on {self.num_classes} classes; set `labels`, e.g. to `uniform`.")
        if self.upsampler and condition.low_res is None:
            raise SGMError("The model enlarges images; give the low-resolution ones (`low_res`).")

    def embed_classes(self, labels: Tensor) -> Tensor:
        """Return the (B, D) vectors that represent (B,) int64 classes inside the network."""
        raise SGMError(f"{type(self).__name__} gives no vectors for classes; use a method that needs none.")

    def denoiser(self, spacing: str | int | None = None, frozen: bool = True) -> Denoiser:
        """Return the denoiser of the network on a respaced chain; it shares the weights, which are frozen or not."""
        return Denoiser(self, self.process(spacing), frozen)


class Checkpoint(ABC):
    """The source of a backbone. The constructor reads no weights; `load` does."""

    @abstractmethod
    def load(self) -> Backbone:
        """Read the network and the process.

        Raises:
            SGMError: If the checkpoint is missing, damaged, not finite, or does not fit its description.
        """
