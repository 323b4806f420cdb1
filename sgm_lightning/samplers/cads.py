"""Condition-annealed diffusion sampling (Sadat et al., ICLR 2024, arXiv 2310.17347)."""

from __future__ import annotations

from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser, Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Sampler, State
from sgm_lightning.samplers.wrapper import Wrapper


class CADS(Wrapper):
    """Noises the class's embedding y: y_hat = √γ_t y + s √(1 − γ_t) n, with fresh noise n ~ N(0, I) at every step.

    γ_t is 0 for t ≥ τ_2, 1 for t ≤ τ_1 and (τ_2 − t) / (τ_2 − τ_1) between, with t the train step as a share of the
    chain: the class is hidden where the chain begins and shown where it ends, so the samples of a class spread out. y_hat is
    then rescaled to y's mean and standard deviation over its entries (y_r), and the network gets ψ y_r + (1 − ψ) y_hat.
    The release computes both over the whole batch; here they are computed per sample, as the noise is.

    It is usually combined with classifier-free guidance: `sampler: ClassifierFreeGuidance`.

    Args:
        noise_scale: Strength s ≥ 0 of the noise.
        tau_1: Share of the chain below which the class is clear.
        tau_2: Share of the chain above which the class is hidden; tau_1 < tau_2, both in [0, 1].
        psi: Share ψ in [0, 1] of the rescaled embedding.
        sampler: Sampler whose chain is changed; default: ancestral sampling.

    Raises:
        SGMError: If an argument is out of its range, or the model has no classes.
    """

    def __init__(
        self,
        noise_scale: float = 0.25,
        tau_1: float = 0.6,
        tau_2: float = 0.9,
        psi: float = 1.0,
        sampler: Sampler | None = None,
    ) -> None:
        super().__init__(sampler)
        if noise_scale < 0:
            raise SGMError(f"noise_scale must be at least 0, got {noise_scale}; the paper uses 0.1 to 0.25.")
        if not 0 <= tau_1 < tau_2 <= 1:
            raise SGMError(f"tau_1 and tau_2 must satisfy 0 ≤ tau_1 < tau_2 ≤ 1, got {tau_1} and {tau_2}.")
        if not 0 <= psi <= 1:
            raise SGMError(f"psi must lie in [0, 1], got {psi}; 1 keeps the embedding's mean and deviation.")
        self.noise_scale = noise_scale
        self.tau_1 = tau_1
        self.tau_2 = tau_2
        self.psi = psi

    def start(
        self, denoiser: Denoiser, noise: Noise, condition: Condition | None = None, guidance: Guidance | None = None
    ) -> State:
        if denoiser.num_classes is None:
            raise SGMError("CADS anneals the class, which an unconditional model does not know; use a conditional model.")
        return super().start(denoiser, noise, condition, guidance)

    def condition(self, state: State, index: int) -> Condition:
        clear = super().condition(state, index)
        return clear.replace(embedding=self.annealed(state.denoiser, clear, index, state.noise))

    def annealed(self, denoiser: Denoiser, condition: Condition, index: int, noise: Noise) -> Tensor:
        """Return (B, D) float32 embeddings for the step at respaced `index`."""
        assert condition.labels is not None
        embedding = condition.get("embedding")
        y = denoiser.model.embed_classes(condition.labels) if embedding is None else embedding
        gamma = self.gamma(denoiser.process.share(index))
        if gamma == 1:
            return y
        y_hat = gamma**0.5 * y + self.noise_scale * (1 - gamma) ** 0.5 * noise.condition(index, y.shape[1])
        deviation = y_hat.std(1, keepdim=True)
        rescaled = (y_hat - y_hat.mean(1, keepdim=True)) / deviation * y.std(1, keepdim=True) + y.mean(1, keepdim=True)
        mixed = self.psi * rescaled + (1 - self.psi) * y_hat
        return mixed.where(deviation > 0, y_hat)

    def gamma(self, t: float) -> float:
        """Return γ at t in [0, 1], where 1 is noise."""
        return min(1.0, max(0.0, (self.tau_2 - t) / (self.tau_2 - self.tau_1)))
