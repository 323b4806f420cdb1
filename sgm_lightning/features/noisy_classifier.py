"""Features of clean images from a classifier of noisy ones."""

from __future__ import annotations

import torch
from torch import Tensor

from sgm_lightning.classifiers import Classifier, NoisyClassifier
from sgm_lightning.classifiers.base import loaded
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.normalise import Normalise


class NoisyClassifierFeatures(FeatureExtractor):
    """The pooled features of a classifier of noisy images, at t = 0.

    Args:
        classifier: Classifier of noisy images; images are resized to its image size.
        name: Name of the feature space in reports.
    """

    def __init__(self, classifier: Classifier | NoisyClassifier, name: str = "noisy classifier") -> None:
        super().__init__()
        self.classifier = loaded(classifier)
        channels, size, _ = self.classifier.image_shape
        self.prepare = Normalise(size, channels)
        self.name = name

    def features(self, x: Tensor) -> Tensor:
        return self.classifier.pooled(x, torch.zeros(len(x), dtype=torch.long, device=x.device))
