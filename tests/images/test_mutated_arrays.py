"""Mutations of arrays in files: archives of pictures and labels, levels, caches, features, in one sentence or read right."""

import gzip
import io
import json
import random
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save
from support.mutations import STRANGE, damaged, damaged_array, deep, mutated, refusal
from support.pictures import labelled

from sgm_lightning.features import ModuleFeatures, Normalise, Reference
from sgm_lightning.images import FashionMNIST, ImageFolder, MinorityLevels, NpzImages
from sgm_lightning.images.crop import Square
from sgm_lightning.images.levels import identity
from sgm_lightning.images.open import open_images
from sgm_lightning.images.squares import Squares
from sgm_lightning.predict import LowResolution

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(6) % 3


def archive(arrays, compressed=False):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def with_header(data, header):
    """An .npy file with another header before the same numbers."""
    start = 10 + int.from_bytes(data[8:10], "little")
    text = header.encode("latin-1", "replace")
    return data[:8] + len(text).to_bytes(2, "little") + text + data[start:]


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def headers(array, source):
    """Headers of an .npy file: some of another array, some that are none."""
    real = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    changed = dict(real)
    changed[source.choice(sorted(real))] = source.choice(
        [
            *STRANGE[:-1],
            "|O",
            "<f8",
            "|u1",
            "<U9",
            "|V5",
            [("a", "|O")],
            (10**12, 1, 1, 1),
            (-1, 8, 8, 3),
            (6, 8, 8, 3),
            (6.0,),
            True,
        ]
    )
    text = repr(changed)
    return (
        source.choice([text, text, text.replace("'", ""), text[:-3], "(" * 300 + text, "__import__('os').mkdir('pwned')"])
        + "\n"
    )


def bad_archives(source, count):
    for number in range(count):
        arrays = {"arr_0": PICTURES, "arr_1": LABELS}
        name = source.choice(sorted(arrays))
        kind = number % 4
        if kind == 0:
            yield damaged(archive(arrays, number % 8 > 3), source)
        elif kind == 1:
            arrays[name] = damaged_array(arrays[name], source)
            yield archive(arrays)
        else:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as out:
                for key, array in arrays.items():
                    data = npy(array)
                    if key == name and kind == 2:
                        data = with_header(data, headers(array, source))
                    elif key == name:
                        data = damaged(data, source)
                    out.writestr(source.choice([key, f"{key}.npy", f"{key}.npy"]), data)
            yield file.getvalue()


@pytest.mark.slow
def test_archives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, source, refused = tmp_path / "x.npz", random.Random(0), 0

    def read():
        for found in open_images(str(file)).values():
            assert found.read(range(len(found))).dtype == torch.uint8
        LowResolution(str(file))

    for given in bad_archives(source, 1200):
        file.write_bytes(given)
        refused += refusal(read, given[:400]) is not None
    assert 400 < refused < 1200 and not (tmp_path / "pwned").exists()


@pytest.mark.slow
def test_arrays_that_are_no_archives(tmp_path):
    """An .npy file in place of an archive, of pictures, of a folder of pictures, or of labels."""
    source = random.Random(0)
    (tmp_path / "folder").mkdir()
    for number in range(60):
        data = npy(damaged_array(PICTURES, source) if number % 2 else PICTURES)
        data = damaged(data, source) if number % 3 else data
        for name in ("x.npy", "x.npz", "folder/x.png"):
            (tmp_path / name).write_bytes(data)
        for read in (
            lambda: open_images(str(tmp_path / "x.npy")),
            lambda: NpzImages(str(tmp_path / "x.npy")),
            lambda: NpzImages(str(tmp_path / "x.npz")),
            lambda: ImageFolder(str(tmp_path / "folder")).picture(0),
            lambda: LowResolution(str(tmp_path / "x.npy")),
        ):
            assert refusal(read, data[:400]) is not None


def safetensors_of(tensors, made, source, number):
    """A safetensors file whose tensors, header or bytes are mutated."""
    tensors = dict(tensors)
    if number % 3 == 0:
        name = source.choice(sorted(tensors))
        array = damaged_array(tensors[name].numpy(), source)
        if array.dtype.kind in "iufb" and array.dtype.isnative:
            tensors[name] = torch.from_numpy(np.ascontiguousarray(array)).contiguous()
        if number % 2:
            del tensors[source.choice(sorted(tensors))]
    if number % 3 == 1:
        text = mutated(
            {key: json.loads(value) if value[0] in "{[" else value for key, value in sorted(made.items())}, source
        )
        made = {key: value if isinstance(value, str) else json.dumps(value) for key, value in text.items()}
    data = save(tensors, made)
    return damaged(data, source) if number % 3 == 2 else data


def refusals(read, file, tensors, made):
    """The number of 600 mutations of a `.safetensors` file that reading it refuses in a sentence."""
    source, refused = random.Random(0), 0
    for number in range(600):
        data = safetensors_of(tensors, made, source, number)
        file.write_bytes(data)
        refused += refusal(read, data[:500]) is not None
    return refused


@pytest.mark.slow
def test_levels(tmp_path):
    images = labelled([4, 4])
    scores = torch.linspace(0, 1, 8)
    tensors = {"scores": scores, "levels": torch.arange(8) // 4, "thresholds": torch.tensor([0.5])}
    made = {"made": json.dumps({"source": identity(images), "num_levels": 2})}
    file = tmp_path / "levels.safetensors"

    def read():
        found = MinorityLevels(images, str(file))
        assert found.labels.shape == (len(found),) and int(found.labels.max()) < len(found.class_names)
        assert int(found.labels.min()) >= 0
        found.picture(0)

    assert 100 < refusals(read, file, tensors, made) < 600


@pytest.mark.slow
def test_features_of_a_reference(tmp_path):
    extractor = ModuleFeatures(torch.nn.Flatten(), Normalise(channels=1))
    images = labelled([4, 4])
    file = tmp_path / "features.safetensors"
    Reference(images, str(file)).features(extractor)
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    made = json.loads(data[8 : 8 + length])["__metadata__"]
    tensors = {"features": torch.zeros(8, 16, dtype=torch.float16)}

    def read():
        found, _ = Reference(images, str(file)).features(extractor)
        assert found.shape == (8, 16) and bool(torch.isfinite(found).all())

    assert 100 < refusals(read, file, tensors, made) < 600


@pytest.mark.slow
def test_files_of_fashion_mnist(tmp_path, monkeypatch):
    """The format of LeCun, gzipped or not."""
    monkeypatch.setattr("sgm_lightning.images.fashion_mnist.Download", _no_download)
    pictures = b"\0\0\x08\x03" + np.array([6, 28, 28], ">i4").tobytes() + bytes(6 * 28 * 28)
    labels = b"\0\0\x08\x01" + np.array([6], ">i4").tobytes() + bytes(range(6))
    good = {"t10k-images-idx3-ubyte": pictures, "t10k-labels-idx1-ubyte": labels}
    source, refused = random.Random(0), 0
    for number in range(400):
        bad = source.choice(sorted(good))
        for name, data in good.items():
            (tmp_path / name).unlink(missing_ok=True)
            if number % 2:
                packed = gzip.compress(damaged(data, source) if name == bad and number % 4 == 1 else data)
                given = damaged(packed, source) if name == bad and number % 4 == 3 else packed
                (tmp_path / f"{name}.gz").write_bytes(given)
            else:
                (tmp_path / name).write_bytes(damaged(data, source) if name == bad else data)

        def read():
            found = FashionMNIST("test", str(tmp_path))
            assert found.read(range(len(found))).shape[1] == 1 and len(found.labels) == len(found)

        refused += refusal(read, (number, bad)) is not None
    assert 100 < refused < 400


def _no_download(*args, **kwargs):
    raise RuntimeError("no connection")


@pytest.mark.slow
def test_cached_squares(tmp_path, monkeypatch):
    """What is damaged is decoded again."""
    from PIL import Image

    monkeypatch.setenv("SGM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"pictures/{number}.png")
    images, source = ImageFolder(str(tmp_path / "pictures")), random.Random(0)

    def read():
        squares = Squares(images, Square(8, 3))
        kept[:] = [squares.read(row, None)[0] for row in range(len(squares))]

    kept = []
    read()
    expected = np.array(kept)
    (file,) = (tmp_path / "cache/squares").iterdir()
    before = file.read_bytes()
    start = 10 + int.from_bytes(before[8:10], "little")
    header, pixels, rest = before[:start], before[start : start + PICTURES.nbytes], before[start + PICTURES.nbytes :]
    # Changed numbers are not noticed, as in any file of pictures.
    kinds = [
        lambda: damaged(header, source) + pixels + rest,
        lambda: with_header(before, headers(PICTURES, source)),
        lambda: header + pixels + damaged(rest, source),
        lambda: before[: source.randrange(len(before))],
    ]
    for number in range(200):
        given = kinds[number % 4]()
        file.write_bytes(given)
        sentence = refusal(read, given[:300])
        assert sentence is None and np.array_equal(kept, expected), given[:300]
        file.write_bytes(before)


def test_a_few_of_each_kind(tmp_path):
    """What the default suite tries of all of this."""
    file, source, refused = tmp_path / "x.npz", random.Random(2), 0
    for given in bad_archives(source, 60):
        file.write_bytes(given)
        refused += refusal(lambda: LowResolution(str(file)), given[:400]) is not None
    assert 15 < refused < 60
    file.write_bytes(npy(np.array([deep(3)], dtype=object)[:0]))
    assert refusal(lambda: NpzImages(str(file))) is not None
