"""Does a method turn round with the world? `python -m benchmarks.studies.emoji_direction samples …`, `… networks`.

`samples` reads a comparison of `known_frequencies` and prints, for every setting, by how much its objects and backgrounds
are rarer than the ordinary ones by the table of either world. `networks` asks the two networks about pictures whose factors
are uniform and independent, where brightness or an odd pair cannot stand in for rarity.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli

from benchmarks.studies.known_frequencies import NETWORKS
from sgm_lightning.backbones import DiffusersCheckpoint
from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.statistics import rank_correlation
from sgm_lightning.images import EmojiWorld, open_images
from sgm_lightning.scores import LevelRatio, MinorityScore
from sgm_lightning.world import FACTORS, EmojiReader, World

_SEED, _BATCH = 7, 60
_SEEN = ("object", "background")


def samples(comparison: str, world: str = "normal", reference: str = "plain") -> None:
    """Print the paired differences of a comparison's settings by factor and by the table of each world.

    Args:
        comparison: Folder of the comparison.
        world: World of the network.
        reference: Name of the folder of the ordinary samples.
    """
    reader = EmojiReader(world=world, unreality=False)
    runs = sorted(path.parent for path in Path(comparison).glob("*/samples.npz"))
    read = {run.name: _read(reader, run) for run in runs}
    if reference not in read:
        raise SGMError(f"reference must be a folder of {comparison} with samples, got {reference}; draw it first.")
    ordinary, good = read[reference]
    for name, (factors, readable) in read.items():
        both, cells = readable & good, []
        for known in NETWORKS:
            for column, factor in enumerate(FACTORS):
                if factor in _SEEN:
                    rarity = -np.log(World(known).probabilities[factor])
                    difference = rarity[factors[both, column]] - rarity[ordinary[both, column]]
                    error = difference.std(ddof=1) / np.sqrt(both.sum())
                    cells.append(f"{factor} by the {known} table {difference.mean():+.2f} ± {error:.2f}")
        shares = np.bincount(factors[readable, 1], minlength=len(FACTORS["background"])) / readable.sum()
        named = ", ".join(f"{share:.0%} {value}" for value, share in zip(FACTORS["background"], shares, strict=True))
        print(f"{name}: {'; '.join(cells)}; backgrounds: {named}")


def networks(count: int = 480, num_draws: int = 2) -> None:
    """Print Spearman's ρ of scores with the rarity of each factor, on pictures whose factors are uniform.

    Args:
        count: Number of pictures.
        num_draws: Number of draws of the noise.
    """
    torch.set_num_threads(1)
    uniform = {name: dict.fromkeys(values, 1.0) for name, values in FACTORS.items()}
    pictures = EmojiWorld("test", seed=_SEED, world=uniform, count=count)
    scores: dict[str, MinorityScore] = {"LevelRatio": LevelRatio(num_draws=num_draws)}
    scores |= {f"L_2 at log-SNR {level}": MinorityScore(level=float(level), num_draws=num_draws) for level in (0, 2, 4)}
    for world, network in NETWORKS.items():
        denoiser, probabilities = DiffusersCheckpoint(network).load().denoiser("250"), World(world).probabilities
        for name, score in scores.items():
            parts = [score.of_images(batch, denoiser, 0, rows) for rows, batch in pictures.batches(_BATCH)]
            values, factors = torch.cat(parts).double().numpy(), np.asarray(pictures.factors)
            found = [
                f"{factor} {rank_correlation(values, -np.log(probabilities[factor])[factors[:, column]]):+.2f}"
                for column, factor in enumerate(FACTORS)
            ]
            print(f"{world} network, {name}: {', '.join(found)}", flush=True)


def _read(reader: EmojiReader, run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors that are read, (N, 4), and which samples can be read, (N,)."""
    readings = [reader.read(batch) for _, batch in open_images(str(run))["samples"].batches(_BATCH)]
    factors = torch.cat([reading.factors for reading in readings]).numpy()
    return factors, torch.cat([reading.readable for reading in readings]).numpy()


if __name__ == "__main__":
    auto_cli([samples, networks], as_positional=False)
