"""A figure of single images, each with its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sgm_lightning.evaluation.grid import add_image, save_figure

_CAPTION, _TITLE, _GAP = 0.42, 0.36, 0.06  # heights and distances in inches


def save_contact_sheet(
    path: Path,
    blocks: Sequence[tuple[str, np.ndarray, Sequence[str]]],
    columns: int = 5,
    beside: bool = False,
    inch: float = 1.4,
) -> None:
    """Write titled blocks of images with a caption under every image.

    Args:
        path: PNG file to write.
        blocks: Title, (N, H, W, C) uint8 images and N captions of each block.
        columns: Number of images in a line of a block.
        beside: Whether a block stands to the right of the one before, instead of below it.
        inch: Side of an image, with the gap around it, in inches.
    """
    # A line takes a ninth of an inch.
    caption = max(_CAPTION, 0.11 * max((text.count("\n") + 1 for *_, texts in blocks for text in texts), default=1))
    heights = [_TITLE + (inch + caption) * math.ceil(len(images) / columns) for _, images, _ in blocks]
    block_width = inch * columns + (inch / 2 if beside else 0)
    width = block_width * len(blocks) if beside else block_width
    height = max(heights) if beside else sum(heights)
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    start, top = 0.0, 0.0
    for (title, images, captions), own in zip(blocks, heights, strict=True):
        figure.text((start + _GAP) / width, 1 - (top + _TITLE / 2) / height, title, fontsize=11, va="center")
        for number, (image, text) in enumerate(zip(images, captions, strict=True)):
            row, column = divmod(number, columns)
            left, upper = start + inch * column, top + _TITLE + (inch + caption) * row
            side = inch - 2 * _GAP
            box = ((left + _GAP) / width, 1 - (upper + inch - _GAP) / height, side / width, side / height)
            add_image(figure, box, image)
            below = 1 - (upper + inch) / height
            size = 7 if inch >= 1.2 else 6
            figure.text((left + inch / 2) / width, below, text, fontsize=size, ha="center", va="top", color="0.3")
        start, top = (start + block_width, top) if beside else (start, top + own)
    save_figure(path, figure)
