"""Self-guided minority sampling (Um & Ye, ECCV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoised, Denoiser, DiffusionProcess
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.base import Guidance
from sgm_lightning.scores.distances import Lp


def perturb_index(process: DiffusionProcess, ratio: float | None, train_step: int | None, log_snr: float | None) -> int:
    """Respaced index of the perturb step s, given in one of three units (see `SelfGuidance`)."""
    if train_step is not None:
        return process.index_of_train_step(train_step)
    if log_snr is not None:
        return process.index_of_log_snr(log_snr)
    assert ratio is not None
    return process.index_of_ratio(ratio)


class SelfGuidance(Guidance):
    """Ascent on the minority score d(x0_hat(x_t), x0_hat(√ᾱ_s x0_hat(x_t) + √(1 − ᾱ_s) noise)).

    The defaults are the released ones, except for the distance (released: `LPIPS`) and the interval (released: 5).

    Args:
        scale: Step size w (released: 0.4 for CelebA, 0.2 for ImageNet-64).
        rate: Step size in place of `scale`, which it overrides: scale = rate · interval. Under `DPMSolverPlusPlus` it means
            the same at any number of steps, and at any interval where steps are equally long (not in the noisiest tenth of
            a cosine chain); under `DDPM` nearly so (a quarter less at 20 steps); not under `DDIM`.
        distance: d, a module that maps two (B, C, H, W) batches to (B,); default the L_2 norm. If it has a method `held`,
            which maps one batch to (B,), the direction has no component along that value's gradient, at the price of one
            more backward (`exact`) or forward (`finite_difference`): see `PerComplexity`.
        perturb_ratio: s as a share of the respaced chain, in (0, 1): int(num_steps · ratio). Default 0.8.
        perturb_train_step: s as a train step instead; the nearest step of the chain is used.
        perturb_log_snr: s as ln(ᾱ_s / (1 − ᾱ_s)) instead, which means the same on every schedule; the nearest step of the
            chain is used, and short chains have few.
        interval: Guide where respaced index % interval == 0; index 0 counts.
        start_ratio: Guide only where index > num_steps · start_ratio; −1 for the whole chain.
        stop_ratio: Guide only where index ≤ num_steps · stop_ratio; 1 for the whole chain.
        num_draws: Monte Carlo draws of the perturbation, averaged.
        antithetic: Every second draw is the one before it with the opposite sign, which cancels what is odd in the noise;
            `num_draws` must be even.
        batch_draws: Denoise all draws in one call of the network: faster where one batch does not fill the device.
        weighting: See `Guidance`.
        normalize: Divide the gradient by its largest absolute value, per sample; a zero gradient gives a zero shift.
        detach: Which side of the distance is held fixed: the `reconstruction` (released), the `reference` x0_hat(x_t), or
            the one and the other `alternating` over successive guided steps.
        gradient: `exact` differentiates through the network at x_t: g = Jᵀv, where v is the score's derivative with respect
            to x0_hat and J that of x0_hat with respect to x_t. `jacobian_free`: g = v (one more forward, no backward through
            the network). `finite_difference`: g = J v, by another forward at x_t + δ v (J is symmetric for the optimal
            denoiser, J = √ᾱ_t / (1 − ᾱ_t) · Cov(x_0 | x_t)).

    Raises:
        SGMError: If an argument is out of its range or two arguments exclude each other.
    """

    def __init__(
        self,
        scale: float = 0.4,
        distance: nn.Module | None = None,
        perturb_ratio: float | None = None,
        perturb_train_step: int | None = None,
        perturb_log_snr: float | None = None,
        interval: int = 1,
        start_ratio: float = -1.0,
        stop_ratio: float = 1.0,
        num_draws: int = 1,
        weighting: Literal["variance", "constant"] = "variance",
        normalize: bool = True,
        detach: Literal["reconstruction", "reference", "alternating"] = "reconstruction",
        gradient: Literal["exact", "jacobian_free", "finite_difference"] = "exact",
        rate: float | None = None,
        batch_draws: bool | None = None,
        antithetic: bool | None = None,
    ) -> None:
        super().__init__()
        if interval < 1:
            raise SGMError(f"interval must be at least 1, got {interval}; 1 guides every step, the paper uses 5.")
        if num_draws < 1:
            raise SGMError(f"num_draws must be at least 1, got {num_draws}; the paper uses 1.")
        if antithetic and num_draws % 2:
            raise SGMError(f"antithetic draws come in pairs, got num_draws: {num_draws}; use an even number.")
        units = (perturb_ratio, perturb_train_step, perturb_log_snr)
        if sum(unit is not None for unit in units) > 1:
            raise SGMError(
                "Give the perturb step in one unit only: perturb_ratio, perturb_train_step or perturb_log_snr, "
                f"got {units}; leave the others out."
            )
        if all(unit is None for unit in units):
            perturb_ratio = 0.8
        if perturb_ratio is not None and not 0 < perturb_ratio < 1:
            raise SGMError(f"perturb_ratio must lie strictly between 0 and 1, got {perturb_ratio}; the paper uses 0.8.")
        if gradient != "exact" and detach != "reconstruction":
            raise SGMError(
                f"gradient: {gradient} is defined for detach: reconstruction only, got detach: {detach}; use "
                "gradient: exact."
            )
        if rate is not None and weighting == "constant":
            raise SGMError(
                f"rate is a share of the step's variance, got rate: {rate} and weighting: constant; use weighting: "
                "variance, or scale."
            )
        self.scale = scale if rate is None else rate * interval
        self.distance = Lp(2.0) if distance is None else distance
        self.perturb = (perturb_ratio, perturb_train_step, perturb_log_snr)
        self.interval = interval
        self.start_ratio = start_ratio
        self.stop_ratio = stop_ratio
        self.num_draws = num_draws
        self.batch_draws = bool(batch_draws)
        self.antithetic = bool(antithetic)
        self.weighting = weighting
        self.normalize = normalize
        self.detach = detach
        self.gradient = gradient
        self.needs_grad = gradient == "exact"

    def active(self, index: int, num_steps: int) -> bool:
        inside = num_steps * self.start_ratio < index <= num_steps * self.stop_ratio
        return inside and index % self.interval == 0

    def perturb_index(self, process: DiffusionProcess, index: int, draw: int = 0) -> int:
        """Respaced index s to which the `draw`-th draw perturbs the state of `index`; override it for another rule."""
        return perturb_index(process, *self.perturb)

    def weight(self, process: DiffusionProcess, s: int) -> float:
        """What the distance at s counts in the mean over the draws; override it for another rule."""
        return 1.0

    def forward(
        self, denoiser: Denoiser, x_t: Tensor, denoised: Denoised, index: int, noise: Noise, condition: Condition
    ) -> Tensor:
        with torch.enable_grad():
            if self.gradient == "exact":
                source, x0_hat = x_t, denoised.x0_hat
            else:
                source = x0_hat = denoised.x0_hat.detach().requires_grad_()
            draws = self._draws(noise, index)
            score = self.score(denoiser, x0_hat, index, draws, condition)
            held = getattr(self.distance, "held", None)
            values = [score] if held is None else [score, held(x0_hat)]
            gradients = [
                torch.autograd.grad(value.sum(), source, retain_graph=self.retains_graph or value is not values[-1])[0]
                for value in values
            ]
        if self.gradient == "finite_difference":
            gradients = [self._times_jacobian(v, denoiser, x_t, x0_hat.detach(), index, condition) for v in gradients]
        gradient = gradients[0] if held is None else across(*gradients)
        if self.normalize:
            largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
            gradient = torch.where(largest == 0, torch.zeros_like(gradient), gradient / largest)
        return self.scale * gradient

    def score(self, denoiser: Denoiser, x0_hat: Tensor, index: int, draws: Sequence[Tensor], condition: Condition) -> Tensor:
        """(B,) minority score of (B, C, H, W) x0_hat, the mean over `draws` of the perturbation's noise."""
        count, process = len(draws), denoiser.process
        steps = [self.perturb_index(process, index, j) for j in range(count)]
        if self.batch_draws:
            rows, s = condition.repeat(count), steps[0]
            # Filled on the device: a list would have to be copied there, and the host would wait.
            each = [torch.full((len(x0_hat),), s, device=x0_hat.device) for s in steps]
            at: int | Tensor = s if len(set(steps)) == 1 else torch.cat(each)
            apart = self._distance(denoiser, x0_hat.repeat(count, 1, 1, 1), at, index, torch.cat(list(draws)), rows)
            distances = list(apart.view(count, -1))
        else:
            distances = [
                self._distance(denoiser, x0_hat, s, index, draw, condition) for s, draw in zip(steps, draws, strict=True)
            ]
        return torch.stack([self.weight(process, s) * d for s, d in zip(steps, distances, strict=True)]).mean(0)

    def _draws(self, noise: Noise, index: int) -> list[Tensor]:
        draws: list[Tensor] = []
        for j in range(self.num_draws):
            draws.append(-draws[-1] if self.antithetic and j % 2 else noise.draw(index, j))
        return draws

    def _distance(
        self, denoiser: Denoiser, x0_hat: Tensor, s: int | Tensor, index: int, draw: Tensor, condition: Condition
    ) -> Tensor:
        """(B,) distances d between x0_hat and its reconstruction from step s."""
        if self._fixes_reference(index):
            reconstruction = denoiser(denoiser.process.q_sample(x0_hat, s, draw), s, condition).x0_hat
            return self.distance(reconstruction, x0_hat.detach())
        with torch.no_grad():
            reconstruction = denoiser(denoiser.process.q_sample(x0_hat, s, draw), s, condition).x0_hat
        return self.distance(x0_hat, reconstruction)

    @torch.no_grad()
    def _times_jacobian(
        self, v: Tensor, denoiser: Denoiser, x_t: Tensor, x0_hat: Tensor, index: int, condition: Condition
    ) -> Tensor:
        """J v = (x0_hat(x_t + δ v) − x0_hat(x_t)) / δ, with δ v a twentieth of the noise in x_t."""
        sigma = denoiser.process.at("sqrt_one_minus_alphas_cumprod", index)
        size = v.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        delta = 0.05 * sigma / torch.where(size == 0, torch.ones_like(size), size)
        moved: Tensor = denoiser(x_t.detach() + delta * v, index, condition).x0_hat
        return (moved - x0_hat) / delta

    def _fixes_reference(self, index: int) -> bool:
        return self.detach == "reference" or (self.detach == "alternating" and (index // self.interval) % 2 == 1)


def across(gradient: Tensor, normal: Tensor) -> Tensor:
    """(B, C, H, W) `gradient` without its component along `normal`, per sample; a zero normal takes nothing."""
    g, n = gradient.flatten(1), normal.flatten(1)
    length = torch.linalg.vector_norm(n, dim=1, keepdim=True)
    unit = torch.where(length == 0, torch.zeros_like(n), n / length)
    return (g - (g * unit).sum(1, keepdim=True) * unit).view_as(gradient)
