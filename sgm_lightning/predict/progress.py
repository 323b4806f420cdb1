"""Progress of `predict`, in images."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from sgm_lightning.predict.writer import RunWriter
from sgm_lightning.progress import Progress


class SamplingProgress(ProgressBar):
    """Shows the images of the run, images per second and the time left; every denoising step of this process moves it.

    With a `RunWriter`, the images include the chunks that other workers have finished.
    """

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        shown = self._enabled and trainer.is_global_zero
        self._progress = Progress("Sampling", data.num_samples, "images", self._finished(trainer), shown)
        pl_module.listen(self._progress.advance)

    def on_predict_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._progress is not None:
            self._progress.move_to(self._finished(trainer))

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress is not None:
            self._progress.move_to(self._progress.total)
            self._progress.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._progress is not None:
            self._progress.close()

    @staticmethod
    def _finished(trainer: pl.Trainer) -> int:
        writers = [callback for callback in trainer.callbacks if isinstance(callback, RunWriter)]
        chunk_size = trainer.datamodule.chunk_size  # type: ignore[attr-defined]
        return sum(writer.run.count() for writer in writers) * chunk_size
