"""Features of a reference set, computed once and then read from a file that records its origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.files.atomic import write
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import cache_folder
from sgm_lightning.images import Images


class Reference:
    """A reference set of real images, in a feature space.

    Args:
        images: Images of the set; may be left out if `file` exists.
        file: File of their features (`.safetensors`), written if it does not exist yet; default: a file in the cache folder
            ($SGM_CACHE, or ~/.cache/sgm_lightning), named by the hashes of extractor and images.
    """

    def __init__(self, images: Images | None = None, file: str | None = None) -> None:
        if images is None and file is None:
            raise SGMError("A reference needs `images` or a `file` of cached features, got neither.")
        self.images = images
        self.file = None if file is None else Path(locate(file))

    def features(self, extractor: FeatureExtractor) -> tuple[Tensor, dict[str, Any]]:
        """Return the features, (M, D) float32 as stored in float16, and a description of the set.

        Raises:
            SGMError: If the file was made by another extractor or from other images.
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
        if self.images is not None and len(found) != len(self.images):
            raise SGMError(
                f"{file} must hold features of the {len(self.images)} images of {self.images.name}, got {len(found)}; "
                "remove it to make it anew."
            )
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
            found = torch.as_tensor(content.get_tensor("features"))
            if found.ndim != 2 or not len(found) or not found.is_floating_point() or not bool(torch.isfinite(found).all()):
                raise ValueError(f"{found.dtype} of shape {tuple(found.shape)}, or NaN")
            return found, text
    except SGMError:
        raise
    except Exception as error:  # of safetensors, whatever a damaged file makes it raise
        raise SGMError(
            f"{file} cannot be read as reference features ({reason_of(error)}); remove it to make it anew."
        ) from None
