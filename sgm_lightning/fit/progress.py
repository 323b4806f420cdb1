"""Progress of a training, in steps."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from sgm_lightning.progress import Progress


class TrainingProgress(ProgressBar):
    """Shows the training's step, pictures per second, loss and the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._progress = Progress(
            "Training",
            trainer.max_steps,
            "steps",
            done=trainer.global_step,
            shown=self._enabled and trainer.is_global_zero,
            rate_unit="images",
            per_unit=trainer.datamodule.images_per_step,  # type: ignore[attr-defined]
        )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any) -> None:
        if self._progress is None or trainer.global_step == self._progress.done or not self._progress.due():
            return
        self._progress.move_to(trainer.global_step, f"loss {float(outputs['loss']) * trainer.accumulate_grad_batches:.4g}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress is not None:
            self._progress.move_to(trainer.global_step)
            self._progress.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._progress is not None:
            self._progress.close()
