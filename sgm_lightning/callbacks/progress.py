"""A progress bar in images."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


class SamplingProgress(ProgressBar):
    """Images done, images a second and time left, moving with every denoising step."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def disable(self) -> None:
        self._disabled = True

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        chunks = len(range(trainer.global_rank, data.num_chunks - len(data.finished), trainer.world_size))
        self._bar = tqdm(
            total=chunks * data.chunk_size,
            unit="img",
            desc="Sampling",
            disable=not trainer.is_global_zero,
            bar_format="{l_bar}{bar}| {n:.0f}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]",
        )
        pl_module.on_step = lambda images, steps: self._bar.update(images / steps)

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.on_step = None
        self._bar.n = self._bar.total
        self._bar.close()
