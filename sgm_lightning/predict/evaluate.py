"""Evaluates a run while `predict` draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation import Evaluation, ImageMeasurements, Report, Results, Space, load_spaces
from sgm_lightning.evaluation.figures import Read
from sgm_lightning.evaluation.measures import check_subset_size
from sgm_lightning.evaluation.output import summary, write_evaluation
from sgm_lightning.evaluation.report import score_columns
from sgm_lightning.predict.data import Chunk
from sgm_lightning.predict.writer import RunWriter, set_names
from sgm_lightning.run import RunDir
from sgm_lightning.run.sidecar import Sidecars
from sgm_lightning.world import EmojiReader

_KINDS = ("baseline", "samples")  # in the order of tables
_IMAGES = {"samples": "images", "baseline": "baseline_images"}
_SCORES = {"samples": "score", "baseline": "baseline_score"}


class Evaluate(pl.Callback):
    """Measures every chunk when it is drawn; at the end the first process compares all samples with real images.

    It writes `metrics.json`, figures and columns in `scores.csv`, and prints a table. Measured rows are kept in the run
    folder (`measures/`), so that an interrupted run does not measure them twice.

    Args:
        spaces: Feature spaces by name, each with its real images.
        nelbo: Whether to bound the samples' likelihood under the model.
        nelbo_strata: Number of strata of the chain, with two steps drawn from each; null for the full sum. A chain of fewer
            than 2 · (strata + 1) steps is summed whole.
        kid_subset_size: Number of samples in each of KID's 100 subsets.
        reader: Reader of the emoji world, for models of it: measures true rarity and unreality.
    """

    def __init__(
        self,
        spaces: dict[str, Space] | None = None,
        nelbo: bool = True,
        nelbo_strata: int | None = 10,
        kid_subset_size: int = 1000,
        reader: EmojiReader | None = None,
    ) -> None:
        super().__init__()
        check_subset_size(kid_subset_size)
        if not spaces and reader is None:
            raise SGMError("Evaluate needs something to compare samples with, got no `spaces` and no `reader`; set one.")
        self.spaces = load_spaces(spaces or {})
        self.kid_subset_size = kid_subset_size
        extractors = {name: space.extractor for name, space in self.spaces.items()}
        self.measurements = ImageMeasurements(extractors, nelbo, nelbo_strata, reader)
        self._sidecars: Sidecars | None = None
        self._writer: RunWriter | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        writers = [callback for callback in trainer.callbacks if isinstance(callback, RunWriter)]  # type: ignore[attr-defined]
        if not writers:
            raise SGMError("Evaluate reads what RunWriter wrote, but the trainer has none; add it to `callbacks`.")
        self._writer = writers[0]
        self._sidecars = Sidecars(self._writer.run.path, self.measurements.fingerprint())
        self.measurements.to(pl_module.device)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Chunk,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        images = {"samples": outputs["images"]}
        if "baseline_images" in outputs:
            images["baseline"] = outputs["baseline_images"]
        self._measured(pl_module, batch, images)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._writer is not None
        if not trainer.is_global_zero or not self._writer.finished(trainer):
            return
        run = self._writer.run
        results = self._results(trainer, pl_module, run)
        _add_columns(run, results)
        titles = dict(zip(_KINDS, set_names(pl_module), strict=True))
        report = Report(
            {titles[kind]: found for kind, found in results.items()},
            (titles["baseline"], titles["samples"]) if "baseline" in results else None,
            {"model": self._model(pl_module), "spaces": {name: space.text for name, space in self.spaces.items()}},
        )
        chunk_size = trainer.datamodule.chunk_size  # type: ignore[attr-defined]
        reads = {titles[kind]: _reader(run, _IMAGES[kind], chunk_size) for kind in results}
        logger = trainer.logger
        experiment = logger.experiment if isinstance(logger, TensorBoardLogger) else None
        write_evaluation(run.path, report, reads, experiment, run.figures)
        print(summary(run.path, report, run.figures))

    def _results(self, trainer: pl.Trainer, pl_module: pl.LightningModule, run: RunDir) -> dict[str, Results]:
        """Evaluate each kind of images of the whole run, in the order of `_KINDS`."""
        evaluations: dict[str, Evaluation] = {}
        num_samples = len(run.scores()["index"])  # of the run, which may have been drawn further than is asked for now
        for number in range(math.ceil(num_samples / trainer.datamodule.chunk_size)):  # type: ignore[attr-defined]
            chunk = run.read_chunk(number)
            index = torch.from_numpy(chunk["index"])
            keep = index < num_samples
            for kind, rows in self._rows(trainer, pl_module, number, chunk).items():
                if kind not in evaluations:
                    evaluations[kind] = Evaluation(self.spaces, False, self.kid_subset_size, self.measurements.reader)
                rows["minority_score"] = torch.from_numpy(chunk[_SCORES[kind]])
                evaluations[kind].update({name: row[keep] for name, row in rows.items()}, index[keep])
        return {kind: evaluations[kind].compute() for kind in _KINDS if kind in evaluations}

    def _rows(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, number: int, chunk: dict[str, np.ndarray]
    ) -> dict[str, dict[str, Tensor]]:
        """Return the measured rows of each kind of images in a chunk: as kept, or measured now."""
        assert self._sidecars is not None
        flat = self._sidecars.read(number)
        if flat is None:
            again = trainer.datamodule.chunk(number)  # type: ignore[attr-defined]
            images = {
                kind: torch.from_numpy(chunk[name]).permute(0, 3, 1, 2) for kind, name in _IMAGES.items() if name in chunk
            }
            flat = self._measured(pl_module, again, images)
        found: dict[str, dict[str, Tensor]] = {}
        for name, row in flat.items():
            kind, _, key = name.partition("/")
            found.setdefault(kind, {})[key] = torch.from_numpy(row)
        return found

    def _measured(self, pl_module: pl.LightningModule, chunk: Chunk, images: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Measure the images of a chunk, and write the rows."""
        assert self._sidecars is not None
        device = pl_module.device
        condition = chunk.condition.to(device)

        def measured(batch: Tensor) -> dict[str, Tensor]:
            return self.measurements(batch.to(device), chunk.indices, pl_module.denoiser, condition, chunk.seed)

        flat = {
            f"{kind}/{name}": row.cpu().numpy() for kind, batch in images.items() for name, row in measured(batch).items()
        }
        self._sidecars.write(chunk.number, flat)
        return flat

    def _model(self, pl_module: pl.LightningModule) -> dict[str, Any]:
        process = pl_module.denoiser.process
        strata = self.measurements.strata(pl_module.denoiser)
        return {
            "chain": f"{process.num_steps} steps",
            "nelbo_steps": "all" if strata is None else f"2 of each of {strata} strata",
            "minority_score": pl_module.score.describe(),
        }


def _add_columns(run: RunDir, results: dict[str, Results]) -> None:
    """Add the per-sample values to `scores.csv`, those of the samples before those of the baseline."""
    columns: dict[str, np.ndarray] = {}
    for kind, prefix in (("samples", ""), ("baseline", "baseline_")):
        if kind in results:
            columns |= score_columns(results[kind], prefix)
    for prefix in ("", "baseline_"):
        columns.pop(f"{prefix}minority_score", None)  # already present, as `score`
    run.add_scores(columns)


def _reader(run: RunDir, name: str, chunk_size: int) -> Read:
    """Return a function that reads single images from their chunks: the figures need few images of a possibly large run."""

    def read(indices: Sequence[int]) -> Tensor:
        images = [run.read_chunk(index // chunk_size)[name][index % chunk_size] for index in indices]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    return read
