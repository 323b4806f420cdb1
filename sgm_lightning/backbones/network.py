"""A backbone made of any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from sgm_lightning.backbones.base import Backbone, Checkpoint
from sgm_lightning.diffusion import Codec, Condition, DiffusionProcess, Prediction, Variance, make_betas
from sgm_lightning.diffusion.codec import PIXELS
from sgm_lightning.errors import SGMError
from sgm_lightning.files.weights import check_weights, load_exactly, load_tensors


@dataclass
class NetworkBackbone(Backbone):
    """A network called as `network(x, train_step, **conditions)`, with the properties that cannot be read from it.

    Attributes:
        network: Network with float32 weights.
        betas: Betas of the training chain, (T,) float64.
        shape: Shape (C, H, W) of x_t.
        prediction: Quantity that the network predicts.
        variance: Reverse variance, as the network (or its training) sets it.
        classes: Number of classes, or None.
        any_class: Class that stands for "any", or None.
        conditions: Name of the network's argument for each condition, by the condition's name.
        codec: Conversion between images and the space in which the model diffuses.
    """

    network: nn.Module
    betas: Tensor
    shape: tuple[int, int, int]
    prediction: Prediction = "epsilon"
    variance: Variance = "fixed_small"
    classes: int | None = None
    any_class: int | None = None
    conditions: Mapping[str, str] = field(default_factory=lambda: {"labels": "class_labels"})
    codec: Codec = PIXELS

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.shape

    @property
    def num_classes(self) -> int | None:
        return self.classes

    @property
    def null_class(self) -> int | None:
        return self.any_class

    def process(self, spacing: str | int | None = None) -> DiffusionProcess:
        return DiffusionProcess(self.betas, spacing)

    def call(self, run: Callable[..., Tensor], x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        return run(x, time, **{self.conditions[name]: value for name, value in condition.items() if name in self.conditions})

    def check_condition(self, condition: Condition) -> None:
        super().check_condition(condition)
        if unknown := sorted(set(condition) - set(self.conditions) - {"embedding"}):
            raise SGMError(
                f"The network takes the conditions {', '.join(self.conditions) or 'none'}, got {unknown[0]}; name its "
                "argument in `conditions`."
            )


class NetworkFrom(Checkpoint):
    """A user-defined network, given by the path of its class, with weights from a file.

    Args:
        network: Network, a module called as `network(x, train_step, **conditions)` with x (B, C, H, W) float32 and
            train_step (B,) int64; it returns its prediction, or an object whose `.sample` is the prediction.
        image_shape: Shape [C, H, W] of an image.
        weights: File with the network's state dict (`.safetensors`, or `.pt` with tensors only); null keeps the weights
            that the class creates.
        noise_schedule: Noise schedule of the training chain: `linear`, `scaled_linear`, `cosine`, or the betas themselves.
        diffusion_steps: Length of the training chain.
        prediction: Quantity that the network predicts.
        variance: Reverse variance: `learned_range` if the network has twice the channels, else `fixed_small` or
            `fixed_large`.
        num_classes: Number of classes, or null for an unconditional network.
        null_class: Class that stands for "any", or null.
        conditions: Name of the network's argument for each condition; default `{labels: class_labels}`.

    Raises:
        SGMError: If the weights do not fit the network.
    """

    def __init__(
        self,
        network: nn.Module,
        image_shape: tuple[int, int, int],
        weights: str | None = None,
        noise_schedule: str | list[float] = "linear",
        diffusion_steps: int = 1000,
        prediction: Prediction = "epsilon",
        variance: Literal["learned_range", "fixed_small", "fixed_large"] = "fixed_small",
        num_classes: int | None = None,
        null_class: int | None = None,
        conditions: dict[str, str] | None = None,
    ) -> None:
        self.network, self.image_shape, self.weights = network, tuple(image_shape), weights
        self.betas = make_betas(noise_schedule, diffusion_steps)
        self.prediction, self.variance = prediction, variance
        self.num_classes, self.null_class = num_classes, null_class
        self.conditions = {"labels": "class_labels"} if conditions is None else conditions

    def load(self) -> Backbone:
        if self.weights is not None:
            weights = load_tensors(self.weights, "set `model.backbone.init_args.weights`")
            check_weights(weights, self.weights)
            load_exactly(self.network, weights, self.weights)
        return NetworkBackbone(
            self.network.float(),
            self.betas,
            (self.image_shape[0], self.image_shape[1], self.image_shape[2]),
            self.prediction,
            self.variance,
            self.num_classes,
            self.null_class,
            self.conditions,
        )
