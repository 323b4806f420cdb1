"""Opening of images by their path."""

from __future__ import annotations

from pathlib import Path

from sgm_lightning.errors import SGMError
from sgm_lightning.images.archive import NpzImages, RunImages
from sgm_lightning.images.base import Images
from sgm_lightning.images.files import ImageFolder


def open_images(path: str) -> dict[str, Images]:
    """Return the sets of images at a path: a run's baseline and samples, an archive, or a folder of image files.

    Raises:
        SGMError: If there are no such images.
    """
    here = Path(path)
    if (here / "samples.npz").is_file():
        kinds = [kind for kind in ("baseline", "samples") if (here / f"{kind}.npz").is_file()]
        return {kind: RunImages(path, kind) for kind in kinds}  # type: ignore[arg-type]
    if here.is_dir() and (here / "manifest.json").is_file():
        raise SGMError(f"{here} holds no finished run (no samples.npz); finish it with `sgm-lightning predict`.")
    if here.suffix == ".npz":
        return {here.stem: NpzImages(path)}
    folder = ImageFolder(path)
    return {folder.name: folder}
