"""ADM's classifiers, and new ones of their kind."""

from __future__ import annotations

from pathlib import Path

import torch

from sgm_lightning.classifiers.base import Classifier, NoisyClassifier
from sgm_lightning.classifiers.encoder import EncoderClassifier
from sgm_lightning.classifiers.flags import ClassifierFlags
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import check_weights, load_tensors, require_file


class ADMClassifier(Classifier):
    """A `.pt` state dict of a guided-diffusion classifier with the flags of its release.

    Args:
        path: The file.
        flags: Its flags.
        url: Where it can be had; named when the file is missing.

    Raises:
        SGMError: If there is no such file.
    """

    def __init__(self, path: str, flags: ClassifierFlags, url: str | None = None) -> None:
        self.path, self.flags = Path(locate(path)), flags
        source = f"fetch it from {url} and" if url else "check the path or"
        require_file(self.path, f"{source} set the classifier's `init_args.path`")

    def load(self) -> NoisyClassifier:
        weights = load_tensors(self.path)
        check_weights(weights, self.path)
        classifier = EncoderClassifier(self.flags)
        classifier.load_adm(weights)
        return classifier


class NewClassifier(Classifier):
    """Random weights, to train from nothing.

    Args:
        flags: Architecture.
        seed: Of the weights.
    """

    def __init__(self, flags: ClassifierFlags, seed: int = 0) -> None:
        self.flags, self.seed = flags, seed

    def load(self) -> NoisyClassifier:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return EncoderClassifier(self.flags)
