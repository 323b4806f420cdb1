"""`sgm-lightning features`: writes features of images, or their means by class, to a file usable without the images."""

from __future__ import annotations

from pathlib import Path

from sgm_lightning.commands.parsing import call
from sgm_lightning.errors import SGMError
from sgm_lightning.features.class_means import save_class_means
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.reference import save_reference
from sgm_lightning.files.atomic import remove_leftovers
from sgm_lightning.images import Images


def save_features(extractor: FeatureExtractor, images: Images, output: str, class_means: bool = False) -> None:
    """Write the features of real images, for `spaces.NAME.reference.file`, or their class means, for `LowDensityGuidance`.

    Args:
        extractor: Feature extractor that defines the space.
        images: Real images to read.
        output: `.safetensors` file to write.
        class_means: Whether to write the mean of every class of the images instead; low-density sampling takes the means of
            `NoisyClassifierFeatures`.

    Raises:
        SGMError: If the output exists or is no `.safetensors` file, or the images of a class are missing.
    """
    target = Path(output)
    if target.suffix != ".safetensors" or target.exists():
        raise SGMError(f"output must be a new .safetensors file, got {target}; choose another name or remove it.")
    remove_leftovers(target.parent)
    if class_means:
        save_class_means(target, images, extractor)
        print(f"Wrote the class means of {len(images)} features of {images.name} to {target}.")
        return
    save_reference(target, images, extractor)
    print(f"Wrote {len(images)} features of {images.name} to {target}.")


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(save_features, args)
