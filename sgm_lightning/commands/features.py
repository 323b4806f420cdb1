"""`sgm-lightning features`: features in a file, to be kept or passed on without the images; or their means by class."""

from __future__ import annotations

from pathlib import Path

from sgm_lightning.commands.parsing import call
from sgm_lightning.errors import SGMError
from sgm_lightning.features.class_means import save_class_means
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.reference import save_reference
from sgm_lightning.images import Images


def save_features(extractor: FeatureExtractor, images: Images, output: str, class_means: bool = False) -> None:
    """Write the features of real images, for `spaces.NAME.reference.file`; or their means, for `LowDensityGuidance`.

    Args:
        extractor: The feature space.
        images: The real images.
        output: `.safetensors` file to write.
        class_means: Write the mean of every class of the images instead; `NoisyClassifierFeatures` are what low-density
            sampling takes them of.

    Raises:
        SGMError: If the output is no new file of that kind, or the images of a class are missing.
    """
    target = Path(output)
    if target.suffix != ".safetensors" or target.exists():
        raise SGMError(f"output must be a new .safetensors file, got {target}; choose another name or remove it.")
    if class_means:
        save_class_means(target, images, extractor)
        print(f"Wrote the class means of {len(images)} features of {images.name} to {target}.")
        return
    save_reference(target, images, extractor)
    print(f"Wrote {len(images)} features of {images.name} to {target}.")


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(save_features, args)
