"""What tools that compare folders of images find in the folder of a run."""

import glob
import os

import numpy as np
import pytest
from PIL import Image
from support.evaluations import with_evaluation
from support.runs import predict, settings, times

from sgm_lightning.images import ImageFolder

# The rules of clean-fid 0.1.35: its suffixes, and every folder below.
CLEAN_FID = ("bmp", "jpg", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp", "npy", "JPEG", "JPG", "PNG")

COLOUR = {
    "class_path": "NewNetwork",
    "init_args": {
        "flags": {"image_size": 8, "in_channels": 3, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1"}
    },
}


def clean_fid(folder):
    return sorted(path for suffix in CLEAN_FID for path in glob.glob(os.path.join(folder, f"**/*.{suffix}"), recursive=True))


@pytest.mark.parametrize("num_channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_samples_and_nothing_else_are_images(tmp_path, spaces, num_channels):
    config = with_evaluation(spaces) if num_channels == 1 else settings(model__backbone=COLOUR)
    run = tmp_path / "run"
    assert predict(tmp_path, "run", config, "--writer.png", "true") == 0
    assert clean_fid(run) == [str(run / f"images/{i:06d}.png") for i in range(5)]
    assert (run / ".figures/grid.png").is_file()
    samples = np.load(run / "samples.npz")["arr_0"]
    for i, pixels in enumerate(samples):
        read = np.asarray(Image.open(run / f"images/{i:06d}.png"))
        assert np.array_equal(read, pixels[..., 0] if num_channels == 1 else pixels)
    assert np.array_equal(ImageFolder(str(run)).read(range(5)).permute(0, 2, 3, 1).numpy(), samples)

    # Again, only what is missing is written.
    (run / "images/000003.png").unlink()
    kept = {path: time for path, time in times(run / "images").items() if path.name != "000003.png"}
    assert predict(tmp_path, "run", config, "--writer.png", "true") == 0
    assert kept.items() <= times(run / "images").items() and len(clean_fid(run)) == 5


def test_without_the_option_a_run_holds_no_image(tmp_path):
    assert predict(tmp_path) == 0
    assert clean_fid(tmp_path / "run") == []


def test_a_grid_of_nothing_is_refused(tmp_path, capsys):
    assert predict(tmp_path, "run", None, "--writer.grid_images", "0") == 1
    assert "grid_images must be at least 1, got 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
