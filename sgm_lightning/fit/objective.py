"""Training losses: noise, x_0 or v regression, and the variational term that trains the variance."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser, Prediction, Process
from sgm_lightning.diffusion.bound import bits_per_dimension, decoder_nll, divergence
from sgm_lightning.errors import SGMError


class Losses(NamedTuple):
    """Losses of a batch, (B,) float32 each.

    Attributes:
        loss: Loss that is minimised.
        simple: Mean squared error of the prediction, not weighted.
        bound: The variational term of the step in bits per dimension, not weighted; None where there is none.
    """

    loss: Tensor
    simple: Tensor
    bound: Tensor | None


_LEAST_SNR = 1e-3


class Objective:
    """Loss of one step t for every image.

    `simple`: E ‖target − prediction‖² (Ho et al. 2020), target being the noise, x_0 or v, as the model predicts.
    `hybrid`: the same plus `bound_weight` · L_t, where L_t sees the mean without gradient and trains the learned variance
    alone (Nichol & Dhariwal 2021, eq. 16). `bound`: T · L_t, whose mean over uniform t is the variational bound.

    Args:
        kind: `simple`, `hybrid` or `bound`, as above.
        min_snr_gamma: γ of min-SNR weights (Hang et al. 2023) on the simple term: min(SNR, γ)/SNR for noise, min(SNR, γ) for
            x_0, min(SNR, γ)/(SNR + 1) for v, which all weigh the error in x_0 by min(SNR, γ). None: weight 1.
        snr_floor: Smallest such weight (1: the truncated SNR of Salimans & Ho 2022). It serves the noisiest steps, where
            brightness and class of a sample are decided and errors in the noise are too small to count. Where noise is
            predicted, SNRs below 0.001 count as 0.001: float32 cannot carry them.
        bound_weight: Weight of L_t (bits per dimension) in `hybrid`; default: T/1000, as released
            (`rescale_learned_sigmas`).

    Raises:
        SGMError: If gamma, floor or weight are not positive, the floor exceeds gamma, or the model learns no variance for
            `hybrid`.
    """

    def __init__(
        self,
        kind: Literal["simple", "hybrid", "bound"] = "hybrid",
        min_snr_gamma: float | None = None,
        snr_floor: float | None = None,
        bound_weight: float | None = None,
    ) -> None:
        if snr_floor is not None and not 0 < snr_floor <= (min_snr_gamma or 0):
            raise SGMError(
                f"snr_floor must lie in (0, min_snr_gamma], got {snr_floor}; 0.1 is mild, set min_snr_gamma to 5."
            )
        if min_snr_gamma is not None and min_snr_gamma <= 0:
            raise SGMError(f"min_snr_gamma must be positive, got {min_snr_gamma}; 5 is usual, null is off.")
        if bound_weight is not None and bound_weight <= 0:
            raise SGMError(f"bound_weight must be positive, got {bound_weight}; use `kind: simple` for none.")
        if min_snr_gamma is not None and kind == "bound":
            raise SGMError("min_snr_gamma weighs the simple term, which `kind: bound` has not; set it to null.")
        self.kind, self.min_snr_gamma, self.snr_floor, self.bound_weight = kind, min_snr_gamma, snr_floor, bound_weight

    def check(self, denoiser: Denoiser) -> None:
        """Raise unless the model can be trained with this objective."""
        if self.kind == "hybrid" and denoiser.model.variance != "learned_range":
            raise SGMError(
                f"The hybrid objective trains a learned variance, but the model's is {denoiser.model.variance}; set "
                "`model.objective.kind: simple`."
            )

    def __call__(
        self, denoiser: Denoiser, x_0: Tensor, index: Tensor, noise: Tensor, condition: Condition | None = None
    ) -> Losses:
        """Return the losses of a batch.

        Args:
            denoiser: The model on the chain that is trained.
            x_0: (B, C, H, W) float32 in [−1, 1].
            index: (B,) int64 step of each image.
            noise: (B, C, H, W) standard normal.
            condition: Condition of the images, such as their labels.

        Returns:
            The losses, with gradient.
        """
        process = denoiser.process
        x_t = process.q_sample(x_0, index, noise)
        output, fraction = denoiser.predict(x_t, index, condition)
        target = _target(denoiser.model.prediction, process, x_0, index, noise)
        simple = (target - output).square().flatten(1).mean(1)
        if self.kind == "simple":
            return Losses(self._weight(denoiser, index) * simple, simple, None)
        trained = output.detach() if self.kind == "hybrid" else output
        denoised = denoiser.denoised(x_t, index, trained, fraction)
        bound = _bound(process, x_0, x_t, index, denoised.x0_hat, denoised.log_variance)
        if self.kind == "bound":
            return Losses(process.num_steps * bound, simple, bound)
        scale = process.num_steps / 1000 if self.bound_weight is None else self.bound_weight
        return Losses(self._weight(denoiser, index) * simple + scale * bound, simple, bound)

    def _weight(self, denoiser: Denoiser, index: Tensor) -> Tensor | float:
        if self.min_snr_gamma is None:
            return 1.0
        # SNR as a quotient of tables: 1 − ᾱ in float32 loses digits near ᾱ = 1.
        process = denoiser.process
        signal, noise = process.scales(index)
        snr = (signal / noise).square().flatten()
        weight = snr.clamp(self.snr_floor, self.min_snr_gamma)
        if denoiser.model.prediction == "epsilon":
            return weight / (snr if self.snr_floor is None else snr.clamp(min=_LEAST_SNR))
        return weight / (snr + 1) if denoiser.model.prediction == "v_prediction" else weight


def _target(prediction: Prediction, process: Process, x_0: Tensor, index: Tensor, noise: Tensor) -> Tensor:
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return x_0
    # v = √ᾱ ε − √(1 − ᾱ) x_0 (Salimans & Ho 2022).
    alpha, sigma = process.scales(index)
    return alpha * noise - sigma * x_0


def _bound(process: Process, x_0: Tensor, x_t: Tensor, index: Tensor, x0_hat: Tensor, log_variance: Tensor) -> Tensor:
    """Return L_t in bits per dimension, (B,); where t = 0 it is the decoder's term."""
    log_variance = log_variance.expand_as(x_0)
    error, bracket = divergence(process, x_0, index, x0_hat, log_variance)
    first = index == 0
    if not bool(first.any()) and index.device.type == "cpu":
        return bits_per_dimension(error + bracket)
    nll = decoder_nll(process, x_0, x_t, index, x0_hat, log_variance)
    return bits_per_dimension(torch.where(first.view(-1, 1, 1, 1), nll, error + bracket))
