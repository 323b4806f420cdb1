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

from benchmarks.studies.emoji_networks import read_factors
from benchmarks.studies.known_frequencies import NETWORKS
from sgm_lightning.backbones import DiffusersCheckpoint
from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.statistics import mean_estimate, rank_correlation
from sgm_lightning.images import EmojiWorld, open_images
from sgm_lightning.scores import LevelRatio, MinorityScore
from sgm_lightning.world import FACTORS, EmojiReader, World

_SEED, _BATCH = 7, 60
_COLUMNS = list(FACTORS)


def samples(comparison: str, world: str = "normal", reference: str = "plain") -> None:
    """Print the paired differences of a comparison's settings by factor and by the table of each world.

    Args:
        comparison: Folder of the comparison.
        world: World of the network.
        reference: Name of the folder of the ordinary samples.
    """
    reader = EmojiReader(world=world, unreality=False)
    runs = sorted(path.parent for path in Path(comparison).glob("*/samples.npz"))
    read = {run.name: read_factors(reader, open_images(str(run))["samples"]) for run in runs}
    if reference not in read:
        raise SGMError(f"reference must be a folder of {comparison} with samples, got {reference}; draw it first.")
    ordinary, good = read[reference]
    for name, (factors, readable) in read.items():
        both, cells = readable & good, []
        for known in NETWORKS:
            rarity = World(known).rarity_by_factor
            differences = rarity(factors[both]) - rarity(ordinary[both])
            for factor in ("object", "background"):
                found = mean_estimate(differences[:, _COLUMNS.index(factor)])
                cells.append(f"{factor} by the {known} table {found.value:+.2f} ± {found.standard_error:.2f}")
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
    pictures = EmojiWorld("test", seed=_SEED, world="uniform", count=count)
    factors = np.asarray(pictures.factors)
    scores: dict[str, MinorityScore] = {"LevelRatio": LevelRatio(num_draws=num_draws)}
    scores |= {f"L_2 at log-SNR {level}": MinorityScore(level=float(level), num_draws=num_draws) for level in (0, 2, 4)}
    for world, network in NETWORKS.items():
        denoiser, rarity = DiffusersCheckpoint(network).load().denoiser("250"), World(world).rarity_by_factor(factors)
        for name, score in scores.items():
            parts = [score.of_images(batch, denoiser, 0, rows) for rows, batch in pictures.batches(_BATCH)]
            values = torch.cat(parts).double().numpy()
            found = [f"{factor} {rank_correlation(values, rarity[:, i]):+.2f}" for i, factor in enumerate(_COLUMNS)]
            print(f"{world} network, {name}: {', '.join(found)}", flush=True)


if __name__ == "__main__":
    auto_cli([samples, networks], as_positional=False)
