"""ADM's classifiers, and untrained ones of the same architecture."""

from __future__ import annotations

from pathlib import Path

import torch

from sgm_lightning.classifiers.base import Classifier, NoisyClassifier
from sgm_lightning.classifiers.encoder import EncoderClassifier
from sgm_lightning.classifiers.flags import ClassifierFlags
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import load_finite, require_release


class ADMClassifier(Classifier):
    """A `.pt` state dict of a guided-diffusion classifier with the flags of its release.

    Args:
        path: Path of the `.pt` file.
        flags: Flags of the release that start with `classifier_`, and those of the images.
        url: Address of the file; the error gives it when the file is missing.

    Raises:
        SGMError: If there is no such file.
    """

    def __init__(self, path: str, flags: ClassifierFlags, url: str | None = None) -> None:
        self.path, self.flags = Path(locate(path)), flags
        require_release(self.path, url, "the classifier's `init_args.path`")

    def load(self) -> NoisyClassifier:
        classifier = EncoderClassifier(self.flags)
        classifier.load_adm(load_finite(self.path))
        return classifier


class NewClassifier(Classifier):
    """A classifier with random weights, for training from scratch.

    Args:
        flags: Flags of the architecture.
        seed: Seed of the random weights.
    """

    def __init__(self, flags: ClassifierFlags, seed: int = 0) -> None:
        self.flags, self.seed = flags, seed

    def load(self) -> NoisyClassifier:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return EncoderClassifier(self.flags)
