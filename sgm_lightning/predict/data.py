"""The samples to draw: indices in fixed chunks, with labels and, for a cascade, low-resolution images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sgm_lightning.diffusion import Condition, Model, from_uint8
from sgm_lightning.diffusion.noise import random_labels
from sgm_lightning.errors import SGMError
from sgm_lightning.images.archive import read_archive
from sgm_lightning.run import RunDir


class Chunk(NamedTuple):
    """Consecutive samples that are always drawn together.

    Attributes:
        number: Number of the chunk.
        indices: Global sample indices; a chunk is always full, surplus samples are cut when a run is merged.
        seed: Seed of the run.
        condition: Labels, low-resolution images and everything else that the samples are conditioned on.
    """

    number: int
    indices: list[int]
    seed: int
    condition: Condition = Condition()

    @property
    def labels(self) -> Tensor | None:
        """(B,) int64 classes, or None."""
        return self.condition.labels


class _Chunks(IterableDataset[Chunk]):
    """The chunks of one process; iterable, so that Lightning does not deal them out again.

    The length is only a bound, but needed: without a length Lightning fetches a chunk ahead, and a chunk that is claimed but
    not being drawn keeps the other processes waiting.
    """

    def __init__(self, data: SampleIndices, numbers: Numbers) -> None:
        self.data, self.numbers = data, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Chunk]:
        for number in self.numbers:
            yield self.data.chunk(number)


class Numbers(Protocol):
    """Chunk numbers that one process draws."""

    def __len__(self) -> int:
        """Return an upper bound of their number."""

    def __iter__(self) -> Iterator[int]: ...


class SampleIndices(pl.LightningDataModule):
    """Samples to draw, in chunks.

    Args:
        num_samples: Number of samples, N.
        chunk_size: Largest number of samples in a chunk, which is the batch of the network and the unit of writing. A new
            run of fewer samples draws smaller chunks, and a run keeps the chunks that it was started with.
        seed: Seed of the run. Sample i is a function of (seed, i) and of the settings, whichever process draws it.
        labels: Class labels. `auto`: uniform if the model is class-conditional, else none; `none`; `uniform`; one class for
            all; or a list, which is repeated over the samples.
    """

    def __init__(
        self,
        num_samples: int = 64,
        chunk_size: int = 16,
        seed: int = 0,
        labels: Literal["auto", "none", "uniform"] | int | list[int] = "auto",
    ) -> None:
        super().__init__()
        ranges = {
            "num_samples": (num_samples, 1, 10**9),
            "chunk_size": (chunk_size, 1, 10**5),
            "seed": (seed, 0, 2**128 - 1),
        }
        for name, (value, least, most) in ranges.items():
            if not isinstance(value, int) or not least <= value <= most:
                raise SGMError(f"{name} must lie between {least} and {most}, got {value}; set `data.{name}`.")
        self.num_samples, self.chunk_size, self.seed, self.labels = num_samples, chunk_size, seed, labels
        self.numbers: Callable[[], Numbers] = self._share
        self._num_classes: int | None = None
        self._coupled = False  # whether a chunk's samples depend on one another

    @property
    def num_chunks(self) -> int:
        """Number of chunks of the run."""
        return math.ceil(self.num_samples / self.chunk_size)

    def join(self, run: RunDir) -> None:
        """Draw in the chunks of a run on record or, in a new run, in chunks that hold no more samples than the run.

        An image depends on the size of its chunk only by the rounding of the network's batch. Where a guidance couples the
        samples of a chunk, the size is kept as it was given.
        """
        if self._coupled:
            return
        recorded = run.recorded("chunk_size")
        if recorded is None:
            self.chunk_size = min(self.chunk_size, self.num_samples)
        elif isinstance(recorded, int) and 1 <= recorded < self.chunk_size:
            self.chunk_size = recorded

    def chunk(self, number: int) -> Chunk:
        """Return chunk `number`, for the model that was passed to `check`."""
        indices = list(range(number * self.chunk_size, (number + 1) * self.chunk_size))
        return Chunk(number, indices, self.seed, Condition(self._labels(indices, self._num_classes)))

    def fingerprint(self) -> str | None:
        """Return the digest of the input images that the samples depend on, if there are any."""
        return None

    def predict_dataloader(self) -> DataLoader[Chunk]:
        return DataLoader(_Chunks(self, self.numbers()), batch_size=None, num_workers=0)

    def _share(self) -> Numbers:
        """Return every world_size-th chunk, for calls without a run folder that shares chunks out."""
        assert self.trainer is not None
        return range(self.trainer.global_rank, self.num_chunks, self.trainer.world_size)

    def check(self, model: Model, least_batch: int = 1) -> None:
        """Raise unless labels and chunks suit a model and its guidance. From then on chunks are made for this model.

        Args:
            model: Model that draws the samples.
            least_batch: Smallest chunk size for which its guidance has an effect.
        """
        if self.chunk_size < least_batch:
            raise SGMError(
                f"The guidance sets a chunk's samples against one another and needs at least {least_batch}, got "
                f"{self.chunk_size}; raise `data.chunk_size`."
            )
        self._check_labels(model.num_classes)
        self._num_classes, self._coupled = model.num_classes, least_batch > 1

    def _check_labels(self, num_classes: int | None) -> None:
        wanted = self.labels
        if num_classes is None and wanted not in ("auto", "none"):
            raise SGMError(f"The model is unconditional, got data.labels: {wanted}; set `data.labels: none`.")
        if num_classes is not None and wanted == "none":
            raise SGMError(f"The model needs one of {num_classes} labels, got data.labels: none; set it to uniform.")
        given = wanted if isinstance(wanted, list) else [wanted] if isinstance(wanted, int) else []
        if isinstance(wanted, list) and not wanted:
            raise SGMError("data.labels must not be an empty list; set it to uniform or to a class.")
        bad = [label for label in given if not 0 <= label < (num_classes or 0)]
        if bad:
            raise SGMError(f"data.labels must lie in [0, {num_classes}) for this model, got {bad[0]}.")

    def _labels(self, indices: list[int], num_classes: int | None) -> Tensor | None:
        if num_classes is None:
            return None
        if isinstance(self.labels, str):
            return random_labels(self.seed, indices, num_classes)
        given = self.labels if isinstance(self.labels, list) else [self.labels]
        return torch.tensor([given[i % len(given)] for i in indices])


class LowResolution(SampleIndices):
    """Images of an earlier run, which an upsampler enlarges; their labels are kept.

    Args:
        base: Run folder, or an `.npz` with arr_0 (N, h, w, C) uint8 and, for a conditional upsampler, arr_1 labels.
        num_samples: Number of images to enlarge, from the first; default: all.
        chunk_size: Number of samples in a chunk, which is the batch of the network and the unit of writing.
        seed: Seed of the run, as for `SampleIndices`.
    """

    def __init__(self, base: str, num_samples: int | None = None, chunk_size: int = 16, seed: int = 0) -> None:
        path = Path(base)
        path = path / "samples.npz" if path.is_dir() else path
        if not path.is_file():
            raise SGMError(f"There are no low-resolution samples at {path}; draw them first and set `data.base`.")
        self.images, labels = read_archive(path)
        self.base_labels: Any = labels
        available = len(self.images)
        if num_samples is not None and num_samples > available:
            raise SGMError(f"data.num_samples must be at most {available}, the number in {path}, got {num_samples}.")
        super().__init__(available if num_samples is None else num_samples, chunk_size, seed)

    def fingerprint(self) -> str:
        labels = b"" if self.base_labels is None else self.base_labels.astype(np.int64).tobytes()
        return hashlib.sha256(self.images.tobytes() + labels).hexdigest()

    def check(self, model: Model, least_batch: int = 1) -> None:
        super().check(model, least_batch)
        self._check_size(model)

    def _check_labels(self, num_classes: int | None) -> None:
        if num_classes is not None and self.base_labels is None:
            raise SGMError("The upsampler needs labels, but the low-resolution samples carry none; draw them with labels.")
        for label in () if num_classes is None else (int(self.base_labels.min()), int(self.base_labels.max())):
            if not 0 <= label < (num_classes or 0):
                raise SGMError(f"Labels must lie in [0, {num_classes}) for this model, got {label} in the base samples.")

    def _check_size(self, model: Model) -> None:
        """Raise unless the images suit the upsampler.

        The denoiser would enlarge images of any side, and the network would fail at any other number of channels.
        """
        if not model.upsampler:
            return
        channels, height, width = model.image_shape
        size = (model.low_res_size, model.low_res_size)
        shape = self.images.shape[1:]
        fits = shape[:2] == size if model.low_res_size else shape[0] < height and shape[1] < width
        if not fits or shape[2] != channels:
            sides = f"of {size[0]} × {size[1]}" if model.low_res_size else f"smaller than {height} × {width}"
            raise SGMError(
                f"This upsampler enlarges images {sides} with {channels} channel(s), got {shape[0]} × {shape[1]} with "
                f"{shape[2]} in `data.base`; take the base model's run, or another upsampler."
            )

    def chunk(self, number: int) -> Chunk:
        chunk = super().chunk(number)
        rows = [i % len(self.images) for i in chunk.indices]
        low_res = from_uint8(torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2)).contiguous()
        labels = None if self._num_classes is None else torch.from_numpy(self.base_labels[rows]).long()
        return chunk._replace(condition=Condition(labels, low_res))

    def _labels(self, indices: list[int], num_classes: int | None) -> Tensor | None:
        return None  # they come from the base samples
