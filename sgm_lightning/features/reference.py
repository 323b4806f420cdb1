"""Reference features: taken of real images once, then read from a file that knows what it was made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.files.atomic import write
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import cache_folder
from sgm_lightning.images import Images


class Reference:
    """Real images in a feature space.

    Args:
        images: The images; may be left out where `file` exists.
        file: Features of them (`.safetensors`), written where it does not exist yet; default: a file in the cache folder
            ($SGM_CACHE, or ~/.cache/sgm_lightning), named by what it was made of.
    """

    def __init__(self, images: Images | None = None, file: str | None = None) -> None:
        if images is None and file is None:
            raise SGMError("A reference needs `images` or a `file` of cached features, got neither.")
        self.images = images
        self.file = None if file is None else Path(locate(file))

    def features(self, extractor: FeatureExtractor) -> tuple[Tensor, dict[str, Any]]:
        """Features (M, D) float32, as stored in float16, and a description of the set.

        Raises:
            SGMError: If the file was made by another extractor or of other images.
        """
        file, made_by = self.file, extractor.fingerprint()
        if file is None:
            assert self.images is not None
            key = f"{made_by[:16]}-{self.images.pixels_sha256()[:16]}"
            file = cache_folder() / f"features-{key}.safetensors"
        if not file.is_file():
            if self.images is None:
                raise SGMError(f"There are no reference features at {file}; name the `images` to take them of.")
            save_reference(file, self.images, extractor)
        found, text = _read(file)
        if text["extractor"] != made_by:
            raise SGMError(
                f"{file} holds features of {text['features']}, another extractor or other weights than "
                f"{extractor.name}; remove it, or name another file."
            )
        if self.images is not None and text["images"] != self.images.pixels_sha256():
            raise SGMError(f"{file} holds features of {text['name']}, other images than {self.images.name}; remove it.")
        return found.float(), {"name": text["name"], "num_samples": len(found), "sha256": text["images"]}


def save_reference(file: Path, images: Images, extractor: FeatureExtractor) -> None:
    """Write the features of a set, in float16, with the fingerprints of both."""
    text = {
        "name": images.name,
        "images": images.pixels_sha256(),
        "features": extractor.name,
        "extractor": extractor.fingerprint(),
        "describe": json.dumps(extractor.describe()),
    }
    found = extractor.of(images).half()
    write(file, save({"features": found}, text), hint="set $SGM_CACHE to a folder")


def _read(file: Path) -> tuple[Tensor, dict[str, str]]:
    try:
        with safe_open(file, "pt") as content:
            text = content.metadata() or {}
            if not {"name", "images", "features", "extractor"} <= set(text):
                raise SGMError(f"{file} does not say what its features were taken of; make it anew with `images`.")
            return torch.as_tensor(content.get_tensor("features")), text
    except (SafetensorError, OSError) as error:
        raise SGMError(f"{file} cannot be read as reference features ({error}); remove it to make it anew.") from None
