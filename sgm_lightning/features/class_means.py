"""Means of features by class, for low-density sampling."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.files.atomic import write
from sgm_lightning.images import Images


def class_means(extractor: FeatureExtractor, images: Images, batch_size: int = 256) -> Tensor:
    """Return the mean of the features of the images of every class, (K, D) float32.

    Raises:
        SGMError: If the images have no classes, or a class has no image.
    """
    labels = images.labels
    if labels is None:
        raise SGMError(f"Means by class need classes, but {images.name} has none; take a labelled set.")
    counts = torch.bincount(labels)
    if int(counts.min()) == 0:
        raise SGMError(f"Every class must have an image, got none of class {int(counts.argmin())}; take more images.")
    device = next((parameter.device for parameter in extractor.parameters()), torch.device("cpu"))
    sums: Tensor | None = None
    for indices, batch in images.batches(batch_size):
        found = extractor(batch.to(device)).cpu().double()
        if sums is None:
            sums = torch.zeros(len(counts), found.shape[1], dtype=torch.float64)
        sums.index_add_(0, labels[indices], found)
    assert sums is not None  # no set is empty
    return (sums / counts[:, None]).float()


def save_class_means(file: Path, images: Images, extractor: FeatureExtractor) -> None:
    """Write `class_means` as `means` to a `.safetensors` file, which `LowDensityGuidance` reads."""
    data = save({"means": class_means(extractor, images)})
    write(file, data, hint="choose another `output`")
