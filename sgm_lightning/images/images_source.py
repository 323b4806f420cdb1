"""Any of `sgm_lightning.images` as a source."""

from __future__ import annotations

import numpy as np

from sgm_lightning.images.base import Images
from sgm_lightning.images.source import Source


class ImagesSource(Source):
    """Images of an archive, a run, or a data set of torchvision.

    Args:
        images: The images.
    """

    def __init__(self, images: Images) -> None:
        self.images = images
        labels = images.labels
        self._labels = None if labels is None else labels.numpy().astype(np.int64)
        if self._labels is not None:
            self.class_names = [str(i) for i in range(int(self._labels.max()) + 1)]

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, index: int) -> np.ndarray:
        return self.images.read([index])[0].permute(1, 2, 0).numpy()

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels
