"""`sgm-lightning read`: what pictures of the emoji world show, how rare it is, and how real the pictures are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.commands.parsing import call
from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation import Evaluation
from sgm_lightning.evaluation.per_image import READING
from sgm_lightning.evaluation.report import Report
from sgm_lightning.evaluation.results import Results
from sgm_lightning.files.atomic import remove_leftovers, write
from sgm_lightning.files.locate import CHECKPOINTS
from sgm_lightning.images import Images, open_images
from sgm_lightning.progress import Progress
from sgm_lightning.world import FACTORS, EmojiReader, Reading

_BATCH = 64


def read(
    pictures: str,
    output: str | None = None,
    world: str | dict[str, dict[str, float]] = "normal",
    reader: str = f"{CHECKPOINTS}/emoji_reader",
    unreality: bool = True,
) -> None:
    """Read pictures of the emoji world: object, background, style and turn, true rarity, and unreality.

    Prints the means of every set of pictures, and writes a row for every picture.

    Args:
        pictures: Run folder, archive (`.npz`) or folder of image files, of any size.
        output: CSV file to write; default: none.
        world: World whose tables say what is rare: `normal`, `reversed`, `uniform`, or weights by factor and value.
        reader: Folder of the reader, or a run folder of `fit_reader`.
        unreality: Whether to search for the nearest picture of the world; it takes a tenth of a second each.

    Raises:
        SGMError: If there are no pictures, or the output exists or is no `.csv` file.
    """
    target = None if output is None else Path(output)
    if target is not None:
        if target.suffix != ".csv" or target.exists():
            raise SGMError(f"output must be a new .csv file, got {target}; choose another name or remove it.")
        remove_leftovers(target.parent)
    made = EmojiReader(reader, world, unreality)
    sets = open_images(pictures)
    lines: list[list[str]] = []
    results: dict[str, Results] = {}
    for name, images in sets.items():
        rows = torch.cat([made(torch.stack(batch)) for batch in _same_size(images)])
        evaluation = Evaluation({}, synchronise=False, reader=made)
        evaluation.update({READING: rows}, torch.arange(len(rows)))
        results[name] = evaluation.compute()
        rarity = made.world.rarity(Reading.of_rows(rows).factors.numpy())
        lines += _lines(images, Reading.of_rows(rows), rarity, [name] * (len(sets) > 1))
    if target is not None:
        heads = [*["set"] * (len(sets) > 1), "image", *(h for factor in FACTORS for h in (factor, f"{factor}_probability"))]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([[*heads, "rarity", "unreality", "readable"], *lines])
        write(target, text.getvalue())
        print(f"Wrote {len(lines)} rows to {target}.")
    pair = ("baseline", "samples") if set(results) == {"baseline", "samples"} else None
    print(Report(results, pair).table())


def _same_size(images: Images) -> Iterator[list[Tensor]]:
    """Yield consecutive images of one size, (C, H, W) uint8 each, not too many at a time."""
    progress = Progress(f"Reading {images.name}", len(images), "images")
    batch: list[Tensor] = []
    for index in range(len(images)):
        image = images.eight_bits(index)
        if batch and (len(batch) == _BATCH or image.shape != batch[0].shape):
            yield batch
            progress.advance(len(batch))
            batch = []
        batch.append(image)
    yield batch
    progress.advance(len(batch))
    progress.close()


def _lines(images: Images, reading: Reading, rarity: np.ndarray, start: list[str]) -> Iterator[list[str]]:
    """Yield the cells of every image's row."""
    for index in range(len(rarity)):
        cells = [*start, images.place(index)]
        for column, values in enumerate(FACTORS.values()):
            cells += [values[int(reading.factors[index, column])], f"{float(reading.probabilities[index, column]):.4f}"]
        unreality = float(reading.unreality[index])
        cells += [f"{rarity[index]:.4f}", "" if np.isnan(unreality) else f"{unreality:.3f}"]
        yield [*cells, "yes" if bool(reading.readable[index]) else "no"]


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(read, args, positional=True)
