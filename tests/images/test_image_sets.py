"""Sets of images to evaluate: folders, archives, and data sets by name."""

import gzip

import numpy as np
import pytest
import torch
from support.pictures import GRAY, RGB, save_images

from sgm_lightning import SGMError
from sgm_lightning.images import ArrayImages, FashionMNIST, ImageFolder, NpzImages, TorchvisionImages, open_images


def test_a_folder_of_images(tmp_path):
    save_images(tmp_path / "a", GRAY[:3])
    save_images(tmp_path / "b", GRAY[3:5])
    folder = ImageFolder(str(tmp_path))
    assert len(folder) == 5 and folder.labels.tolist() == [0, 0, 0, 1, 1]
    assert torch.equal(folder.read(range(5)), GRAY[:5])
    assert folder.pixels_sha256() == ArrayImages(GRAY[:5]).pixels_sha256() != ArrayImages(GRAY[1:6]).pixels_sha256()
    assert list(open_images(str(tmp_path / "a"))) == ["a"]


def test_bad_folders(tmp_path):
    with pytest.raises(SGMError, match="holds no images"):
        (tmp_path / "empty").mkdir()
        ImageFolder(str(tmp_path / "empty"))
    with pytest.raises(SGMError, match="There is no folder"):
        open_images(str(tmp_path / "none"))
    save_images(tmp_path / "mixed", [GRAY[0], GRAY[1, :, :20]])
    with pytest.raises(SGMError, match=r"28×20 pixels of 1 channel in .*001.png but 28×28"):
        ImageFolder(str(tmp_path / "mixed")).read([0, 1])
    (tmp_path / "mixed" / "002.png").write_bytes(b"no image")
    with pytest.raises(SGMError, match=r"002.png cannot be read as an image"):
        ImageFolder(str(tmp_path / "mixed")).read([2])


def test_archives(tmp_path):
    np.savez(tmp_path / "a.npz", arr_0=GRAY.permute(0, 2, 3, 1).numpy(), arr_1=np.arange(12))
    images = NpzImages(str(tmp_path / "a.npz"), limit=7)
    assert torch.equal(images.read([6, 0]), GRAY[[6, 0]]) and images.labels.tolist() == list(range(7))
    np.savez(tmp_path / "float.npz", arr_0=GRAY.float().numpy())
    with pytest.raises(SGMError, match="must be uint8 images"):
        NpzImages(str(tmp_path / "float.npz"))
    with pytest.raises(SGMError, match="There are no samples at"):
        NpzImages(str(tmp_path / "none.npz"))


def test_fashion_mnist_files(tmp_path):
    """The idx format, gzipped or not; halves are the even and the odd images."""
    pixels = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28)
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(header + pixels.tobytes())
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4, 5, 6, 7, 8]))
    a, b = FashionMNIST("half_a", str(tmp_path)), FashionMNIST("half_b", str(tmp_path))
    assert a.labels.tolist() == [5, 7] and b.labels.tolist() == [6, 8]
    assert np.array_equal(b.images[1, 0].numpy(), pixels[3])


def test_torchvision_data(tmp_path):
    save_images(tmp_path / "tree" / "a", [RGB[0], RGB[1, :, :20]])
    images = TorchvisionImages("ImageFolder", str(tmp_path / "tree"), size=16)
    assert images.read([0, 1]).shape == (2, 3, 16, 16) and len(images) == 2
    with pytest.raises(SGMError, match=r"must have one size, got .*; set `size`"):
        TorchvisionImages("ImageFolder", str(tmp_path / "tree")).read([0, 1])
    with pytest.raises(SGMError, match="no class Nothing"):
        TorchvisionImages("Nothing", str(tmp_path))
    with pytest.raises(SGMError, match=r"cannot be read in .*download: true"):
        TorchvisionImages("CIFAR10", str(tmp_path))
