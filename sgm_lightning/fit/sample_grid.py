"""Draws samples of the model in training."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torchvision.utils import make_grid

from sgm_lightning.diffusion import Condition
from sgm_lightning.diffusion.noise import SampleNoise, random_labels
from sgm_lightning.diffusion.pixels import to_uint8
from sgm_lightning.samplers import DDPM


class SampleGrid(Callback):
    """Draws ancestral samples, always from the same noise, as a figure in TensorBoard at every validation.

    Args:
        images: Number of samples; 0 for none.
        spacing: Steps of the chain that draws them.
    """

    def __init__(self, images: int = 16, spacing: str | int | None = "50") -> None:
        self.images, self.spacing = images, spacing

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.images:
            pl_module.evaluator(self.spacing)  # raises now rather than at the first validation

    # Not at the validation's end: the averaged weights are gone by then.
    @torch.no_grad()
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        wanted = self.images and batch_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking
        if not wanted or not isinstance(trainer.logger, TensorBoardLogger):
            return
        indices = range(self.images)
        denoiser = pl_module.evaluator(self.spacing)
        labels = None
        if denoiser.num_classes is not None:
            labels = random_labels(0, indices, denoiser.num_classes).to(pl_module.device)
        with torch.autocast(pl_module.device.type, enabled=False):
            noise = SampleNoise(0, indices, denoiser.image_shape, pl_module.device)
            images = to_uint8(DDPM()(denoiser, noise, None, Condition(labels))).cpu()
        figure = make_grid(images, nrow=8, padding=1, pad_value=255)
        trainer.logger.experiment.add_image("samples", figure, trainer.global_step)
