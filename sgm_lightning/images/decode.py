"""Reading of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_png

from sgm_lightning.errors import SGMError, reason_of


def read_pixels(path: Path) -> np.ndarray:
    """Return the pixels, (H, W, C): uint8 or uint16 gray or RGB, or float32 gray if there are fractions or signs.

    The picture is what viewers show: turned as its EXIF orientation says, transparent parts over white, the first frame of
    several. Palettes and other colour spaces become RGB.

    Raises:
        SGMError: If the file is not an image, is truncated, or holds NaN or infinity, or colours of 16 bits outside of a
            PNG file.
    """
    try:
        with Image.open(path) as image:
            pixels = _sixteen_bits(path, image) if _deep(image) else _pixels(ImageOps.exif_transpose(image))
    except SGMError:
        raise
    except Exception as error:  # each format has errors of its own: NotImplementedError, RuntimeError, struct.error …
        raise SGMError(f"{path} cannot be read as an image ({reason_of(error)}); remove or replace it.") from None
    if pixels.dtype not in (np.uint8, np.uint16):
        if not np.isfinite(pixels).all():
            raise SGMError(f"{path} must have finite values, got NaN or infinity; repair or remove it.")
        fits = pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 65535
        pixels = pixels.astype(np.uint16 if fits else np.float32)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _pixels(image: Image.Image) -> np.ndarray:
    if image.has_transparency_data:
        gray = image.mode in ("L", "LA", "1")
        shown = Image.new("RGBA", image.size, "white")
        shown.alpha_composite(image.convert("RGBA"))
        return np.array(shown.convert("L" if gray else "RGB"))
    if image.mode == "1":
        return np.array(image.convert("L"))
    if image.mode in ("L", "RGB", "F") or image.mode.startswith("I"):
        return np.array(image)
    return np.array(image.convert("RGB"))


def _deep(image: Image.Image) -> bool:
    """Return whether the file has 16 bits a channel in several channels, of which Pillow reads only the upper 8."""
    tiles = getattr(image, "tile", None) or []
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in tiles)


def _sixteen_bits(path: Path, image: Image.Image) -> np.ndarray:
    if image.format != "PNG":
        raise SGMError(f"{path} holds colours of 16 bits, which are read from PNG files alone; save it as PNG.")
    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    pixels = decode_png(data, ImageReadMode.UNCHANGED, apply_exif_orientation=True).permute(1, 2, 0).numpy()
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:].astype(np.float64) / 65535
        pixels = (pixels[..., :-1] * alpha + 65535 * (1 - alpha)).round().astype(np.uint16)
    return pixels
