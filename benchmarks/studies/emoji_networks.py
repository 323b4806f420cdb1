"""How good are the networks of the emoji world? `python -m benchmarks.studies.emoji_networks --run RUN --world normal`.

Prints the Fréchet distance of a run's samples to real pictures in the reader's features, that of other real pictures, and,
for samples of classes, how many show the object that was asked for.
"""

from __future__ import annotations

import numpy as np
import torch
from jsonargparse import auto_cli
from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.images import EmojiWorld, Images, open_images
from sgm_lightning.metrics.frechet import frechet_distance, moments
from sgm_lightning.world import EmojiReader

_SEED, _BATCH, _REAL = 9, 200, 5000


def measure(run: str, world: str = "normal") -> None:
    """Print what is known of a run's samples.

    Args:
        run: Run folder of `predict`.
        world: World that the network was trained on.
    """
    sets = open_images(run)
    if "samples" not in sets:
        raise SGMError(f"run must be a run folder of `predict` with its samples, got {run}; draw some.")
    samples, reader = sets["samples"], EmojiReader(world=world, unreality=False)
    real = moments(_features(reader, EmojiWorld("train", seed=_SEED, world=world, count=_REAL)))
    others = EmojiWorld("test", seed=_SEED, world=world, count=len(samples))
    for name, images in (("samples", samples), ("other real pictures", others)):
        found = frechet_distance(moments(_features(reader, images)), real)
        print(f"Fréchet distance of {len(images)} {name} to {_REAL} real pictures: {found:.1f}")
    if samples.labels is not None:
        factors, readable = read_factors(reader, samples)
        right = factors[:, 0] == np.asarray(samples.labels)
        print(f"Of {len(samples)} samples {readable.sum()} can be read; {(right & readable).sum()} show their class")


def read_factors(reader: EmojiReader, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors that are read of all images, (N, 4) integers, and which images can be read, (N,) bool."""
    readings = [reader.read(batch) for _, batch in images.batches(_BATCH)]
    factors = torch.cat([reading.factors for reading in readings]).numpy()
    return factors, torch.cat([reading.readable for reading in readings]).numpy()


@torch.no_grad()
def _features(reader: EmojiReader, images: Images) -> Tensor:
    return torch.cat([reader.look(batch).features for _, batch in images.batches(_BATCH)])


if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
