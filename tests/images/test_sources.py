"""Pictures to train on: where they come from, and how they become squares."""

import csv
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from support.pictures import labelled

from sgm_lightning import SGMError
from sgm_lightning.images import (
    ArrayImages,
    CSVImages,
    ImageFolder,
    LongTail,
    MedMNIST,
    NpzImages,
    RealAndDrawn,
    Subset,
    TorchvisionImages,
)
from sgm_lightning.images.crop import Square
from sgm_lightning.images.squares import Squares

pytestmark = pytest.mark.usefixtures("own_cache")
RNG = np.random.default_rng(0)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def gray(height=12, width=10):
    return RNG.integers(0, 256, (height, width), dtype=np.uint8)


def test_classes_of_a_folder(tmp_path):
    for name in ("cats/a.png", "cats/b.png", "dogs/old/c.png"):
        save(tmp_path / "sub" / name, gray())
    for name in ("x_1.png", "y_1.png", "x_2.png"):
        save(tmp_path / "flat" / name, gray())
    by_folder = ImageFolder(str(tmp_path / "sub"))
    assert by_folder.class_names == ["cats", "dogs"] and by_folder.labels.tolist() == [0, 0, 1]
    assert ImageFolder(str(tmp_path / "flat")).labels is None
    by_prefix = ImageFolder(str(tmp_path / "flat"), "prefix")
    assert by_prefix.class_names == ["x", "y"] and by_prefix.labels.tolist() == [0, 0, 1]
    assert ImageFolder(str(tmp_path / "sub"), "none").labels is None
    for name in ("10", "9"):
        save(tmp_path / "numbers" / name / "a.png", gray())
    numbers = ImageFolder(str(tmp_path / "numbers"))
    assert numbers.class_names == ["9", "10"] and numbers.labels.tolist() == [1, 0]  # in order of the paths: 10/a, 9/a
    save(tmp_path / "sub" / "stray.png", gray())
    assert ImageFolder(str(tmp_path / "sub")).labels is None
    with pytest.raises(SGMError, match=r"stray\.png lies in no subfolder"):
        ImageFolder(str(tmp_path / "sub"), "subfolder")
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "nowhere"):
        with pytest.raises(SGMError, match=wrong):
            ImageFolder(str(tmp_path / wrong))


def test_csv_of_paths_and_labels(tmp_path):
    pixels = [gray() for _ in range(3)]
    for i, picture in enumerate(pixels):
        save(tmp_path / "images" / f"{i}.png", picture)
    table = tmp_path / "table.csv"
    with open(table, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("path", "label"), ("images/0.png", 10), ("images/1.png", 9), ("images/2.png", 10)])
    source = CSVImages(str(table))
    assert source.class_names == ["9", "10"] and source.labels.tolist() == [1, 0, 1]
    assert np.array_equal(source.picture(1)[..., 0], pixels[1])
    assert CSVImages(str(table), label_column="none").labels is None
    with pytest.raises(SGMError, match="column file"):
        CSVImages(str(table), path_column="file")
    with pytest.raises(SGMError, match="cannot be read"):
        CSVImages(str(tmp_path / "nowhere.csv"))
    table.write_text("\ufeffpath,label\nimages/0.png,01\nimages/1.png,1\n", encoding="utf-8")  # as spreadsheets write it
    assert CSVImages(str(table)).class_names == ["01", "1"]
    for rows, says in (
        ("images/0.png,a\nimages/1.png\n", "label, got none in line 3"),
        ("a.png,x\n ,x\n", "path, got none"),
    ):
        table.write_text("path,label\n" + rows)
        with pytest.raises(SGMError, match=says):
            CSVImages(str(table))
    table.write_text("path,label\n" + "x" * 200_000 + ",a\n")
    with pytest.raises(SGMError, match="field larger than"):
        CSVImages(str(table))


def test_sixteen_bits_and_value_ranges(tmp_path):
    pixels = RNG.integers(0, 4096, (8, 8), dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        save(tmp_path / name, pixels)
    source = ImageFolder(str(tmp_path))
    for index in (0, 1):
        assert source.picture(index).dtype == np.uint16 and np.array_equal(source.picture(index)[..., 0], pixels)
    x, _ = Squares(source, Square(8, 1), cache=True).read(0, RNG)
    assert np.allclose(x[0], pixels / 32767.5 - 1, atol=1e-6)
    windowed, _ = Squares(source, Square(8, 1, value_range=(1000, 3000)), cache=True).read(0, RNG)
    assert np.allclose(windowed[0], ((pixels.astype(float) - 1000) / 1000 - 1).clip(-1, 1), atol=1e-6)
    # Evaluation is of 8 bits.
    assert np.array_equal(ImageFolder(str(tmp_path)).read([0])[0, 0].numpy(), pixels >> 8)
    # Resized as floats: levels between 8-bit ones survive.
    assert len(np.unique(Square(6, 1)(source.picture(0)))) > 30
    with pytest.raises(SGMError, match="value_range"):
        Square(8, 1, value_range=(3, 3))


@pytest.mark.parametrize("kept", [True, False], ids=["cached", "not cached"])
def test_hounsfield_units(tmp_path, kept):
    """Signed and floating-point slices, and one without negative values, which is read as 16 bits."""
    slices = RNG.integers(-1000, 3000, (3, 8, 8))
    slices[2] = abs(slices[2])
    for i, kind in enumerate((np.int32, np.float32, np.int32)):
        save(tmp_path / f"{i}.tif", slices[i].astype(kind))
    source = ImageFolder(str(tmp_path))
    squares = Squares(source, Square(8, 1, value_range=(-200, 300)), cache=kept)
    assert isinstance(squares.kept, np.memmap) == kept
    for i in range(3):
        assert np.allclose(squares.read(i, RNG)[0][0], ((slices[i] + 200) / 250 - 1).clip(-1, 1), atol=1e-6)
    with pytest.raises(SGMError, match=r"need a value range, got values from -\d+"):
        Square(8, 1)(source.picture(0))
    with pytest.raises(SGMError, match="must hold integers from 0 to 65535"):
        ImageFolder(str(tmp_path)).read([0])
    save(tmp_path / "1.tif", np.full((8, 8), np.nan, np.float32))
    with pytest.raises(SGMError, match="finite values"):
        source.picture(1)


def test_squares_as_in_adm():
    # An area mean while the picture is twice too large: a picture of 4 × 4 blocks comes back exactly.
    small = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    large = small.repeat(4, 0).repeat(4, 1)
    assert np.array_equal(Square(8, 3)(large), small[:, 2:10])
    # Bicubic between: as PIL does it.
    odd = RNG.integers(0, 256, (13, 11, 3), dtype=np.uint8)
    by_hand = np.array(Image.fromarray(odd).resize((8, 9), Image.Resampling.BICUBIC))
    assert np.array_equal(Square(8, 3)(odd), by_hand[0:8])
    # Gray and colour.
    assert Square(8, 1)(large).shape == (8, 8, 1)
    picture = gray(8, 8)[..., None]
    assert np.array_equal(Square(8, 3)(picture), picture.repeat(3, 2))


def test_random_crops_and_mirrors():
    picture = RNG.integers(0, 256, (40, 50, 1), dtype=np.uint8)
    to_square = Square(16, 1, "random", flip=True)
    once, again, other = (to_square(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.shape == (16, 16, 1) and np.array_equal(once, again) and not np.array_equal(once, other)
    turned = [to_square.tensor(once, np.random.default_rng(seed)) for seed in range(20)]
    mirrored = [np.array_equal(x, turned[0][..., ::-1]) for x in turned]
    assert 0 < sum(mirrored) < 20 and all(m or np.array_equal(x, turned[0]) for m, x in zip(mirrored, turned, strict=True))


@pytest.mark.parametrize("kept", [True, False], ids=["cached", "not cached"])
def test_broken_pictures_are_named_and_skipped(tmp_path, kept):
    for i in range(6):
        save(tmp_path / "images" / f"{i}.png", gray(8, 8))
    for i in (1, 4):
        file = tmp_path / "images" / f"{i}.png"
        file.write_bytes(file.read_bytes()[:60])
    source = ImageFolder(str(tmp_path / "images"))

    def read(limit):
        squares = Squares(source, Square(8, 1), limit, cache=kept)
        return [squares.read(row, RNG)[0] for row in range(len(squares))]

    with pytest.warns(UserWarning, match=r"1\.png"):
        rows = read(2)
    assert len(rows) == (4 if kept else 6)  # those that are left, or others in their places
    wanted = [0, 2, 3, 5] if kept else [0, 2, 2, 3, 5, 5]
    for row, index in zip(rows, wanted, strict=True):
        assert np.allclose(row[0], source.picture(index)[..., 0] / 127.5 - 1, atol=1e-6)
    with pytest.raises(SGMError, match=r"At most 1 .* got 2 .*1\.png"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read(1)


def test_the_cache_knows_when_pictures_change(tmp_path):
    file = save(tmp_path / "images" / "0.png", gray(8, 8))
    first = Squares(ImageFolder(str(file.parent)), Square(8, 1)).read(0, RNG)[0]
    again = Squares(ImageFolder(str(file.parent)), Square(8, 1))
    assert isinstance(again.kept, np.memmap) and np.array_equal(again.read(0, RNG)[0], first)
    other = gray(8, 8)
    save(file, other)
    changed = Squares(ImageFolder(str(file.parent)), Square(8, 1)).read(0, RNG)[0]
    assert np.allclose(changed[0], other / 127.5 - 1, atol=1e-6)
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_the_cache_tries_again_what_could_not_be_read(tmp_path):
    """As when a disk was away: neither size nor time of the file tells."""
    files = [save(tmp_path / "images" / f"{i}.png", gray(8, 8)) for i in range(3)]
    times, good = os.stat(files[0]), files[0].read_bytes()
    files[0].write_bytes(bytes(len(good)))
    os.utime(files[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.warns(UserWarning, match=r"0\.png"):
        assert len(Squares(ImageFolder(str(tmp_path / "images")), Square(8, 1), 1)) == 2
    files[0].write_bytes(good)
    os.utime(files[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    squares = Squares(ImageFolder(str(tmp_path / "images")), Square(8, 1))
    assert len(squares) == len(squares.kept) == 3 and not squares.broken.reasons


def test_images_of_the_same_name_are_not_taken_for_each_other(tmp_path):
    pixels = [gray(8, 8) for _ in range(2)]
    for picture in pixels:
        save(tmp_path / "images" / "0.png", picture)
        np.savez(tmp_path / "x.npz", picture[None, ..., None])
        for images in (ImageFolder(str(tmp_path / "images")), NpzImages(str(tmp_path / "x.npz"))):
            squares = Squares(images, Square(8, 1))
            assert (squares.kept is None) == isinstance(images, NpzImages)  # what is in memory is not kept again
            assert np.allclose(squares.read(0, RNG)[0][0], picture / 127.5 - 1, atol=1e-6)


def test_sets_of_torchvision_have_labels(tmp_path):
    for kind in "ab":
        save(tmp_path / kind / "0.png", gray(8, 8))
    source = TorchvisionImages("ImageFolder", str(tmp_path))
    assert source.labels.tolist() == [0, 1] and source.picture(1).shape == (8, 8, 3)


def test_long_tail():
    tail = LongTail(labelled([40, 40, 40]), 16)
    assert np.bincount(tail.labels).tolist() == [40, 10, 2]
    assert [int(tail.picture(i)[0, 0, 0]) for i in (39, 40, 49, 50, 51)] == [39, 40, 49, 80, 81]
    assert np.bincount(LongTail(labelled([9, 40, 40]), 10, [2, 1, 0]).labels).tolist() == [4, 12, 40]
    with pytest.raises(SGMError, match="needs 12 pictures, got 9"):
        LongTail(labelled([40, 9, 40]), 10)
    for wrong in ({"factor": 0.5}, {"order": [0, 0, 1]}):
        with pytest.raises(SGMError):
            LongTail(labelled([4, 4, 4]), **wrong)
    with pytest.raises(SGMError, match="needs labels"):
        LongTail(ArrayImages(torch.zeros(3, 1, 4, 4, dtype=torch.uint8)), 10)


def test_subsets_are_images_like_any_other(tmp_path):
    pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(-1, 3, 4, 2)
    images = ArrayImages(pixels, torch.tensor([2, 1, 0, 1, 2]), scores=torch.arange(5).float())
    some = Subset(images, [1, 4])
    assert some.labels.tolist() == [1, 2] and some.scores.tolist() == [1.0, 4.0] and some.shape == (3, 4, 2)
    assert torch.equal(some.read([1, 0]), images.read([4, 1])) and some.class_names == ["0", "1", "2"]
    assert some.pixels_sha256() == ArrayImages(images.read([1, 4])).pixels_sha256() and some.cache_key() is None
    for name, pixels in (("0", gray(8, 8)), ("1", gray(8, 8)), ("2", gray(8, 6))):
        save(tmp_path / f"{name}.png", pixels)
    folder = ImageFolder(str(tmp_path))
    keys = {Subset(folder, rows).cache_key() for rows in ([0, 1], [0, 2], [0, 1, 2])}
    assert len(keys) == 3 and Subset(folder, [0, 1, 2]).cache_key() == folder.cache_key()
    with pytest.raises(SGMError, match=r"got 6×8 pixels of 1 channel in .*2\.png but 8×8 .* in .*1\.png"):
        Subset(folder, [1, 2]).read([0, 1])
    both = RealAndDrawn(folder, images)
    assert both.picture(3).shape == (4, 2, 3) and both.read([0, 1]).shape == (2, 1, 8, 8)
    with pytest.raises(SGMError, match="must have one size"):
        both.read([0, 3])


def test_archives_and_medmnist(tmp_path):
    images = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images[..., None], np.arange(5))
    source = NpzImages(str(tmp_path / "x.npz"))
    assert np.array_equal(source.picture(3)[..., 0], images[3]) and source.labels.tolist() == list(range(5))
    pytest.importorskip("medmnist")
    parts = {f"{part}_{kind}": images if kind == "images" else np.arange(5)[:, None] for part in ("train", "val", "test")
             for kind in ("images", "labels")}  # fmt: skip
    np.savez(tmp_path / "pneumoniamnist.npz", **parts)
    medical = MedMNIST("pneumoniamnist", root=str(tmp_path), download=False)
    assert np.array_equal(medical.read([2])[0, 0].numpy(), images[2]) and medical.labels.tolist() == list(range(5))
    with pytest.raises(SGMError, match="neither in"):
        MedMNIST("bloodmnist", root=str(tmp_path), download=False)
    with pytest.raises(SGMError, match="no two-dimensional set"):
        MedMNIST("nothing")
