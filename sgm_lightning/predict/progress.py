"""A progress bar that counts images."""

from __future__ import annotations

import sys
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from sgm_lightning.predict.writer import RunWriter


class SamplingProgress(ProgressBar):
    """Shows the images of the run, images per second and the time left; every denoising step of this process moves it.

    With a `RunWriter`, the bar includes the chunks that other workers have finished.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def disable(self) -> None:
        self._disabled = True

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._bar = tqdm(
            total=data.num_chunks * data.chunk_size,
            initial=min(self._finished(trainer), data.num_chunks * data.chunk_size),
            unit="img",
            desc="Sampling",
            disable=not trainer.is_global_zero,
            mininterval=0.1 if sys.stderr.isatty() else 30,  # a log file is not a screen
            bar_format="{l_bar}{bar}| {n:.0f}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]",
        )
        pl_module.listen(self._step)

    def on_predict_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not self._bar.disable:
            self._bar.n = max(self._bar.n, min(self._finished(trainer), self._bar.total))

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.n = self._bar.total
        self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._bar is not None:
            self._bar.close()

    def _step(self, images: float) -> None:
        self._bar.update(min(images, max(self._bar.total - self._bar.n, 0)))

    @staticmethod
    def _finished(trainer: pl.Trainer) -> int:
        writers = [callback for callback in trainer.callbacks if isinstance(callback, RunWriter)]
        chunk_size = trainer.datamodule.chunk_size  # type: ignore[attr-defined]
        return sum(writer.run.count() for writer in writers) * chunk_size
