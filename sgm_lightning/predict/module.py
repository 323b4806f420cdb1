"""The LightningModule that draws chunks of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor

from sgm_lightning.backbones import Backbone, Checkpoint
from sgm_lightning.diffusion import Denoiser, Execution, SampleNoise, to_images
from sgm_lightning.diffusion.execution import AUTOCAST
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.predict.check import acts_nowhere, check_method
from sgm_lightning.predict.data import Chunk, LowResolution, SampleIndices
from sgm_lightning.predict.manifest import MAX_THREADS
from sgm_lightning.predict.stand_in import walker
from sgm_lightning.progress import say
from sgm_lightning.samplers import DDPM, SamplingMethod
from sgm_lightning.scores import MinorityScore

Listener = Callable[[float], None]


class SamplingModule(pl.LightningModule):
    """Draws samples with a backbone, a sampler and a guidance in Lightning's predict loop.

    Args:
        backbone: Checkpoint that the network comes from.
        sampler: Reverse chain, or another method that draws images; default: ancestral sampling.
        guidance: Push towards the tail of the distribution; null for ordinary samples.
        spacing: Steps of the chain: `250`, `"10,15,20"`, `ddim25`; null for all train steps.
        baseline: Whether every sample is also drawn unguided from the same noise, to compare with.
        score: Minority score that is reported for every image, whatever the guidance; default: L_2 at log-SNR 2, mean of 8
            draws.
        execution: Execution of the network's calls: compiled, in another memory layout, with less memory.
        threads: Number of intra-op CPU threads; samples are the same to the bit only at equal threads. Default: the number
            with which the run was started, or torch's own for a new run.
    """

    def __init__(
        self,
        backbone: Checkpoint,
        sampler: SamplingMethod | None = None,
        guidance: Guidance | None = None,
        spacing: str | int | None = "250",
        baseline: bool = False,
        score: MinorityScore | None = None,
        threads: int | None = None,
        execution: Execution | None = None,
    ) -> None:
        super().__init__()
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise SGMError(
                f"threads must lie between 1 and {MAX_THREADS}, got {threads}; leave it out for torch's own number."
            )
        self.backbone = backbone
        self.sampler = DDPM() if sampler is None else sampler
        self.guidance = guidance
        self.spacing = spacing
        self.baseline = baseline
        self.score = MinorityScore(num_draws=8) if score is None else score
        self.execution = execution or Execution()
        self.threads = threads
        self.denoiser: Denoiser | None = None
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every denoising step with the number of images, in fractions, that the step has drawn."""
        self._listeners.append(listener)

    def setup(self, stage: str) -> None:
        """Read the weights. Every check that needs them or the trainer comes before a file is written."""
        first = self.denoiser is None
        self.prepare(self.trainer, self.trainer.datamodule)  # type: ignore[attr-defined]
        if first and self.denoiser is not None:
            self.denoiser.execute(self.execution, rank_zero_only(say))

    def prepare(self, trainer: pl.Trainer, data: pl.LightningDataModule, backbone: Backbone | None = None) -> None:
        """Read the weights, and raise any error that drawing would raise; nothing is drawn or written.

        Args:
            trainer: Trainer whose precision and inference mode the samples are drawn with.
            data: Samples that are to be drawn.
            backbone: Network, if it has been read already.

        Raises:
            SGMError: If model, method, data and trainer do not go together.
        """
        precision = trainer.precision
        if precision not in AUTOCAST:
            raise SGMError(
                f"Sampling keeps the state in float32: trainer.precision must be 32-true, 16-mixed or bf16-mixed, got "
                f"{precision}."
            )
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.denoiser is None:
            self.denoiser = (backbone or self.backbone.load()).denoiser(self.spacing)
        self.denoiser.calls.autocast_dtype = AUTOCAST[precision]
        self.sampler.indices(self.denoiser.process.num_steps)
        if isinstance(data, SampleIndices):
            data.check(self.denoiser.model, 1 if self.guidance is None else self.guidance.least_batch)
            if self.denoiser.model.upsampler != isinstance(data, LowResolution):
                kind = "an upsampler" if self.denoiser.model.upsampler else "no upsampler"
                raise SGMError(
                    f"Upsamplers, and they alone, take low-resolution images: the model is {kind}, got data of class "
                    f"{type(data).__name__}; set `data.class_path` to SampleIndices or LowResolution."
                )
            with torch.inference_mode(getattr(trainer.predict_loop, "inference_mode", False)):
                self._try(data.chunk(0))

    def _try(self, chunk: Chunk) -> None:
        """Raise any error of drawing and scoring the first sample, before hours go into the others."""
        denoiser = self.denoiser
        assert denoiser is not None
        device = next(denoiser.network.parameters()).device
        condition = chunk.condition.select(slice(1)).to(device)
        check_method(denoiser, self.sampler, self.guidance, condition)
        if self.baseline:
            check_method(denoiser, self.sampler.plain, None, condition)
        blank = torch.zeros(1, *denoiser.model.codec.pixel_shape(denoiser.image_shape), dtype=torch.uint8, device=device)
        self.score.of_images(blank, walker(denoiser), 0, [0], condition)
        if self.guidance is not None and acts_nowhere(denoiser, self.sampler, self.guidance):
            rank_zero_warn(
                f"The guidance acts at no step of this chain of {denoiser.process.num_steps} (window, interval or "
                "scale 0), so the samples are those without it."
            )

    def predict_step(self, batch: Chunk, batch_idx: int) -> dict[str, Any]:
        """Draw one chunk.

        Returns:
            `images` (B, C, H, W) uint8, `scores` (B,) float32, and the same as `baseline_…`, on the CPU.
        """
        # Lightning autocasts the whole step; the state stays float32, and the denoiser autocasts its network.
        with torch.autocast(self.device.type, enabled=False):
            images, scores = self._draw(batch, self.sampler, self.guidance)
            drawn: dict[str, Any] = {"images": images, "scores": scores}
            if self.baseline:
                drawn["baseline_images"], drawn["baseline_scores"] = self._draw(batch, self.sampler.plain, None)
        return {name: value.cpu() for name, value in drawn.items()}

    def _draw(self, chunk: Chunk, sampler: SamplingMethod, guidance: Guidance | None) -> tuple[Tensor, Tensor]:
        denoiser = self.denoiser
        assert denoiser is not None
        noise = SampleNoise(chunk.seed, chunk.indices, denoiser.image_shape, self.device)
        steps = sum(len(method.indices(denoiser.process.num_steps)) for method in self._methods())

        def on_step(*_: Any) -> None:
            for listener in self._listeners:
                listener(len(chunk.indices) / steps)

        images = to_images(denoiser.model.codec, sampler(denoiser, noise, guidance, chunk.condition, on_step))
        return images, self.score.of_images(images, denoiser, chunk.seed, chunk.indices, chunk.condition)

    def _methods(self) -> list[SamplingMethod]:
        return [self.sampler, self.sampler.plain] if self.baseline else [self.sampler]
