"""A figure of a comparison with one row for each method and one column for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from sgm_lightning.evaluation.grid import add_image, save_figure
from sgm_lightning.images import Images

_INCH = 0.62  # side of an image


def save_seed_grid(path: Path, sets: Mapping[str, Images], count: int = 12) -> None:
    """Write the first images of every set, named at the left, numbered above.

    Args:
        path: PNG file to write.
        sets: Images of every row, by name.
        count: Number of columns.
    """
    count = min([count, *(len(images) for images in sets.values())])
    names = 0.3 + 0.085 * max(map(len, sets))
    head = 0.3
    width, height = names + _INCH * count, head + _INCH * len(sets)
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    for column in range(count):
        x = (names + _INCH * (column + 0.5)) / width
        figure.text(x, 1 - head / 2 / height, str(column), ha="center", va="center", fontsize=8, color="0.4")
    for row, (name, images) in enumerate(sets.items()):
        top = head + _INCH * row
        figure.text((names - 0.1) / width, 1 - (top + _INCH / 2) / height, name, ha="right", va="center", fontsize=9)
        pixels = images.read(range(count)).permute(0, 2, 3, 1).numpy()
        for column, picture in enumerate(pixels):
            gap = 0.03
            left, bottom = (names + _INCH * column + gap) / width, 1 - (top + _INCH - gap) / height
            add_image(figure, (left, bottom, (_INCH - 2 * gap) / width, (_INCH - 2 * gap) / height), picture)
    save_figure(path, figure)
