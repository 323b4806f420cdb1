"""Minority levels: the number of quantiles of a data set's minority scores that an image exceeds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.atomic import write
from sgm_lightning.images.base import Images
from sgm_lightning.images.subset import Subset

_MADE = "made"  # key in the file's header


@dataclass
class Levels:
    """Minority scores and levels of every image of a set.

    Attributes:
        scores: Minority scores, (N,) float32; NaN for a picture that could not be read.
        levels: Levels, (N,) int64 in [0, L), L − 1 the rarest; −1 without a score.
        thresholds: Thresholds between levels, (L − 1,) float32, rising.
        made: Record of the settings that made them; `source` is the set's `identity`.
    """

    scores: Tensor
    levels: Tensor
    thresholds: Tensor
    made: dict[str, Any]

    @property
    def num_levels(self) -> int:
        """Number L of levels."""
        return len(self.thresholds) + 1

    def write(self, path: Path) -> None:
        """Write a `.safetensors` file, whole or not at all."""
        tensors = {"scores": self.scores, "levels": self.levels, "thresholds": self.thresholds}
        write(path, save(tensors, {_MADE: json.dumps(self.made)}), new_folder=False)


def thresholds(scores: Tensor, num_levels: int) -> Tensor:
    """Return the quantiles 1/L … (L − 1)/L of (N,) scores, interpolated linearly, (L − 1,) float32.

    Raises:
        SGMError: If there are fewer than two levels, or fewer scores than levels.
    """
    if not 2 <= num_levels <= len(scores):
        raise SGMError(
            f"num_levels must lie between 2 and the {len(scores)} images that have a score, got {num_levels}; the paper "
            "takes 100 of some 10,000 and more."
        )
    return torch.from_numpy(np.quantile(scores.numpy(), np.arange(1, num_levels) / num_levels).astype(np.float32))


def level_of(scores: Tensor, at: Tensor) -> Tensor:
    """Return the number of thresholds `at` that lie below each score, (N,) int64 (Um, Lee & Ye, ICLR 2024).

    >>> level_of(torch.tensor([0.1, 0.5, 0.6, 2.0]), torch.tensor([0.5, 1.0]))
    tensor([0, 0, 1, 2])
    """
    return torch.searchsorted(at, scores)


def read_levels(path: str | Path) -> Levels:
    """Read a file that `sgm-lightning score` wrote.

    Raises:
        SGMError: If the file is missing or was not written by it.
    """
    if not Path(path).is_file():
        raise SGMError(f"There is no file of minority levels at {path}; make one with `sgm-lightning score`.")
    try:
        with safe_open(path, "pt") as content:
            made = json.loads((content.metadata() or {})[_MADE])
            scores, levels, at = (torch.as_tensor(content.get_tensor(n)) for n in ("scores", "levels", "thresholds"))
            return _sound(Levels(scores, levels, at, made))
    except Exception as error:  # of safetensors and JSON, whatever a damaged file makes them raise
        raise SGMError(
            f"{path} cannot be read as minority levels ({reason_of(error)}); make it with `sgm-lightning score`."
        ) from None


def _sound(found: Levels) -> Levels:
    """Return levels if they are such; raise ValueError if not."""
    for name, values, floating in (
        ("scores", found.scores, True),
        ("levels", found.levels, False),
        ("thresholds", found.thresholds, True),
    ):
        if values.ndim != 1 or values.is_floating_point() is not floating or values.is_complex():
            raise ValueError(f"{name} are {values.dtype} of shape {tuple(values.shape)}")
    levels = found.levels.long()
    if len(levels) != len(found.scores) or not len(levels):
        raise ValueError(f"{len(levels)} levels for {len(found.scores)} scores")
    if not -1 <= int(levels.min()) <= int(levels.max()) < found.num_levels:
        raise ValueError(f"levels from {int(levels.min())} to {int(levels.max())} of {found.num_levels}")
    if int(levels.max()) < 0:
        raise ValueError("no image has a level")
    if not isinstance(found.made, dict):
        raise ValueError("no record of how they were made")
    return Levels(found.scores, levels, found.thresholds, found.made)


def identity(source: Images) -> str:
    """Return a SHA-256 that identifies a set wherever it is stored: of N and the pixels of 16 pictures, evenly spread."""
    digest = hashlib.sha256(str(len(source)).encode())
    for index in sorted({round(i) for i in np.linspace(0, len(source) - 1, 16)}):
        try:
            picture = source.picture(index)
        except SGMError:
            continue
        digest.update(repr((index, picture.shape, picture.dtype.str)).encode() + picture.tobytes())
    return digest.hexdigest()


class MinorityLevels(Subset):
    """The images of a set that have a minority score; their class is the level.

    Args:
        source: Images that were scored.
        file: File that `sgm-lightning score` wrote for them.

    Raises:
        SGMError: If the file is of other images.
    """

    def __init__(self, source: Images, file: str) -> None:
        found = read_levels(file)
        if len(source) != len(found.scores):
            raise SGMError(
                f"{file} holds levels of {len(found.scores)} pictures, got a source of {len(source)}; name the source that "
                "was scored, or score this one."
            )
        if found.made.get("source") != identity(source):
            raise SGMError(f"{file} holds levels of other pictures than the source got here; score this one.")
        super().__init__(source, np.flatnonzero(found.levels.numpy() >= 0), f"{source.name} by minority level")
        self.labels = found.levels[torch.from_numpy(self.indices)]
        self.class_names = [f"level {level}" for level in range(found.num_levels)]
