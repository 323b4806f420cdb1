"""A figure of single images, each with its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sgm_lightning.evaluation.grid import add_image, save_figure

_INCH, _CAPTION, _TITLE, _GAP = 1.4, 0.42, 0.36, 0.06  # side of an image, and heights, in inches


def save_contact_sheet(path: Path, blocks: Sequence[tuple[str, np.ndarray, Sequence[str]]], columns: int = 5) -> None:
    """Write titled blocks of images, one below the other, with a caption under every image.

    Args:
        path: PNG file to write.
        blocks: Title, (N, H, W, C) uint8 images and N captions of each block.
        columns: Number of images in a line.
    """
    lines = [math.ceil(len(images) / columns) for _, images, _ in blocks]
    width = _INCH * columns
    height = sum(_TITLE + (_INCH + _CAPTION) * count for count in lines)
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    top = 0.0
    for (title, images, captions), count in zip(blocks, lines, strict=True):
        figure.text(_GAP / width, 1 - (top + _TITLE / 2) / height, title, fontsize=11, va="center")
        for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
            row, column = divmod(number, columns)
            left, upper = _INCH * column, top + _TITLE + (_INCH + _CAPTION) * row
            side = _INCH - 2 * _GAP
            box = ((left + _GAP) / width, 1 - (upper + _INCH - _GAP) / height, side / width, side / height)
            add_image(figure, box, image)
            below = 1 - (upper + _INCH) / height
            figure.text((left + _INCH / 2) / width, below, caption, fontsize=7, ha="center", va="top", color="0.3")
        top += _TITLE + (_INCH + _CAPTION) * count
    save_figure(path, figure)
