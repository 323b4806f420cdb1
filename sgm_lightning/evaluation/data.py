"""Finished images to evaluate, in one or more sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sgm_lightning.errors import SGMError
from sgm_lightning.images import Images, open_images


class ImageBatch(NamedTuple):
    """A batch of images from one set.

    Attributes:
        number: Number of the set.
        indices: (B,) int64 index of each image in the set.
        images: (B, C, H, W) uint8.
        labels: (B,) int64 classes, or None.
        scores: (B,) float32 minority scores that came with the images, or None.
    """

    number: int
    indices: Tensor
    images: Tensor
    labels: Tensor | None
    scores: Tensor | None


class _Batches(IterableDataset[ImageBatch]):
    """Batches of one set for this process; iterable, so that Lightning does not deal them out again, with padding."""

    def __init__(self, number: int, images: Images, batch_size: int, rank: int, world: int) -> None:
        self.number, self.images, self.batch_size, self.rank, self.world = number, images, batch_size, rank, world

    def __iter__(self) -> Iterator[ImageBatch]:
        for index in torch.arange(self.rank, len(self.images), self.world).split(self.batch_size):
            labels, scores = self.images.labels, self.images.scores
            yield ImageBatch(
                self.number,
                index,
                self.images.read(index.tolist()),
                None if labels is None else labels[index],
                None if scores is None else scores[index],
            )


class EvaluatedImages(pl.LightningDataModule):
    """Sets of finished images to evaluate side by side.

    Args:
        images: Run folder (its baseline becomes another set), `.npz` file in ADM's layout, or folder of images.
        sets: Further sets of images by name.
        pair: Names of two sets in which image i comes from the same noise; their differences are reported.
        batch_size: Number of images in a batch.
    """

    def __init__(
        self,
        images: str | None = None,
        sets: dict[str, Images] | None = None,
        pair: list[str] | None = None,
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        self.sets: dict[str, Images] = {}
        if images is not None:
            opened = open_images(images)
            self.sets |= opened
            if pair is None and len(opened) > 1:
                pair = list(opened)
        self.sets |= sets or {}
        if not self.sets:
            raise SGMError("There are no images to evaluate; set `data.images` to a run folder, an npz or a folder.")
        if batch_size < 1:
            raise SGMError(f"data.batch_size must be at least 1, got {batch_size}.")
        if pair is not None and (len(pair) != 2 or not set(pair) <= set(self.sets)):
            raise SGMError(f"data.pair must name two of the sets ({', '.join(self.sets)}), got {pair}.")
        self.pair = None if pair is None else (pair[0], pair[1])
        self.batch_size = batch_size

    def test_dataloader(self) -> list[DataLoader[ImageBatch]]:
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return [
            DataLoader(_Batches(number, images, self.batch_size, rank, world), batch_size=None)
            for number, images in enumerate(self.sets.values())
        ]
