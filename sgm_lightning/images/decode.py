"""Reading of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from sgm_lightning.errors import SGMError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}


def image_files(root: Path) -> list[Path]:
    """Return all image files below a folder, in order of their paths.

    Raises:
        SGMError: If there are no image files.
    """
    if not root.is_dir():
        raise SGMError(f"There is no folder {root}; check the path.")
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise SGMError(f"The folder {root} holds no images ({', '.join(sorted(SUFFIXES))}); check the path.")
    return files


def read_pixels(path: Path) -> np.ndarray:
    """Return the pixels, (H, W, C): uint8 gray or RGB, uint16 gray, or float32 gray if there are fractions or signs.

    Palettes, transparency and other colour spaces become RGB.

    Raises:
        SGMError: If the file is not an image, is truncated, or holds NaN or infinity.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("1", "LA"):
                pixels = np.array(image.convert("L"))
            elif image.mode in ("L", "RGB", "F") or image.mode.startswith("I"):
                pixels = np.array(image)
            else:
                pixels = np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SGMError(f"{path} cannot be read as an image ({error}); remove or replace it.") from None
    if pixels.dtype != np.uint8:
        if not np.isfinite(pixels).all():
            raise SGMError(f"{path} must have finite values, got NaN or infinity; repair or remove it.")
        fits = pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 65535
        pixels = pixels.astype(np.uint16 if fits else np.float32)
    return pixels[..., None] if pixels.ndim == 2 else pixels
