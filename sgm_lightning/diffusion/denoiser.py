"""A network, its parametrisation and its chain, as one function: noisy image in, posterior mean and variance out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion.execution import Call, CompiledCall, Execution
from sgm_lightning.diffusion.process import DiffusionProcess
from sgm_lightning.errors import SGMError

Prediction = Literal["epsilon", "sample", "v_prediction"]
Variance = Literal["learned_range", "fixed_small", "fixed_large"]


@dataclass(frozen=True)
class Condition:
    """What a network is conditioned on.

    Attributes:
        labels: (B,) int64 classes, or None.
        low_res: (B, C, h, w) float32 in [−1, 1], the image to be enlarged by a cascade step, or None.
        embedding: (B, D) float32 in place of the labels' embedding, or None.
    """

    labels: Tensor | None = None
    low_res: Tensor | None = None
    embedding: Tensor | None = None

    def select(self, rows: Sequence[int]) -> Condition:
        """The conditions of some rows, in that order. The rows go to the device, and the host waits: not for every step."""
        index = list(rows)
        values = (self.labels, self.low_res, self.embedding)
        return Condition(*(None if value is None else value[index] for value in values))

    def repeat(self, count: int) -> Condition:
        """The conditions of all rows, `count` times one behind another."""
        values = (self.labels, self.low_res, self.embedding)
        return Condition(*(None if value is None else torch.cat([value] * count) for value in values))


@dataclass(frozen=True)
class Denoised:
    """p(x_{t−1} | x_t) of one step.

    Attributes:
        x0_hat: (B, C, H, W) float32 posterior mean of x_0, not clipped.
        variance: Of the reverse step; (B, C, H, W) when learned, else a scalar.
        log_variance: Its logarithm, with ADM's convention at index 0.
    """

    x0_hat: Tensor
    variance: Tensor
    log_variance: Tensor


class ClassEmbedding(nn.Embedding):
    """Classes become vectors; what is a vector already stays as it is."""

    def forward(self, labels: Tensor) -> Tensor:
        return labels if labels.is_floating_point() else super().forward(labels)


# What a method makes of the model: (denoiser, x_t, index, condition) → Denoised.
Change = Callable[["Denoiser", Tensor, "int | Tensor", Condition], Denoised]


class Denoiser(nn.Module):
    """Posterior mean and variance from a network.

    Args:
        network: `network(x, train_step, class_labels=…)`, a tensor or an object whose `.sample` is one.
        process: The chain to sample on.
        prediction: What the network predicts.
        variance: `learned_range`: the second half of the channels interpolates log β̃_t … log β_t (improved DDPM);
            `fixed_small`: β̃_t; `fixed_large`: β_t.
        image_shape: (C, H, W) of a sample.
        num_classes: Number of classes, or None for an unconditional network.
        upsampler: Whether the network takes a low-resolution image beside x_t.
        frozen: Whether the weights get no gradient, and dropout is off; false in training.
        null_class: The class that stands for "any", or None.
        low_res_size: Side of the low-resolution images, or None where it is not known.
    """

    autocast_dtype: torch.dtype | None = None

    def __init__(
        self,
        network: nn.Module,
        process: DiffusionProcess,
        prediction: Prediction = "epsilon",
        variance: Variance = "fixed_small",
        image_shape: tuple[int, int, int] = (3, 64, 64),
        num_classes: int | None = None,
        upsampler: bool = False,
        frozen: bool = True,
        null_class: int | None = None,
        low_res_size: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False) if frozen else network
        embedding = getattr(network, "class_embedding", None)
        if isinstance(embedding, nn.Embedding):
            embedding.__class__ = ClassEmbedding  # the same weights under the same name
        self.process = process
        self.prediction = prediction
        self.variance = variance
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.upsampler = upsampler
        self.frozen = frozen
        self.null_class = null_class
        self.low_res_size = low_res_size
        self.channels_last = False
        self._change: Callable[[Tensor, int | Tensor, Condition], Denoised] | None = None
        self._compiled: Call | None = None

    def execute(self, execution: Execution) -> None:
        """Carry out the network's calls in another way from now on.

        Raises:
            SGMError: If the weights are not frozen, which compiling and checkpointing rely on.
        """
        if not self.frozen and execution != Execution():
            raise SGMError("Only a frozen network can be executed in another way; make the denoiser with `frozen=True`.")
        self.channels_last = execution.channels_last
        if execution.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if execution.checkpointing:
            self.network.enable_gradient_checkpointing()  # type: ignore[operator]
        self._compiled = CompiledCall(self.network) if execution.compile else None

    def forward(self, x_t: Tensor, index: int | Tensor, condition: Condition | None = None) -> Denoised:
        """Denoise (B, C, H, W) float32 `x_t` at respaced `index`, one for all or (B,) int64."""
        if self._change is not None:
            return self._change(x_t, index, condition or Condition())
        return self.denoised(x_t, index, *self.predict(x_t, index, condition))

    def modified(self, change: Change) -> Denoiser:
        """The same model, whose denoising is what `change` makes of this one's."""
        other = copy.copy(self)
        other._change = partial(change, self)
        return other

    def answered_by(self, call: Call) -> Denoiser:
        """The same model, of which `call` answers what the network is asked."""
        other = copy.copy(self)
        other._compiled = call
        return other

    def class_embedding(self, labels: Tensor) -> Tensor:
        """(B, D) vectors that stand for (B,) int64 classes inside the network."""
        embedding: Tensor = self.network.class_embedding(labels)  # type: ignore[operator]
        return embedding

    def predict(self, x_t: Tensor, index: int | Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor | None]:
        """The network's prediction and, if it learns the variance, where in [0, 1] its logarithm lies between the bounds."""
        output = self._network(x_t, index, condition or Condition())
        if self.variance != "learned_range":
            return output, None
        output, fraction = output.chunk(2, dim=1)
        return output, (fraction + 1) / 2

    def denoised(self, x_t: Tensor, index: int | Tensor, output: Tensor, fraction: Tensor | None) -> Denoised:
        """What a prediction means for the reverse step."""
        variance, log_variance = self._fixed_variance(index)
        if fraction is not None:
            log_variance = fraction * self.process.at("log_betas", index) + (1 - fraction) * log_variance
            variance = log_variance.exp()
        if self.prediction == "epsilon":
            x0_hat = self.process.x0_from_eps(x_t, index, output)
        elif self.prediction == "v_prediction":
            x0_hat = self.process.x0_from_v(x_t, index, output)
        else:
            x0_hat = output
        return Denoised(x0_hat, variance, log_variance)

    def check_condition(self, condition: Condition) -> None:
        """Raise unless `condition` is what the network was trained with."""
        if self.num_classes is None and condition.labels is not None:
            raise SGMError("Labels were given to an unconditional model; set `labels: none`.")
        if self.num_classes is not None and condition.labels is None:
            raise SGMError(f"The model is conditional on {self.num_classes} classes; set `labels`, e.g. to `uniform`.")
        if self.upsampler and condition.low_res is None:
            raise SGMError("The model enlarges images; give the low-resolution ones (`low_res`).")

    def _network(self, x_t: Tensor, index: int | Tensor, condition: Condition) -> Tensor:
        # One entry per sample: a 0-d step would be broadcast inside the network anyway.
        step = self.process.train_steps[index].expand(x_t.shape[0])
        x = x_t
        if condition.low_res is not None:
            # As in ADM's super-resolution network: enlarged bilinearly, then stacked behind x_t.
            enlarged = nn.functional.interpolate(condition.low_res, x_t.shape[-2:], mode="bilinear", align_corners=False)
            x = torch.cat([x_t, enlarged], dim=1)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        classes = condition.labels if condition.embedding is None else condition.embedding
        kwargs = {} if classes is None else {"class_labels": classes}
        with self._precision(x.device.type):
            output: Any = (self._compiled or self.network)(x, step, **kwargs)
        sample: Tensor = getattr(output, "sample", output)
        return sample.float()

    def _precision(self, device_type: str) -> AbstractContextManager[object]:
        if not torch.amp.is_autocast_available(device_type):  # tensors without data
            return nullcontext()
        return torch.autocast(device_type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)

    def _fixed_variance(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        kind = "large" if self.variance == "fixed_large" else "posterior"
        return self.process.at(f"{kind}_variance", index), self.process.at(f"{kind}_log_variance", index)
