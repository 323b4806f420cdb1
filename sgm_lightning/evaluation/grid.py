"""Writes figures and grids of images. A run's grid shows its first samples, below the unguided ones of the same noise."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import torch
from matplotlib.figure import Figure
from torchvision.utils import make_grid

from sgm_lightning.files.atomic import write_atomically

_CHARACTER = 9  # pixels of a character of a title


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def add_image(figure: Figure, box: tuple[float, float, float, float], image: np.ndarray) -> None:
    """Draw an (H, W, 1 or 3) uint8 image into a box (left, bottom, width, height), given in shares of the figure."""
    axes = figure.add_axes(box)
    gray = image.shape[2] == 1
    axes.imshow(image[..., 0] if gray else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")


def save_grid(path: Path, rows: list[tuple[str, np.ndarray]], columns: int = 12) -> np.ndarray:
    """Write titled blocks of images, one below the other.

    Args:
        path: PNG file to write.
        rows: Title and (N, H, W, C) uint8 images of each block.
        columns: Number of images in a line.

    Returns:
        The figure, (H, W, 3) uint8.
    """
    blocks = []
    for title, images in rows:
        tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        if max(tensor.shape[-2:]) < 64:  # whole multiples keep small images sharp
            tensor = tensor.repeat_interleave(2, -1).repeat_interleave(2, -2)
        blocks.append((title, make_grid(tensor, nrow=columns, padding=2, pad_value=255).permute(1, 2, 0).numpy()))
    # Few images are narrower than their title.
    width = max(*(block.shape[1] for _, block in blocks), *(_CHARACTER * len(title) for title, _ in blocks))
    heights = [block.shape[0] for _, block in blocks]
    title_height = 34
    figure = Figure(figsize=(width / 100, (sum(heights) + title_height * len(blocks)) / 100), dpi=100, facecolor="white")
    total, top = sum(heights) + title_height * len(blocks), 0
    for (title, block), height in zip(blocks, heights, strict=True):
        figure.text(0.006, 1 - (top + title_height / 2) / total, title, fontsize=12, va="center")
        top += title_height
        axes = figure.add_axes((0, 1 - (top + height) / total, block.shape[1] / width, height / total))
        axes.imshow(block, interpolation="nearest", aspect="auto")
        axes.axis("off")
        top += height
    save_figure(path, figure)
    return (matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)
