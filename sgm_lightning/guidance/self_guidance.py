"""Self-guided minority sampling (Um & Ye, ECCV 2024): gradient ascent on a score of the model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sgm_lightning.diffusion import Denoiser, Noise, Purpose, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.base import Guidance, Weighting, differentiable, largest_is_one
from sgm_lightning.guidance.window import Window
from sgm_lightning.scores import MinorityScore


class SelfGuidance(Guidance):
    """g = scale · ∇_{x_t} score(x0_hat(x_t)), divided by its largest absolute value.

    Args:
        score: Score that is increased; default the minority score under L_2. `ELBOScore` is the variational bound.
        scale: Step size w (released: 0.4 for CelebA, 0.2 for ImageNet-64).
        rate: Step size that overrides `scale`: scale = rate · window.interval. Under `DPMSolverPlusPlus` it has the same
            effect at any number of steps, and at any interval where steps are equally long (not in the noisiest tenth of a
            cosine chain); under `DDPM` nearly the same (a quarter less at 20 steps); not under `DDIM`.
        window: Part of the chain in which the guidance acts; default all steps (released: every 5th).
        weighting: Rule by which the direction enters the step; see `Guidance`.
        normalize: Whether the gradient is divided by its largest absolute value, per sample; a zero gradient gives a zero
            shift.
        gradient: Gradient g. `exact` differentiates through the network at x_t: g = Jᵀv, where v is the score's derivative
            with respect to x0_hat and J that of x0_hat with respect to x_t. `jacobian_free`: g = v (one more forward, no
            backward through the network). `finite_difference`: g = J v, by another forward at x_t + δ v (J is symmetric for
            the optimal denoiser, J = α_t / σ_t² · Cov(x_0 | x_t)).

    Raises:
        SGMError: If two arguments exclude each other.
    """

    def __init__(
        self,
        score: MinorityScore | None = None,
        scale: float = 0.4,
        rate: float | None = None,
        window: Window | None = None,
        weighting: Weighting = "variance",
        normalize: bool = True,
        gradient: Literal["exact", "jacobian_free", "finite_difference"] = "exact",
    ) -> None:
        super().__init__(window, weighting)
        self.score = MinorityScore() if score is None else score
        if gradient != "exact" and self.score.fixed != "reconstruction":
            raise SGMError(
                f"gradient: {gradient} is defined for a score with fixed: reconstruction only, got fixed: "
                f"{self.score.fixed}; use gradient: exact."
            )
        if rate is not None and weighting == "constant":
            raise SGMError(
                f"rate is a share of the step's variance, got rate: {rate} and weighting: constant; use weighting: "
                "variance, or scale."
            )
        self.scale = scale if rate is None else rate * self.window.interval
        self.normalize, self.gradient = normalize, gradient
        self.needs_grad = gradient == "exact"

    @property
    def title(self) -> str:
        kinds = {"exact": "", "jacobian_free": "Jacobian-free, ", "finite_difference": "finite-difference, "}
        score, default = self.score, MinorityScore()
        title = kinds[self.gradient] + "self-guided"
        if type(score) is not MinorityScore:
            return f"{title} by {type(score).__name__}"
        if score.distance_name != default.distance_name:
            title += f" by {score.distance_name}"
        if str(score.level) != str(default.level):
            title += f" at {score.level}"
        if score.num_draws != default.num_draws:
            title += f", {score.num_draws} draws"
        return title if score.fixed == default.fixed else f"{title}, fixed: {score.fixed}"

    def acts(self, index: int, num_steps: int) -> bool:
        return self.scale != 0 and super().acts(index, num_steps)

    def check(self, denoiser: Denoiser) -> None:
        self.score.check(denoiser)

    def ahead(self, noise: Noise, index: int, num_steps: int) -> None:
        self.score.ahead(noise, Purpose.GUIDANCE, index)

    def forward(self, step: Step) -> Tensor:
        with torch.enable_grad():
            source, x0_hat = step.x_t, step.denoised.x0_hat
            if self.gradient != "exact":
                source = x0_hat = differentiable(x0_hat)
            turn = self.window.turn(step.index)
            score = self.score(step.denoiser, x0_hat, step.noise, step.condition, step.index, Purpose.GUIDANCE, turn)
            held = self.score.held(x0_hat)
            values = [score] if held is None else [score, held]
            gradients = [
                torch.autograd.grad(value.sum(), source, retain_graph=step.keeps_graph or value is not values[-1])[0]
                for value in values
            ]
        if self.gradient == "finite_difference":
            gradients = [times_jacobian(v, step) for v in gradients]
        gradient = gradients[0] if held is None else across(*gradients)
        return self.scale * (largest_is_one(gradient) if self.normalize else gradient)


@torch.no_grad()
def times_jacobian(v: Tensor, step: Step) -> Tensor:
    """Return J v = (x0_hat(x_t + δ v) − x0_hat(x_t)) / δ, with δ v a twentieth of the noise in x_t."""
    _, sigma = step.scales
    size = v.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    delta = 0.05 * sigma / torch.where(size == 0, torch.ones_like(size), size)
    moved: Tensor = step.denoiser(step.x_t.detach() + delta * v, step.index, step.condition).x0_hat
    return (moved - step.denoised.x0_hat.detach()) / delta


def across(gradient: Tensor, normal: Tensor) -> Tensor:
    """Return `gradient`, (B, C, H, W), without its component along `normal`, per sample; a zero normal removes nothing."""
    g, n = gradient.flatten(1), normal.flatten(1)
    length = torch.linalg.vector_norm(n, dim=1, keepdim=True)
    unit = torch.where(length == 0, torch.zeros_like(n), n / length)
    return (g - (g * unit).sum(1, keepdim=True) * unit).view_as(gradient)
