"""Progress of `test`, in images."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from sgm_lightning.progress import Progress


class EvaluationProgress(ProgressBar):
    """Shows the images that are measured, of all sets together, their rate and the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sets = trainer.datamodule.sets  # type: ignore[attr-defined]
        total = sum(len(images) for images in sets.values())
        self._progress = Progress("Measuring", total, "images", shown=self._enabled and trainer.is_global_zero)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        if self._progress is not None:
            self._progress.advance(len(batch.images) * trainer.world_size)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress is not None:
            self._progress.close()
