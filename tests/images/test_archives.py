"""Archives as other programs leave them."""

import io
import zipfile

import numpy as np
import pytest
import torch

from sgm_lightning.errors import SGMError
from sgm_lightning.files.weights import load_finite
from sgm_lightning.images import NpzImages

PICTURES = np.zeros((6, 4, 4, 3), np.uint8)
LABELS = np.arange(6) % 3


def images(path, **arrays):
    np.savez(path, **{"arr_0": PICTURES, **arrays})
    return NpzImages(str(path))


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype(float), LABELS.astype(np.uint8)])
def test_labels_in_every_form_that_means_them(tmp_path, labels):
    assert images(tmp_path / "x.npz", arr_1=labels).labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "labels",
    [
        LABELS[:4],
        np.tile(LABELS, 2),
        LABELS[None],
        np.array(list("abcabc")),
        LABELS + 0.7,
        np.where(LABELS == 0, np.nan, LABELS),
        LABELS - 1,
        LABELS + 10**12,
        LABELS + 0j,
        np.array(3),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, labels):
    with pytest.raises(SGMError, match="arr_1 of"):
        images(tmp_path / "x.npz", arr_1=labels)


@pytest.mark.parametrize("pictures", [PICTURES[0], PICTURES[None], PICTURES.astype(np.float32), PICTURES[:0], np.array("x")])
def test_arrays_that_are_no_pictures_are_refused(tmp_path, pictures):
    with pytest.raises(SGMError, match="uint8 images of shape"):
        images(tmp_path / "x.npz", arr_0=pictures)


def test_sizes_that_lie_are_refused_before_anything_is_allocated(tmp_path):
    header = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 1, 1, 1)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("arr_0.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(SGMError, match=r"said to have the shape \(1000000000000, 1, 1, 1\)"):
        NpzImages(str(tmp_path / "x.npz"))


def test_bombs_are_refused(tmp_path):
    header = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (2**29, 1, 1, 1)}
    np.lib.format.write_array_header_1_0(header, claim)
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("arr_0.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(2**9):
            member.write(bytes(2**20))
    with pytest.raises(SGMError, match="as no pictures do"):
        NpzImages(str(tmp_path / "x.npz"))


def test_mutated_archives_are_one_sentence(tmp_path):
    random = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "good.npz", arr_0=random.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8), arr_1=LABELS[:3])
    good = (tmp_path / "good.npz").read_bytes()
    broken = 0
    for number in range(300):
        data = bytearray(good)
        for _ in range(int(random.integers(1, 8))):
            place = int(random.integers(len(data))) if number % 2 else len(data) - 1 - int(random.integers(200))
            data[place] = int(random.integers(256))
        (tmp_path / "x.npz").write_bytes(bytes(data[: len(data) if number % 3 else int(random.integers(len(data)))]))
        try:
            NpzImages(str(tmp_path / "x.npz"))
        except SGMError as error:
            broken += 1
            assert "x.npz" in str(error) and "\n" not in str(error)
    assert broken > 100


# Weights


def test_weights_whose_sizes_lie_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").stat().st_size < 3000
    with pytest.raises(SGMError, match=r"a of .* has the shape \(1000000000000,\) but not as many numbers"):
        load_finite(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, dtype=torch.uint8),
        torch.zeros(3).char(),
    ],
)
def test_weights_of_other_kinds_are_refused(tmp_path, tensor):
    torch.save({"a": tensor}, tmp_path / "x.pt")
    with pytest.raises(SGMError, match=r"a of .* must be floating-point numbers"):
        load_finite(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_mutated_weights_are_one_sentence(tmp_path, name):
    from safetensors.torch import save_file

    weights, random = {"a.b": torch.randn(4, 4), "c": torch.randn(7)}, np.random.default_rng(0)
    save_file(weights, tmp_path / "good") if "safe" in name else torch.save(weights, tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    broken = 0
    for number in range(300):
        data = bytearray(good)
        for _ in range(int(random.integers(1, 8))):
            data[int(random.integers(len(data) if number % 2 else 120))] = int(random.integers(256))
        (tmp_path / name).write_bytes(bytes(data[: len(data) if number % 3 else int(random.integers(len(data)))]))
        try:
            load_finite(tmp_path / name)
        except SGMError as error:
            broken += 1
            assert name in str(error) and "\n" not in str(error)
    assert broken > 100
