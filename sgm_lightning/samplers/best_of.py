"""Best of K: several candidates for a sample, of which a score of the model selects one."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoised, Denoiser, Noise, OnStep, Purpose, from_images, to_images
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Sampler, SamplingMethod, State, finite
from sgm_lightning.samplers.ddpm import DDPM
from sgm_lightning.scores import MinorityScore


class BestOf(SamplingMethod):
    """Selects the rarest of K candidates, or one at random with weight exp(λ · score).

    Without `stages`, K images are drawn to the end, at K times the cost. A stage (u, m) keeps m candidates when the share
    u of the chain remains, by the score of the last step's x0_hat: K = 4 with the stage (0.5, 1) costs 2.5 chains. If
    several candidates remain at the end, the score of the finished, quantised images decides. The selection uses separate
    noise draws, never those of a reported score, which the luck of the selected image would raise.

    With `tilt` λ the m candidates are drawn without replacement with weights exp(λ · score) (Gumbel-top-m): for one stage
    with m = 1 the samples follow, for large K, p(x) exp(λ · score(x)) with score(x) as the stage measures it.

    The first candidate of a sample is the image that the sampler alone draws from the same seed. A batch is K times as
    large until the first stage: choose `data.chunk_size` accordingly.

    Args:
        num_candidates: Number K ≥ 2 of candidates for every sample.
        stages: Pairs (u, m) of shares u in (0, 1), decreasing, and numbers m < K, decreasing.
        tilt: Inverse temperature λ ≥ 0 of a random choice; default none: keep the highest scores.
        sampler: Sampler that draws the candidates; default: ancestral sampling.
        score: Score that the candidates are chosen by; default the minority score under L_2.

    Raises:
        SGMError: If an argument is out of its range.
    """

    def __init__(
        self,
        num_candidates: int = 4,
        stages: list[tuple[float, int]] | None = None,
        tilt: float | None = None,
        sampler: Sampler | None = None,
        score: MinorityScore | None = None,
    ) -> None:
        super().__init__()
        if num_candidates < 2:
            raise SGMError(f"num_candidates must be at least 2, got {num_candidates}; for one, use the sampler alone.")
        if tilt is not None and tilt < 0:
            raise SGMError(f"tilt must be at least 0, got {tilt}; 0 chooses by chance, none the highest score.")
        self.stages = [] if stages is None else list(stages)
        left = [(1.0, num_candidates), *self.stages]
        for (u, m), (next_u, next_m) in itertools.pairwise(left):
            if not (0 < next_u < u and 1 <= next_m < m):
                raise SGMError(
                    f"stages must have decreasing shares in (0, 1) and decreasing numbers below num_candidates "
                    f"({num_candidates}), got {self.stages}; e.g. [[0.5, 1]]."
                )
        self.num_candidates = num_candidates
        self.tilt = tilt
        self.sampler = DDPM() if sampler is None else sampler
        self.score = MinorityScore() if score is None else score

    @property
    def title(self) -> str:
        kind = type(self.score)
        return f"best of {self.num_candidates}" + ("" if kind is MinorityScore else f" by {kind.__name__}")

    @property
    def plain(self) -> SamplingMethod:
        return self.sampler.plain

    def indices(self, num_steps: int) -> list[int]:
        indices = self.sampler.indices(num_steps)
        places = [indices[0], *(int(u * num_steps) for u, _ in self.stages), 0]
        if any(later >= earlier for earlier, later in itertools.pairwise(places)):
            raise SGMError(
                f"Every stage must have an index of its own between the chain's first ({indices[0]} of {num_steps}) and its "
                f"last (0), got {places[1:-1]} from the shares {[u for u, _ in self.stages]}; move or leave out a stage."
            )
        return indices

    def forward(
        self,
        denoiser: Denoiser,
        noise: Noise,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        count = self.num_candidates
        if guidance is not None and guidance.couples_batch:
            raise SGMError(
                f"BestOf chooses between independent candidates, got a guidance that couples them "
                f"({type(guidance).__name__}); use the one or the other."
            )
        rows = [row for row in range(len(noise.indices)) for _ in range(count)]
        state = self.sampler.start(denoiser, noise.repeat(count), (condition or Condition()).select(rows), guidance)
        num_steps = denoiser.process.num_steps
        kept = {int(u * num_steps): m for u, m in self.stages}
        denoised: Denoised | None = None
        for index in self.indices(num_steps):
            if index in kept and denoised is not None:
                count = self._choose(denoiser, state, denoised.x0_hat, count, kept[index], index)
            denoised = self.sampler.step(state, index, guidance)
            if on_step is not None:
                on_step(index, denoised, state.x)
        if count > 1:
            codec = denoiser.model.codec
            self._choose(denoiser, state, from_images(codec, to_images(codec, state.x)), count, 1, 0)
        return finite(state)

    def _choose(self, denoiser: Denoiser, state: State, x0_hat: Tensor, count: int, keep: int, index: int) -> int:
        """Keep the best `keep` of every sample's `count` rows and return `keep`. This reads from the device once."""
        with torch.no_grad():
            values = self.score(denoiser, x0_hat, state.noise, state.condition, index, Purpose.CANDIDATE)
        if self.tilt is not None:
            values = self.tilt * values + state.noise.gumbel(index)
        best = values.view(-1, count).topk(keep, dim=1).indices.sort(dim=1).values
        state.select((best + count * torch.arange(len(best), device=best.device)[:, None]).flatten())
        return keep
