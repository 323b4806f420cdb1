"""Pictures and folders as other programs leave them."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from sgm_lightning.errors import SGMError
from sgm_lightning.images import CSVImages, ImageFolder
from sgm_lightning.images.crop import Square
from sgm_lightning.images.decode import read_pixels


def save(path, shade=0, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def classes(images):
    return {str(images.place(i)).rpartition("/")[2]: images.class_names[int(images.labels[i])] for i in range(len(images))}


# Folders


def test_hidden_entries_are_no_classes_and_are_told(tmp_path):
    for name in ("cat", "dog"):
        save(tmp_path / name / f"{name}.png")
        (tmp_path / name / f"._{name}.png").write_bytes(b"\0\5\x16\7")
        (tmp_path / name / "Thumbs.db").write_bytes(b"")
    save(tmp_path / ".ipynb_checkpoints/a.png")
    save(tmp_path / "__MACOSX/b.png")
    with pytest.warns(UserWarning, match="6 entries of .* are hidden or belong to an operating system"):
        images = ImageFolder(str(tmp_path))
    assert images.class_names == ["cat", "dog"] and len(images) == 2


def test_other_kinds_of_files_are_told(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.warns(
        UserWarning, match=r"1 entries of .* are no images by their names and are left out, e\.g\. notes\.txt"
    ):
        assert len(ImageFolder(str(tmp_path))) == 1


def test_a_clean_folder_is_told_nothing_of(tmp_path):
    save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(str(tmp_path))


@pytest.mark.parametrize("names", [[str(i) for i in range(12)], ["0.0", "1.0", "2.0", "10.0"], ["01", "2", "10"]])
def test_classes_that_are_numbers_are_in_their_order(tmp_path, names):
    for name in names:
        save(tmp_path / name / "a.png")
    images = ImageFolder(str(tmp_path))
    assert images.class_names == names
    rows = "\n".join(f"{name}/a.png,{name}" for name in names)
    (tmp_path / "table.csv").write_text(f"path,label\n{rows}\n")
    table = CSVImages(str(tmp_path / "table.csv"))
    assert table.class_names == names and table.labels.tolist() == list(range(len(names)))


def test_links_are_followed_and_loops_are_not(tmp_path):
    save(tmp_path / "data/bird/a.png")
    save(tmp_path / "elsewhere/dog/b.png")
    os.symlink(tmp_path / "elsewhere/dog", tmp_path / "data/dog")
    os.symlink(tmp_path / "data", tmp_path / "data/bird/loop")
    images = ImageFolder(str(tmp_path / "data"))
    assert images.class_names == ["bird", "dog"] and len(images) == 2
    os.makedirs(tmp_path / "links")
    os.symlink(tmp_path / "elsewhere/dog/b.png", tmp_path / "links/c.png")
    assert len(ImageFolder(str(tmp_path / "links"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    save(tmp_path / "data/bird/a.png")
    os.chmod(tmp_path / "data/bird", 0)
    with pytest.raises(SGMError, match="bird cannot be read"):
        ImageFolder(str(tmp_path / "data"))


def test_names_that_are_not_utf8(tmp_path):
    save(tmp_path / "a.png", 7)
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    images = ImageFolder(str(tmp_path))
    assert images.picture(0).max() == 7 and len(images.cache_key()) == 64


# Decoding


def png(path, pixels, kind):
    """Write a PNG of 16 bits: kind 2 is RGB, 4 gray with alpha, 6 RGB with alpha."""
    height, width, _ = pixels.shape

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
    return path


def test_colours_of_16_bits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    found = read_pixels(png(tmp_path / "x.png", pixels, 2))
    assert found.dtype == np.uint16 and np.array_equal(found, pixels)
    full = np.full((8, 8, 3), 4095, np.uint16)
    square = Square(8, 3, value_range=(0, 4095))
    read = square(read_pixels(png(tmp_path / "y.png", full, 2)))
    assert float(square.tensor(read, np.random.default_rng(0)).max()) == 1.0


@pytest.mark.parametrize(("kind", "channels"), [(4, 1), (6, 3)])
def test_transparency_of_16_bits_is_shown_over_white(tmp_path, kind, channels):
    pixels = np.full((2, 2, channels + 1), 1000, np.uint16)
    pixels[0, :, -1], pixels[1, :, -1] = 0, 65535
    found = read_pixels(png(tmp_path / "x.png", pixels, kind))
    assert found.shape == (2, 2, channels) and (found[0] == 65535).all() and (found[1] == 1000).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_shown_over_white(tmp_path, mode):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3] = 200, 30, 60
    pixels[4:, :, 3] = 255
    image = Image.fromarray(pixels)
    if mode == "LA":
        image = image.convert("LA")
    elif mode in ("P", "PA"):
        image = image.quantize(4)
    image.save(tmp_path / "x.png")
    found = read_pixels(tmp_path / "x.png")
    expected = [[200, 30, 60]] if mode != "LA" else [[round(0.299 * 200 + 0.587 * 30 + 0.114 * 60)]]
    assert (found[0] == 255).all() and np.allclose(found[-1, -1], expected, atol=2)


def test_pictures_are_turned_as_viewers_turn_them(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[0, 0] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    image.save(tmp_path / "x.png", exif=exif)
    found = read_pixels(tmp_path / "x.png")
    assert found.shape == (8, 4, 3) and found[0, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("suffix", ["gif", "jfif", "avif", "jp2", "jpe"])
def test_more_formats(tmp_path, suffix):
    save(tmp_path / f"x.{suffix}", 128, (16, 16))
    images = ImageFolder(str(tmp_path))
    assert images.picture(0).shape == (16, 16, 3) and abs(int(images.picture(0).mean()) - 128) <= 3


@pytest.mark.parametrize("format", ["png", "jpeg", "gif", "webp", "avif", "jpeg2000", "dds", "bmp", "tiff", "ppm", "blp"])
def test_mutated_files_are_broken_pictures(tmp_path, format):
    """Whatever a format's reader raises is one sentence that names the file."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    (image.quantize(16) if format == "blp" else image).save(tmp_path / "good", format)
    good = (tmp_path / "good").read_bytes()
    broken = 0
    for number in range(60):
        data = bytearray(good)
        for _ in range(int(random.integers(1, 6))):
            data[int(random.integers(min(len(data), 200)))] = int(random.integers(256))
        if number % 3 == 0:
            data = data[: int(random.integers(len(data)))]
        (tmp_path / "x.png").write_bytes(bytes(data))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_pixels(tmp_path / "x.png")
        except SGMError as error:
            broken += 1
            assert "x.png" in str(error) and "\n" not in str(error)
    assert broken


@pytest.mark.parametrize("shape", [(16, 16, 4), (16, 3, 16), (16, 16, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_of_other_channels_are_refused(shape, channels):
    with pytest.raises(SGMError, match="1 or 3 channels, got an array of shape"):
        Square(16, channels)(np.full(shape, 9, np.uint8))


def test_colours_of_16_bits_become_gray_as_those_of_8():
    eight = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    gray, deep = Square(6, 1)(eight), Square(6, 1)(eight.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16 and np.abs(deep / 257.0 - gray).max() <= 1
