"""Writes the results of `test`."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
from torch.utils.tensorboard import SummaryWriter

from sgm_lightning.evaluation.output import summary, write_evaluation
from sgm_lightning.evaluation.report import write_scores


class ReportWriter(pl.Callback):
    """Writes `metrics.json`, a CSV of per-sample scores for every set, figures and TensorBoard events, and prints a table.

    Args:
        output: Folder to write into.
    """

    def __init__(self, output: str = "runs/test") -> None:
        super().__init__()
        self.output = Path(output)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self.output.mkdir(parents=True, exist_ok=True)
        report = pl_module.report
        for name, results in report.sets.items():
            write_scores(self.output / f"scores-{name.replace('/', '_')}.csv", results)
        reads = {name: images.read for name, images in trainer.datamodule.sets.items()}  # type: ignore[attr-defined]
        with SummaryWriter(str(self.output / "tensorboard")) as experiment:
            write_evaluation(self.output, report, reads, experiment)
        print(f"\n{summary(self.output, report)}")
