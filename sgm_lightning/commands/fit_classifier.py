"""`sgm-lightning fit_classifier`: trains a classifier of noisy images."""

from __future__ import annotations

from sgm_lightning.commands.fit import TrainingCLI, train
from sgm_lightning.fit.classifier import ClassifierTraining


class ClassifierTrainingCLI(TrainingCLI):
    """Command line that trains a classifier."""

    command = "fit_classifier"


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    train(ClassifierTrainingCLI, ClassifierTraining, args)
