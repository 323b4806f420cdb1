"""`sgm-lightning fit_reader`: trains a reader of the emoji world."""

from __future__ import annotations

from sgm_lightning.commands.fit import TrainingCLI, train
from sgm_lightning.fit.reader import ReaderTraining


class ReaderTrainingCLI(TrainingCLI):
    """Command line that trains a reader."""

    command = "fit_reader"


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    train(ReaderTrainingCLI, ReaderTraining, args)
