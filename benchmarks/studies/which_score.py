"""Which score sees true rarity? `python -m benchmarks.studies.which_score measure …`, then `… report`.

`measure` computes every score of pictures of the emoji world and keeps them in a file; `report` correlates them with true
rarity, in docs/results/known_frequencies.md.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from PIL import Image
from torch import Tensor, nn

from benchmarks.studies.emoji_networks import read_factors
from benchmarks.studies.known_frequencies import PAGE
from benchmarks.studies.pages import fill
from sgm_lightning.backbones import DiffusersCheckpoint
from sgm_lightning.diffusion import Denoiser, NoiseLevel, from_uint8
from sgm_lightning.diffusion.noise import Purpose, SampleNoise
from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.format import markdown
from sgm_lightning.evaluation.statistics import rank_correlation
from sgm_lightning.features import STLPIPSFeatures
from sgm_lightning.images import EmojiWorld, Images, open_images
from sgm_lightning.metrics import RealFeatures
from sgm_lightning.metrics.density import avg_knn, local_outlier_factor, rarity_score
from sgm_lightning.scores import STLPIPS, Lp, negative_elbo
from sgm_lightning.world import FACTORS, EmojiReader, World

LEVELS = (-6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
_BATCH = 100
_SEED = 5


def measure(
    output: str,
    checkpoint: str = "checkpoints/emoji_world_32",
    world: str = "normal",
    pictures: str | None = None,
    count: int = 5000,
    num_draws: int = 2,
    perceptual: int = 1500,
    threads: int = 1,
) -> None:
    """Compute all scores of pictures, and write them to a file.

    Args:
        output: `.npz` file to write: a column a score.
        checkpoint: Network that scores.
        world: World of the pictures and of the truth.
        pictures: Run folder with generated pictures, which a reader reads; default: real pictures of the test split.
        count: Number of pictures.
        num_draws: Number of draws of the noise at each level.
        perceptual: Number of pictures that the perceptual distances see.
        threads: Number of threads.
    """
    torch.set_num_threads(threads)
    denoiser = DiffusersCheckpoint(checkpoint).load().denoiser("250")
    images = pictures_of(world, pictures, count)
    table = truth(images, world)
    table |= density_scores(images, world)
    columns: dict[str, list[np.ndarray]] = {}
    for rows, batch in images.batches(_BATCH):
        found = model_scores(denoiser, batch, rows, num_draws, rows[0] < perceptual)
        for name, values in {**found, **plain_scores(batch)}.items():
            columns.setdefault(name, []).append(values.numpy().astype(np.float64))
        print(f"{rows[-1] + 1} of {len(images)}", flush=True)
    table |= {name: np.concatenate(parts) for name, parts in columns.items()}
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, **table)  # type: ignore[arg-type]


def pictures_of(world: str, pictures: str | None, count: int) -> Images:
    """Return the pictures that are scored."""
    if pictures is None:
        return EmojiWorld("test", seed=_SEED, world=world, count=count)
    sets = open_images(pictures)
    if "samples" not in sets:
        raise SGMError(f"Generated pictures come from a run folder, got {pictures}; draw some with `predict`.")
    return sets["samples"]


def truth(images: Images, world: str) -> dict[str, np.ndarray]:
    """Return true rarity, the rarity of each factor, and the size of the emoji: as drawn, or as read."""
    if isinstance(images, EmojiWorld):
        factors, size, readable = images.factors, images.pose[:, 0], np.ones(len(images), dtype=bool)
    else:
        reader = EmojiReader(world=world, unreality=False)
        factors, readable = read_factors(reader, images)
        size = torch.cat([reader.look(batch).pose[:, 0] for _, batch in images.batches(_BATCH)]).double().numpy()
    known = World(world)
    table = {"rarity": known.rarity(factors), "size": size, "readable": readable}
    parts = known.rarity_by_factor(np.asarray(factors))
    return table | {f"rarity_{name}": part for name, part in zip(FACTORS, parts.T, strict=True)}


@torch.no_grad()
def model_scores(
    denoiser: Denoiser, images: Tensor, indices: list[int], num_draws: int, perceptual: bool
) -> dict[str, Tensor]:
    """Return (B,) minority scores by distance and level, which share their reconstructions, and the bound's parts."""
    x_0 = from_uint8(images)
    noise = SampleNoise(_SEED, indices, x_0.shape[1:], x_0.device)
    found: dict[str, Tensor] = {}
    distances: dict[str, nn.Module] = {"L_1": Lp(1.0), "L_2": Lp(2.0)}
    if perceptual:
        distances |= perceptual_distances()
    for level in LEVELS:
        chain, s = NoiseLevel(log_snr=level).place(denoiser)
        draws = [noise.draw(Purpose.SCORE, 0, number) for number in range(num_draws)]
        hats = [chain(chain.process.q_sample(x_0, s, draw), s).x0_hat for draw in draws]
        for name, distance in distances.items():
            found[f"{name} {level:g}"] = torch.stack([distance(x_0, hat) for hat in hats]).mean(0)
    bound = negative_elbo(images, denoiser, _SEED, indices, 5)
    return found | {"NELBO": bound.total, "NELBO, squared errors": bound.score}


_PERCEPTUAL: dict[str, nn.Module] = {}


def perceptual_distances() -> dict[str, nn.Module]:
    """Return the perceptual distances, loaded once."""
    if not _PERCEPTUAL:
        _PERCEPTUAL.update({f"ST-LPIPS {net}": STLPIPS(net) for net in ("alex", "vgg")})
    return _PERCEPTUAL


def plain_scores(images: Tensor) -> dict[str, Tensor]:
    """Return what needs no network: contrast, brightness, ink and the compressed size."""
    x = images.float()
    corner = x[:, :, :1, :1]
    return {
        "contrast": x.flatten(1).std(1),
        "brightness": x.flatten(1).mean(1),
        "ink": (x - corner).abs().amax(1).gt(24).float().flatten(1).mean(1),
        "compressed size": torch.tensor([float(_png_size(image)) for image in images]),
    }


def _png_size(image: Tensor) -> int:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "png", optimize=True)
    return len(file.getvalue())


def density_scores(images: Images, world: str, count: int = 5000) -> dict[str, np.ndarray]:
    """Return AvgkNN, LOF and rarity score against real pictures, in three spaces."""
    reference = EmojiWorld("train", seed=_SEED, world=world, count=count)
    reader = EmojiReader(unreality=False)
    spaces: dict[str, Callable[[Tensor], Tensor]] = {
        "pixels": lambda batch: from_uint8(batch).flatten(1),
        "reader": lambda batch: reader.look(batch).features,
        "ST-LPIPS alex": STLPIPSFeatures("alex"),
    }
    found = {}
    for name, space in spaces.items():
        with torch.no_grad():
            own, real = (torch.cat([space(b) for _, b in known.batches(_BATCH)]) for known in (images, reference))
        known = RealFeatures.of(real)
        found[f"AvgkNN, {name}"] = avg_knn(own, known, 5).double().numpy()
        found[f"LOF, {name}"] = local_outlier_factor(own, known, 20).double().numpy()
        found[f"rarity score, {name}"] = rarity_score(own, known, 3).double().numpy()
    return found


def report(files: list[str]) -> None:
    """Fill the page's tables with Spearman's ρ of every score with true rarity, one for each file.

    ρ is given with a 95 % interval by bootstrap, with contrast, brightness and size held fixed (partial), and by factor.

    Args:
        files: Files of `measure`; `real_normal.npz` fills the block "which score, real normal".
    """
    tables = {}
    for file in files:
        table = dict(np.load(file))
        keep = table["readable"]
        print(f"{file}: N = {int(keep.sum())} readable pictures of {len(keep)}")
        heads = ["score", "N", "ρ", "95 %", "partial", *FACTORS]
        readable = {name: values[keep[: len(values)]] for name, values in table.items()}
        tables[f"which score, {Path(file).stem.replace('_', ' ')}"] = markdown(heads, list(_lines(readable)))
    fill(PAGE, tables)


def _lines(table: dict[str, np.ndarray]) -> Iterator[list[str]]:
    held = np.column_stack([table["contrast"], table["brightness"], table["size"]])
    rng = np.random.default_rng(0)
    for name, score in table.items():
        if name in ("readable", "size", "rarity") or name.startswith("rarity_"):
            continue
        rows = np.arange(len(score))  # perceptual distances have seen the first pictures alone
        rarity = table["rarity"][rows]
        again = [rank_correlation(score[pick], rarity[pick]) for pick in rng.integers(0, len(rows), (200, len(rows)))]
        low, high = np.quantile(again, [0.025, 0.975])
        partial = rank_correlation(score, rarity, held[rows]) if name not in ("contrast", "brightness") else np.nan
        factors = [f"{rank_correlation(score, table[f'rarity_{factor}'][rows]):.2f}" for factor in FACTORS]
        cell = "–" if np.isnan(partial) else f"{partial:.2f}"
        label = " at log-SNR ".join(name.rsplit(" ", 1)) if name[-1].isdigit() else name
        yield [label, str(len(rows)), f"{rank_correlation(score, rarity):.2f}", f"{low:.2f} … {high:.2f}", cell, *factors]


if __name__ == "__main__":
    auto_cli([measure, report], as_positional=False)
