"""`sgm-lightning features`: reference features in a file, to be kept or passed on without the images."""

from __future__ import annotations

from pathlib import Path

from sgm_lightning.errors import SGMError
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.reference import save_reference
from sgm_lightning.images import Images


def save_features(extractor: FeatureExtractor, images: Images, output: str) -> None:
    """Write the features of real images, for `spaces.NAME.reference.file`.

    Args:
        extractor: The feature space.
        images: The real images.
        output: `.safetensors` file to write.
    """
    target = Path(output)
    if target.suffix != ".safetensors" or target.exists():
        raise SGMError(f"output must be a new .safetensors file, got {target}; choose another name or remove it.")
    save_reference(target, images, extractor)
    print(f"Wrote {len(images)} features of {images.name} to {target}.")
