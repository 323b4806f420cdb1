"""`sgm-lightning read` on archives, folders and what cannot be read."""

import csv

import numpy as np
import pytest
from PIL import Image

from sgm_lightning.cli import main
from sgm_lightning.images import EmojiWorld
from sgm_lightning.world import FACTORS


def rows_of(file):
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream))


def check(rows, images):
    for row, factors, rarity in zip(rows, images.factors, images.rarity, strict=True):
        read = [FACTORS[name].index(row[name]) for name in FACTORS]
        assert all(0 <= float(row[f"{name}_probability"]) <= 1 for name in FACTORS)
        assert row["readable"] == ("yes" if float(row["object_probability"]) >= 0.8 else "no")
        if read == factors.tolist():
            assert float(row["rarity"]) == pytest.approx(rarity, abs=1e-3)
            assert float(row["unreality"]) < 1


def test_an_archive(tmp_path, capsys):
    images = EmojiWorld("test", seed=21, count=4)
    np.savez(tmp_path / "real.npz", arr_0=images.read(range(4)).permute(0, 2, 3, 1).numpy())
    assert main(["read", str(tmp_path / "real.npz"), "--output", str(tmp_path / "real.csv")]) == 0
    rows = rows_of(tmp_path / "real.csv")
    assert [row["image"] for row in rows] == [f"real.npz[{i}]" for i in range(4)]
    check(rows, images)
    shown = capsys.readouterr().out
    assert "true rarity (nats)" in shown and "share unreadable" in shown and "unreality" in shown


def test_a_folder_of_pictures_of_several_sizes(tmp_path, capsys):
    small, large = EmojiWorld("test", seed=22, count=2), EmojiWorld("test", seed=22, size=64, count=2)
    for index in range(2):
        Image.fromarray(small.picture(index)).save(tmp_path / f"a{index}.png")
        Image.fromarray(large.picture(index)).save(tmp_path / f"b{index}.png")
    args = ["read", str(tmp_path), "--output", str(tmp_path / "found.csv"), "--unreality", "false", "--world", "reversed"]
    assert main(args) == 0
    rows = rows_of(tmp_path / "found.csv")
    assert [row["image"].rpartition("/")[2] for row in rows] == ["a0.png", "a1.png", "b0.png", "b1.png"]
    assert {row["unreality"] for row in rows} == {""}
    assert "unreality (grey levels), world: no sample has a value" in capsys.readouterr().out
    assert main(args) == 1 and "new .csv file" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["none.npz", "empty"])
def test_nothing_to_read(tmp_path, capsys, path):
    (tmp_path / "empty").mkdir()
    assert main(["read", str(tmp_path / path), "--output", str(tmp_path / "out.csv")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()
