"""`sgm-lightning features`."""

import numpy as np
from support.pictures import GRAY

from sgm_lightning.cli import main
from sgm_lightning.features import RandomConvolutions, Reference


def test_the_features_command(tmp_path, capsys):
    np.savez(tmp_path / "real.npz", arr_0=GRAY.permute(0, 2, 3, 1).numpy())
    args = ["features", "--extractor", "RandomConvolutions", "--images", "NpzImages"]
    args += ["--images.path", str(tmp_path / "real.npz"), "--output", str(tmp_path / "out.safetensors")]
    assert main(args) == 0
    assert Reference(file=str(tmp_path / "out.safetensors")).features(RandomConvolutions())[0].shape == (12, 32)
    assert main(args) == 1 and "new .safetensors file" in capsys.readouterr().err
