"""Means of a classifier's features by class, for low-density sampling."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from sgm_lightning.classifiers import NoisyClassifier
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.low_density import pooled
from sgm_lightning.images import Images
from sgm_lightning.metrics import from_uint8
from sgm_lightning.run.atomic import write_atomically


@torch.no_grad()
def feature_means(classifier: NoisyClassifier, images: Images, batch_size: int = 100) -> Tensor:
    """(K, D) float32: mean over the clean images of every class of the pooled features at t = 0.

    Raises:
        SGMError: If the images have no classes, or a class has no image.
    """
    labels = images.labels
    if labels is None:
        raise SGMError(f"Means by class need classes, but {images.name} has none; take a labelled set.")
    classifier.eval()
    found = []
    for _, batch in images.batches(batch_size):
        found.append(pooled(classifier, from_uint8(batch), torch.zeros(len(batch), dtype=torch.long)).double())
    counts = torch.bincount(labels)
    if int(counts.min()) == 0:
        raise SGMError(f"Every class must have an image, got none of class {int(counts.argmin())}; take more images.")
    sums = torch.zeros(len(counts), found[0].shape[1], dtype=torch.float64).index_add_(0, labels, torch.cat(found))
    return (sums / counts[:, None]).float()


def save_feature_means(classifier: NoisyClassifier, images: Images, path: str | Path) -> None:
    """Write `feature_means` to the file that `LowDensityGuidance` reads."""
    data = save({"means": feature_means(classifier, images)})
    write_atomically(Path(path), lambda file: file.write(data))
