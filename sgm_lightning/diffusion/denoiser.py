"""The denoiser: network, parametrisation and chain as one function from x_t to posterior mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion.codec import Codec
from sgm_lightning.diffusion.condition import Condition
from sgm_lightning.diffusion.execution import Execution, NetworkCall
from sgm_lightning.diffusion.process import Process
from sgm_lightning.errors import SGMError
from sgm_lightning.progress import say

Prediction = Literal["epsilon", "sample", "v_prediction"]
Variance = Literal["learned_range", "fixed_small", "fixed_large"]


class Model(Protocol):
    """The interface of a network that a denoiser needs; see `sgm_lightning.backbones.Backbone`.

    Attributes:
        network: Network that is called.
        prediction: Quantity that the network predicts.
        variance: Reverse variance. `learned_range`: the second half of the channels interpolates log β̃_t … log β_t
            (improved DDPM); `fixed_small`: β̃_t; `fixed_large`: β_t.
        codec: Conversion between images and the space in which the model diffuses.
    """

    network: nn.Module
    prediction: Prediction
    variance: Variance
    codec: Codec

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of x_t."""

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None for an unconditional network."""

    @property
    def null_class(self) -> int | None:
        """Class that stands for "any", or None."""

    @property
    def upsampler(self) -> bool:
        """True if the network takes a low-resolution image besides x_t."""

    @property
    def low_res_size(self) -> int | None:
        """Side of the low-resolution images, or None where it is unknown."""

    def call(self, run: Callable[..., Tensor], x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """Return the network's output; `run(x, time, **conditions)` calls the network."""

    def check_condition(self, condition: Condition) -> None:
        """Raise an `SGMError` unless the network was trained with such a condition."""

    def embed_classes(self, labels: Tensor) -> Tensor:
        """Return the (B, D) vectors that represent (B,) int64 classes inside the network."""


@dataclass(frozen=True)
class Denoised:
    """The distribution p(x_{t−1} | x_t) of one reverse step.

    Attributes:
        x0_hat: Posterior mean of x_0, (B, C, H, W) float32, not clipped.
        variance: Variance of the reverse step; (B, C, H, W) when learned, else a scalar.
        log_variance: Logarithm of the variance; at index 0 of a `DiffusionProcess` with ADM's convention.
    """

    x0_hat: Tensor
    variance: Tensor
    log_variance: Tensor

    def detached(self, clip: bool) -> Denoised:
        """Return a copy without a graph; with `clip`, x0_hat is clipped to [−1, 1]."""
        x0_hat = self.x0_hat.detach()
        return Denoised(x0_hat.clamp(-1, 1) if clip else x0_hat, self.variance.detach(), self.log_variance.detach())


class Denoiser(nn.Module):
    """Computes posterior mean and variance of a model on a chain.

    Args:
        model: Model that holds the network and its properties.
        process: Process that defines the chain to sample on.
        frozen: Whether the weights get no gradient, and dropout is off; false in training.
        network: Network that is called in place of the model's.
    """

    def __init__(self, model: Model, process: Process, frozen: bool = True, network: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        network = model.network if network is None else network
        self.network = network.eval().requires_grad_(False) if frozen else network
        self.process = process
        self.frozen = frozen
        self.calls = NetworkCall()
        self._full: dict[torch.device, Denoiser] = {}  # in a dict, it is not registered as a submodule

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of x_t."""
        return self.model.image_shape

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None for an unconditional network."""
        return self.model.num_classes

    def execute(self, execution: Execution, tell: Callable[[str], None] = say) -> None:
        """Change the way in which the network is called from now on.

        Args:
            execution: Options of the calls.
            tell: Function that says a line to the user when the network is compiled; default: on stderr.

        Raises:
            SGMError: If the weights are not frozen, which compiling and checkpointing rely on.
        """
        if not self.frozen and execution != Execution():
            raise SGMError("Only a frozen network can be executed in another way; make the denoiser with `frozen=True`.")
        self.calls.execute(self.network, execution, tell)

    def forward(self, x_t: Tensor, index: int | Tensor, condition: Condition | None = None) -> Denoised:
        """Denoise (B, C, H, W) float32 `x_t` at respaced `index`, one int for all or (B,) int64."""
        return self.denoised(x_t, index, *self.predict(x_t, index, condition))

    def on(self, process: Process) -> Denoiser:
        """Return a denoiser of the same model on another chain. It shares the network and its `NetworkCall`."""
        other = Denoiser(self.model, process, self.frozen, self.network)
        other.calls = self.calls
        return other

    def full(self) -> Denoiser:
        """Return a denoiser of the same model on the chain of all its noise levels."""
        device = self.process.time(0).device
        if device not in self._full:
            self._full[device] = self._on_all_levels()
        return self._full[device]

    def _on_all_levels(self) -> Denoiser:
        process = self.process.full()
        return self if process is self.process else self.on(process)

    def predict(self, x_t: Tensor, index: int | Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the network's prediction and, if it learns the variance, a fraction, else None.

        The fraction, nominally in [0, 1], interpolates the log-variance from log β̃_t to log β_t.
        """
        # One entry per sample: a 0-d step would be broadcast inside the network anyway.
        time = self.process.time(index).expand(x_t.shape[0])
        output = self.model.call(self._run, x_t, time, condition or Condition())
        if self.model.variance != "learned_range":
            return output, None
        output, fraction = output.chunk(2, dim=1)
        return output, (fraction + 1) / 2

    def denoised(self, x_t: Tensor, index: int | Tensor, output: Tensor, fraction: Tensor | None) -> Denoised:
        """Turn a prediction into the reverse step's posterior mean and variance."""
        large = self.model.variance == "fixed_large"
        fixed = self.process.transition_variance_at if large else self.process.posterior_variance_at
        variance, log_variance = fixed(index)
        if fraction is not None:
            log_variance = fraction * self.process.log_beta_at(index) + (1 - fraction) * log_variance
            variance = log_variance.exp()
        if self.model.prediction == "epsilon":
            x0_hat = self.process.x0_from_eps(x_t, index, output)
        elif self.model.prediction == "v_prediction":
            x0_hat = self.process.x0_from_v(x_t, index, output)
        else:
            x0_hat = output
        return Denoised(x0_hat, variance, log_variance)

    def _run(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        return self.calls(self.network, x, time, **conditions)


Change = Callable[[Denoiser, Tensor, "int | Tensor", Condition], Denoised]


class ChangedDenoiser(Denoiser):
    """A denoiser that changes the output of another one.

    Args:
        inner: Denoiser whose output is changed.
        change: Function from (inner, x_t, index, condition) to the new `Denoised`.
    """

    def __init__(self, inner: Denoiser, change: Change) -> None:
        super().__init__(inner.model, inner.process, inner.frozen, inner.network)
        self.inner, self.change = inner, change
        self.calls = inner.calls

    def forward(self, x_t: Tensor, index: int | Tensor, condition: Condition | None = None) -> Denoised:
        return self.change(self.inner, x_t, index, condition or Condition())

    def on(self, process: Process) -> Denoiser:
        return ChangedDenoiser(self.inner.on(process), self.change)

    def _on_all_levels(self) -> Denoiser:
        full = self.inner.full()  # the inner one keeps its chain; this denoiser lives for one batch only
        return self if full is self.inner else ChangedDenoiser(full, self.change)
