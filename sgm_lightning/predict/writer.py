"""Writes a run folder while `predict` draws it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.grid import save_grid
from sgm_lightning.files.atomic import make_folder, write
from sgm_lightning.predict.advice import advice_to_compile
from sgm_lightning.predict.data import Chunk, SampleIndices
from sgm_lightning.predict.manifest import recorded_threads, run_manifest
from sgm_lightning.predict.png_files import write_png_files
from sgm_lightning.predict.score_table import score_table
from sgm_lightning.progress import say
from sgm_lightning.run import ChunkQueue, RunDir
from sgm_lightning.signals import stop_signals


class RunWriter(BasePredictionWriter):
    """Writes a file for each chunk once it is drawn, and at the end `samples.npz`, `scores.csv` and `.figures/grid.png`.

    The grid also goes to TensorBoard. Repeating the command draws only the missing chunks. Ranks, jobs and hosts may work on
    one run at the same time. SIGTERM, SIGINT and SIGUSR1 raise `sgm_lightning.signals.Interrupted` before the network's next
    call.

    Args:
        run_dir: Folder of the run.
        grid_images: Number of images in a block of the grid.
        verify: Whether to check every chunk's checksum and merge again, although the run is complete.
        png: Whether to write every sample to `images/` as well, as a PNG file of its index, for tools that read folders.
    """

    def __init__(
        self, run_dir: str = "runs/default", grid_images: int = 24, verify: bool = False, png: bool = False
    ) -> None:
        super().__init__("batch")
        if grid_images < 1:
            raise SGMError(f"grid_images must be at least 1, got {grid_images}; set `writer.grid_images`.")
        self.run = RunDir(run_dir)
        self.grid_images = grid_images
        self.verify = verify
        self.png = png
        self._settings: dict[str, Any] = {}
        self._config, self._tensorboard = "", True
        self._queue: ChunkQueue | None = None
        self._hook: Any = None
        self._started = 0.0
        self._drawn = 0

    def describe(self, settings: dict[str, Any], config: str, tensorboard: bool = True) -> None:
        """Set what the folder's manifest and `config.yaml` record.

        Args:
            settings: Settings that determine a sample.
            config: Whole configuration, in YAML.
            tensorboard: Whether to write TensorBoard's events while samples are drawn.
        """
        self._settings, self._config, self._tensorboard = settings, config, tensorboard

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        data.numbers = lambda: self._open(trainer, pl_module)

    def _open(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> ChunkQueue:
        """Open the run, or raise; every process of a job does so, and all fail alike."""
        stop_signals.install()  # Lightning has replaced our handlers since
        data = trainer.datamodule  # type: ignore[attr-defined]
        asked = data.chunk_size
        data.join(self.run)
        manifest = run_manifest(pl_module, data, trainer.strategy.root_device, self._settings)
        agreed = self.run.open(manifest, {"threads": torch.get_num_threads()})
        torch.set_num_threads(recorded_threads(agreed, self.run.path))
        if self.verify and trainer.is_global_zero:
            self.run.forget_merge()
        self._queue = ChunkQueue(self.run, data.num_samples, data.chunk_size, check=stop_signals.check)
        finished = data.num_chunks - len(self._queue.missing)
        if finished:
            rank_zero_info(f"Resuming: {finished} of {data.num_chunks} chunks are drawn already.")
        self._say_sizes(data, asked, agreed["num_samples"])
        return self._queue

    def _say_sizes(self, data: SampleIndices, asked: int, recorded: int) -> None:
        """Say where the run is of other sizes than the command asks for."""
        if data.chunk_size < min(asked, data.num_samples):
            rank_zero_info(f"The run goes on in chunks of {data.chunk_size}, as it was started; data.chunk_size is {asked}.")
        if recorded > data.num_samples:
            rank_zero_info(f"The run has {recorded} samples; data.num_samples is {data.num_samples} and removes none.")
        surplus = data.num_chunks * data.chunk_size - data.num_samples
        if surplus and self._queue and self._queue.missing:
            rank_zero_info(
                f"Chunks are drawn whole: {surplus} more samples than data.num_samples are kept for an extended run."
            )

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and self._config:
            write(self.run.path / "config.yaml", self._config, new_folder=False)
        assert self._queue is not None
        if self._tensorboard and trainer.logger is None and self._queue.missing:
            trainer.logger = TensorBoardLogger(self.run.path, name="", version="tensorboard")
        self._started, self._drawn = time.monotonic(), 0
        stop_signals.deferred = True
        self._hook = pl_module.denoiser.register_forward_pre_hook(lambda *_: stop_signals.check())

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Chunk,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        arrays = {"images": _nhwc(prediction["images"]), "index": np.array(batch.indices)}
        if batch.labels is not None:
            arrays["label"] = batch.labels.cpu().numpy()
        arrays["score"] = prediction["scores"].numpy()
        if "baseline_images" in prediction:
            arrays["baseline_images"] = _nhwc(prediction["baseline_images"])
            arrays["baseline_score"] = prediction["baseline_scores"].numpy()
        self.run.write_chunk(batch.number, **arrays)
        self._drawn += 1
        rate = self._drawn * len(batch.indices) / (time.monotonic() - self._started)
        self._log(trainer, lambda logger: logger.log_metrics({"images_per_second": rate}, step=batch.number))
        if self._drawn == 1 and trainer.is_global_zero and self._might_compile(pl_module):
            chunks = (trainer.datamodule.num_chunks - self.run.count()) / trainer.world_size  # type: ignore[attr-defined]
            if line := advice_to_compile(chunks * len(batch.indices) / rate):
                say(line)

    @staticmethod
    def _might_compile(module: pl.LightningModule) -> bool:
        return module.device.type == "cpu" and not module.execution.compile  # on a GPU it was not measured

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()
        print(f"This process drew {self._drawn} of {trainer.datamodule.num_chunks} chunks.")  # type: ignore[attr-defined]
        if not trainer.is_global_zero:
            return
        if not self.finished(trainer):
            print(f"Lightning ended the run early: {self.run.count()} chunks are kept, and the same command draws the rest.")
            return
        scores = self.run.scores()
        plain, name = set_names(pl_module)
        rows = []
        kinds = [("baseline.npz", "baseline_score", plain), ("samples.npz", "score", name)]
        for file, score, title in kinds:
            if score not in scores:
                continue
            pictures = np.stack(list(islice(self.run.each_image(file), self.grid_images)))
            mean = scores[score].mean()
            rows.append((f"{title}: mean minority score {mean:.3f}, N = {len(scores[score])}", pictures))
        make_folder(self.run.figures)
        picture = save_grid(self.run.figures / "grid.png", rows)
        if self.png:
            write_png_files(self.run, stop_signals.check)
        if isinstance(trainer.logger, TensorBoardLogger):
            self._log(trainer, lambda logger: logger.experiment.add_image("grid", picture, 0, dataformats="HWC"))
        print(f"Sampling took {time.monotonic() - self._started:.0f} s.")
        print(score_table(scores, plain, name, pl_module.score.describe()))
        print(f"Run folder: {self.run.path.resolve()}\nGrid: {self.run.figures.resolve() / 'grid.png'}")

    def finished(self, trainer: pl.Trainer) -> bool:
        """Return whether all samples are drawn and merged; `trainer.limit_predict_batches` leaves a run that is not."""
        return self.run.merged(trainer.datamodule.num_samples)  # type: ignore[attr-defined]

    @staticmethod
    def _log(trainer: pl.Trainer, write: Callable[[Any], None]) -> None:
        """Log; if the disk refuses, logging stops, but sampling continues."""
        if trainer.logger is None:
            return
        try:
            write(trainer.logger)
        except (OSError, ValueError) as error:  # Lightning makes a ValueError of whatever its logger raises
            warnings.warn(f"Logging stopped ({error.__cause__ or error}); the samples are not affected.", stacklevel=2)
            trainer.logger = None

    def _close(self) -> None:
        stop_signals.deferred = False
        if self._queue is not None:
            self._queue.close()
        if self._hook is not None:
            self._hook.remove()


def set_names(module: pl.LightningModule) -> tuple[str, str]:
    """Return the titles of the unguided and of the run's own samples."""
    sampler, guidance = module.sampler, module.guidance
    plain, own = sampler.plain.title, sampler.title
    if guidance is None:
        return plain, own
    return plain, guidance.title if sampler.plain is sampler else f"{own}, {guidance.title}"


def _nhwc(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().numpy()
