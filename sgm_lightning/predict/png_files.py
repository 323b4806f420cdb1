"""Writes the samples of a finished run as PNG files, for tools that read a folder of images."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from sgm_lightning.files.atomic import make_folder, remove_leftovers, write_atomically
from sgm_lightning.run import RunDir


def write_png_files(run: RunDir, check: Callable[[], None] = lambda: None) -> None:
    """Write every sample of `samples.npz` to `images/000000.png` and so on; files that are there already stay.

    Args:
        run: Finished run whose samples are written.
        check: Function that is called before every file; it may raise.

    Raises:
        SGMError: If the folder or a file cannot be written.
    """
    folder = run.path / "images"
    make_folder(folder)
    remove_leftovers(folder)
    for index, pixels in enumerate(run.each_image("samples.npz")):
        file = folder / f"{index:06d}.png"
        if not file.exists():
            check()
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            write_atomically(file, lambda out, picture=picture: picture.save(out, format="PNG"))  # type: ignore[misc]
