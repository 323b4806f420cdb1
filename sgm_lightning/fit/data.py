"""Data of `fit`: pictures to train on, some of them held out for validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from sgm_lightning.diffusion.noise import Purpose, generator
from sgm_lightning.errors import SGMError
from sgm_lightning.fit.draws import Draws, HeldOut, Positions, TrainingBatch
from sgm_lightning.images import ImageFolder, Images
from sgm_lightning.images.crop import Square
from sgm_lightning.images.squares import Squares

_LISTED = 100  # classes that a log lists


@dataclass
class _Sets:
    """Pictures that have been opened and split.

    Attributes:
        training: Pictures to train on, by position.
        held_out: Pictures of which some are held out.
        held_out_rows: (n,) int64 rows of the held-out pictures.
    """

    training: Draws
    held_out: Squares
    held_out_rows: np.ndarray


class TrainingData(pl.LightningDataModule):
    """Pictures of any source to train on, some of them held out for validation.

    Args:
        source: Pictures to train on.
        held_out: Pictures for validation; default: a share of the source.
        held_out_share: Share of the source that is held out; 0 for none.
        held_out_limit: Largest number of held-out pictures.
        batch_size: Number of pictures in a batch of each process.
        crop: `center`, or `random` as in ADM: the shorter side is resized to between the size and 1.25 times the size.
        flip: Whether to mirror pictures at random. Off by default: a mirrored letter, shoe or lung is a different one.
        value_range: Pixel values that become −1 and 1, as for 12-bit medical images; default: the full range of the type.
        channels: Number of channels, 1 or 3, to convert to; by default the pictures must have as many as the model.
        max_broken: Number of unreadable pictures that are skipped before the training stops.
        cache: Whether to keep decoded pictures on the disk ($SGM_CACHE) where that pays.
        num_workers: Number of processes that prepare batches; default: 4 on GPUs, 0 on CPUs.
        seed: Seed of order, crops, steps, noise and dropped labels.
    """

    def __init__(
        self,
        source: Images,
        held_out: Images | None = None,
        held_out_share: float = 0.05,
        held_out_limit: int | None = 1000,
        batch_size: int = 64,
        crop: Literal["center", "random"] = "center",
        flip: bool = False,
        value_range: tuple[float, float] | None = None,
        channels: int | None = None,
        max_broken: int = 10,
        cache: bool = True,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, number, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("max_broken", max_broken, 0)):
            if number < least:
                raise SGMError(f"{name} must be at least {least}, got {number}; set `data.{name}`.")
        if not 0 <= held_out_share < 1:
            raise SGMError(f"held_out_share must lie in [0, 1), got {held_out_share}.")
        if channels not in (None, 1, 3):
            raise SGMError(f"data.channels must be 1, 3 or null, got {channels}.")
        self.source, self.held_out = source, held_out
        self.held_out_share, self.held_out_limit = held_out_share, held_out_limit
        self.batch_size, self.max_broken, self.cache, self.num_workers = batch_size, max_broken, cache, num_workers
        self.crop, self.flip, self.value_range, self.channels = crop, flip, value_range, channels
        self.seed = seed
        self._opened: tuple[Squares, Squares | None] | None = None
        self._sets: _Sets | None = None

    def prepare_data(self) -> None:
        """Decode the pictures into the cache, in one process."""
        self._open()

    def setup(self, stage: str) -> None:
        """Open the pictures and check them against the model."""
        if self._sets is not None:
            return
        module = self.trainer.lightning_module  # type: ignore[union-attr]
        squares, held_out = self._open()
        rows = np.arange(len(squares))
        if held_out is None:
            rows = generator(self.seed, 0, Purpose.SPLIT).permutation(len(squares))
            count = round(self.held_out_share * len(rows))
            held_out, kept, rows = squares, np.sort(rows[:count]), np.sort(rows[count:])
        else:
            kept = np.arange(len(held_out))
        if self.held_out_limit is not None and len(kept) > self.held_out_limit:
            kept = np.sort(generator(self.seed, 1, Purpose.SPLIT).permutation(kept)[: self.held_out_limit])
        world = self.trainer.world_size  # type: ignore[union-attr]
        batch = self.batch_size * world
        if batch > len(rows):
            raise SGMError(
                f"The global batch must not be larger than the data, got {batch} images a step and {len(rows)} to train "
                "on; set `data.batch_size`."
            )
        self._check_epochs(len(rows))
        if self.held_out is not None and module.num_classes is not None:
            held_out.labels = _renumbered(held_out.labels, self.held_out.class_names, self.source.class_names)
        if 0 < len(kept) < world:
            raise SGMError(
                f"There must be a held-out picture for every process, or none, got {len(kept)} for {world} processes; "
                "set `data.held_out_share`."
            )
        for labels in (squares.labels, held_out.labels):
            _check_labels(labels, module.num_classes)
        rank_zero_info(f"Data: {len(rows)} pictures to train on, {len(kept)} held out.")
        if self.source.class_names and squares.labels is not None:
            counts = np.bincount(squares.labels, minlength=len(self.source.class_names))
            listed = [f"{i} {name} ({counts[i]})" for i, name in enumerate(self.source.class_names[:_LISTED])]
            more = ", …" if len(self.source.class_names) > _LISTED else ""
            unused = "" if module.num_classes is not None else "; the model has no classes and does not use them"
            rank_zero_info(f"Classes, with numbers of pictures: {', '.join(listed)}{more}{unused}.")
        self._sets = _Sets(Draws(squares, rows, self.seed), held_out, kept)

    @property
    def images_per_step(self) -> int:
        """Number of pictures in a step of the optimiser, over all processes and gathered batches."""
        trainer = self.trainer
        assert trainer is not None
        return int(self.batch_size * trainer.world_size * trainer.accumulate_grad_batches)

    def _check_epochs(self, pictures: int) -> None:
        """Refuse a limit on epochs that has no effect, since one pass of Lightning's loop takes all steps."""
        trainer = self.trainer
        assert trainer is not None
        epochs = trainer.max_epochs or -1
        if epochs > 0 and trainer.limit_train_batches == 1.0 and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            steps = math.ceil(epochs * pictures / self.images_per_step)
            raise SGMError(
                f"A training is measured in steps, but trainer.max_epochs is {epochs}; leave it out, and set "
                f"`trainer.max_steps: {steps}` for as many passes over the pictures."
            )

    @property
    def num_held_out(self) -> int:
        """Number of held-out pictures."""
        assert self._sets is not None
        return len(self._sets.held_out_rows)

    @property
    def common_batches(self) -> int:
        """Number of held-out batches that every process has at least."""
        assert self.trainer is not None
        return math.ceil(self.num_held_out // self.trainer.world_size / self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training compares its data with: classes, number of pictures, and seed."""
        assert self._sets is not None
        return {"class_names": self.source.class_names, "pictures": len(self._sets.training.order.rows), "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse other classes, and warn of other pictures or another seed."""
        ours = self.state_dict()
        differing = [f"{key} {ours[key]}, not {theirs}" for key, theirs in state_dict.items() if ours[key] != theirs]
        if ours["class_names"] != state_dict["class_names"]:
            raise SGMError(
                f"The run folder holds a training of other classes ({'; '.join(differing)}), whose labels mean something "
                "else; choose another run_dir, and start it from this one by TrainedCheckpoint."
            )
        if differing:
            rank_zero_warn(f"Training goes on with other draws than before: {'; '.join(differing)}.")

    def train_dataloader(self) -> DataLoader[TrainingBatch]:
        trainer = self.trainer
        assert self._sets is not None and trainer is not None
        workers = self.num_workers
        on_gpu = trainer.strategy.root_device.type == "cuda"
        if workers is None:
            workers = 4 if on_gpu else 0
        return DataLoader(
            self._sets.training,
            batch_sampler=Positions(trainer, self.batch_size),  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=on_gpu,
        )

    def val_dataloader(self) -> Any:
        trainer = self.trainer
        assert self._sets is not None and trainer is not None
        rows = self._sets.held_out_rows
        if not len(rows):
            return []
        return DataLoader(HeldOut(self._sets.held_out, rows, self.seed, trainer, self.batch_size), batch_size=None)

    def _open(self) -> tuple[Squares, Squares | None]:
        """Open the pictures to train on and the held-out ones, once in each process."""
        if self._opened is not None:
            return self._opened
        channels, size, width = self.trainer.lightning_module.image_shape  # type: ignore[union-attr]
        if size != width:
            raise SGMError(
                f"Pictures become squares, got a model of {size} × {width} pixels; set sample_size of its "
                "network to one side."
            )
        squares = []
        for source in (self.source, self.held_out):
            if source is None:
                continue
            if self.channels not in (None, channels):
                raise SGMError(
                    f"The model has {channels} channels, got data.channels: {self.channels}; set it to {channels}."
                )
            to_square = Square(size, channels, self.crop, self.flip, self.value_range)
            _check_pictures(source, to_square, self.channels is None)
            squares.append(Squares(source, to_square, self.max_broken, self.cache))
        self._opened = squares[0], squares[1] if len(squares) > 1 else None
        return self._opened


class FolderData(TrainingData):
    """A folder of pictures to train on.

    Args:
        root: Folder of the pictures.
        classes: Classes of the pictures. `subfolder`: by subfolder; `prefix`: by the file name up to the first underscore,
            as in ADM; `none`: no classes; `auto`: by subfolder if there are several, else none.
        **kwargs: Arguments of `TrainingData`.
    """

    def __init__(self, root: str, classes: Literal["auto", "subfolder", "prefix", "none"] = "auto", **kwargs: Any) -> None:
        super().__init__(ImageFolder(root, classes), **kwargs)


def _as_it_is(batch: Any) -> Any:
    return batch


def _renumbered(labels: np.ndarray | None, theirs: list[str] | None, ours: list[str] | None) -> np.ndarray | None:
    """Translate the labels of another source, which numbers its classes differently, into our numbers."""
    if labels is None or theirs is None or ours is None or theirs == ours[: len(theirs)]:
        return labels
    if unknown := [name for name in theirs if name not in ours]:
        raise SGMError(
            f"Classes of held-out pictures must be among those trained on, got {', '.join(unknown[:5])}; remove or rename "
            "them."
        )
    return np.array([ours.index(name) for name in theirs], dtype=np.int64)[labels]


def _check_labels(labels: np.ndarray | None, num_classes: int | None) -> None:
    if num_classes is None:
        return
    if labels is None:
        raise SGMError(
            f"The model is conditional on {num_classes} classes, but the pictures have none; use a source with labels "
            "(`data.classes`)."
        )
    if int(labels.max()) >= num_classes or int(labels.min()) < 0:
        wrong = int(labels.max()) if int(labels.max()) >= num_classes else int(labels.min())
        raise SGMError(f"Labels must lie in [0, {num_classes}) for this model, got {wrong}; set `model.num_classes`.")


def _check_pictures(source: Images, to_square: Square, as_they_are: bool) -> None:
    """Raise unless the first readable picture suits the settings and, if `as_they_are`, has the model's channels."""
    for index in range(min(len(source), 16)):
        try:
            picture = source.picture(index)
        except SGMError:
            continue
        if not as_they_are and picture.shape[2] == 3 and to_square.channels == 1:
            rank_zero_info("The pictures have colours and the model has none: they become gray.")
        if as_they_are and picture.shape[2] != to_square.channels:
            raise SGMError(
                f"The model has {to_square.channels} channels, got pictures of {picture.shape[2]}; set "
                f"`data.channels: {to_square.channels}` to convert them."
            )
        to_square(picture, np.random.default_rng(0))
        return
