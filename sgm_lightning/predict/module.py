"""The LightningModule that draws chunks of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from sgm_lightning.backbones import Backbone, Checkpoint
from sgm_lightning.diffusion import Condition, Denoiser, Execution
from sgm_lightning.diffusion.execution import AUTOCAST
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.diffusion.pixels import to_uint8
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance, SelfGuidance
from sgm_lightning.predict.check import answered, check_method, needs_gradients
from sgm_lightning.predict.data import Chunk, LowResolution, SampleChunks
from sgm_lightning.samplers import DDPM, SamplingMethod
from sgm_lightning.scores import minority_score


class SamplingModule(pl.LightningModule):
    """Backbone, sampler and guidance in Lightning's predict loop.

    Args:
        backbone: Where the network comes from.
        sampler: Reverse chain; default ancestral.
        guidance: Push towards the tail; none for ordinary samples.
        spacing: Steps of the chain: `250`, `"10,15,20"`, `ddim25`; null for all train steps.
        baseline: Also draw every sample unguided from the same noise, to compare with.
        score_distance: Distance of the reported minority score; default the guidance's, else L_2.
        score_perturb_ratio: Its perturb step as a share of the chain; default the guidance's, else 0.8.
        score_draws: Draws of the reported minority score.
        execution: How the network's calls are carried out: compiled, in another memory layout, with less memory.
        threads: Intra-op CPU threads; samples are the same to the bit only at equal threads. Default: as they are.
    """

    def __init__(
        self,
        backbone: Checkpoint,
        sampler: SamplingMethod | None = None,
        guidance: Guidance | None = None,
        spacing: str | int | None = "250",
        baseline: bool = False,
        score_distance: nn.Module | None = None,
        score_perturb_ratio: float | None = None,
        score_draws: int = 8,
        threads: int | None = None,
        execution: Execution | None = None,
    ) -> None:
        super().__init__()
        if score_draws < 1:
            raise SGMError(f"score_draws must be at least 1, got {score_draws}.")
        self.backbone = backbone
        self.sampler = sampler or DDPM()
        self.guidance = guidance
        self.spacing = spacing
        self.baseline = baseline
        inside = () if guidance is None else guidance.modules()
        # Its variants have no one perturb step to report a score at.
        own = next((part for part in inside if type(part) is SelfGuidance), None) or SelfGuidance()
        self.score_distance = own.distance if score_distance is None else score_distance
        self.scorer = own if score_perturb_ratio is None else SelfGuidance(perturb_ratio=score_perturb_ratio)
        self.score_draws = score_draws
        self.execution = execution or Execution()
        self.threads = threads
        self.denoiser: Denoiser | None = None
        self.on_step: Callable[[int, int], None] | None = None

    def setup(self, stage: str) -> None:
        """Read the weights; every check that needs them or the trainer comes before a file is written."""
        first = self.denoiser is None
        self.prepare(self.trainer, self.trainer.datamodule)  # type: ignore[attr-defined]
        if first and self.denoiser is not None:
            self.denoiser.execute(self.execution)

    def prepare(self, trainer: pl.Trainer, data: pl.LightningDataModule, backbone: Backbone | None = None) -> None:
        """Read the weights, and raise whatever drawing would: nothing is drawn or written.

        Args:
            trainer: Whose precision and mode the samples are drawn with.
            data: What there is to draw.
            backbone: The network, if it has been read already.

        Raises:
            SGMError: If model, method, data and trainer do not go together.
        """
        precision = trainer.precision
        if precision not in AUTOCAST:
            raise SGMError(
                f"Sampling keeps the state in float32: trainer.precision must be 32-true, 16-mixed or bf16-mixed, got "
                f"{precision}."
            )
        inference_mode = getattr(trainer.predict_loop, "inference_mode", False)
        if inference_mode and self.guidance is not None and self.guidance.needs_grad:
            raise needs_gradients()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.denoiser is None:
            self.denoiser = (backbone or self.backbone.load()).denoiser(self.spacing)
        self.denoiser.autocast_dtype = AUTOCAST[precision]
        self.sampler.indices(self.denoiser.process.num_steps)
        if isinstance(data, SampleChunks):
            data.check(self.denoiser.num_classes)
            if self.denoiser.upsampler != isinstance(data, LowResolution):
                kind = "an upsampler" if self.denoiser.upsampler else "no upsampler"
                raise SGMError(
                    f"Upsamplers, and they alone, take low-resolution images: the model is {kind}, got data of class "
                    f"{type(data).__name__}; set `data.class_path` to SampleChunks or LowResolution."
                )
            with torch.inference_mode(inference_mode):
                self._try(data.chunk(0, self.denoiser.num_classes))

    def _try(self, chunk: Chunk) -> None:
        """Raise what drawing and scoring the first sample would, before hours have gone into others."""
        denoiser = self.denoiser
        assert denoiser is not None
        device = next(denoiser.network.parameters()).device
        inputs = (None if value is None else value[:1].to(device) for value in (chunk.labels, chunk.low_res))
        condition = Condition(*inputs)
        check_method(denoiser, self.sampler, self.guidance, condition)
        if self.baseline:
            check_method(denoiser, self.sampler.plain, None, condition)
        blank = torch.zeros(1, *denoiser.image_shape, dtype=torch.uint8, device=device)
        index = self.scorer.perturb_index(denoiser.process, 0)
        minority_score(blank, answered(denoiser), self.score_distance, index, 0, [0], 1, condition)

    def predict_step(self, batch: Chunk, batch_idx: int) -> dict[str, Any]:
        """Draw one chunk.

        Returns:
            `images` (B, C, H, W) uint8, `scores` (B,) float32, and the same as `baseline_…`, on the CPU.
        """
        condition = Condition(batch.labels, batch.low_res)
        # Lightning autocasts the whole step; the state stays float32, and the denoiser autocasts its network.
        with torch.autocast(self.device.type, enabled=False):
            images, scores = self._draw(batch, condition, self.sampler, self.guidance)
            drawn: dict[str, Any] = {"images": images, "scores": scores}
            if self.baseline:
                plain = self._draw(batch, condition, self.sampler.plain, None)
                drawn["baseline_images"], drawn["baseline_scores"] = plain
        return {name: value.cpu() for name, value in drawn.items()}

    def _draw(
        self, chunk: Chunk, condition: Condition, sampler: SamplingMethod, guidance: Guidance | None
    ) -> tuple[Tensor, Tensor]:
        denoiser = self.denoiser
        assert denoiser is not None
        noise = SampleNoise(chunk.seed, chunk.indices, denoiser.image_shape, self.device)
        count = len(chunk.indices)

        def on_step(index: int, *_: Any) -> None:
            if self.on_step is not None:
                self.on_step(count, denoiser.process.num_steps * (2 if self.baseline else 1))

        x_0 = sampler(denoiser, noise, guidance, condition, on_step)
        images = to_uint8(x_0)
        index = self.scorer.perturb_index(denoiser.process, 0)
        scores = minority_score(
            images, denoiser, self.score_distance, index, chunk.seed, chunk.indices, self.score_draws, condition
        )
        return images, scores
