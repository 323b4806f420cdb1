"""Classifiers of noisy images: the released networks' numbers, and files."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.classifiers import TINY
from support.paths import GOLDENS

from sgm_lightning import SGMError
from sgm_lightning.backbones.adm_keys import parameter_pairs
from sgm_lightning.classifiers import (
    ADMClassifier,
    ClassifierFlags,
    EncoderClassifier,
    NewClassifier,
    StackedClassifier,
    StackedNetwork,
    TrainedClassifier,
    save_classifier,
)

CASES = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDENS.glob("*.json"))}
CASES = {name: case for name, case in CASES.items() if isinstance(case, dict) and case.get("kind") == "classifier"}


def adm_shapes(classifier):
    """ADM's names of a classifier's tensors, with their shapes there."""
    own, shapes = classifier.body.state_dict(), {}
    for source, targets in parameter_pairs(classifier.body):
        if all(target in own for target in targets):
            shape = [sum(own[target].shape[0] for target in targets), *own[targets[0]].shape[1:]]
            shapes[source] = shape + [1] * source.endswith((".qkv.weight", ".proj_out.weight"))
    for name, value in classifier.head.state_dict().items():
        shapes[f"out.{name}"] = list(value.shape) + [1] * ("_proj.weight" in name)
    return shapes


def random_weights(classifier, seed, expected):
    """The recipe of the golden cases' weights."""
    rng = np.random.Generator(np.random.Philox(seed))
    weights = {}
    for name, shape in sorted(adm_shapes(classifier).items()):
        scale = 0.3 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5
        weights[name] = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) * float(scale)
    assert sum(float(w.double().abs().sum()) for w in weights.values()) == pytest.approx(expected)
    return weights


def random_classifier(flags, seed, expected):
    classifier = EncoderClassifier(ClassifierFlags(**flags)).eval()
    classifier.load_adm(random_weights(classifier, seed, expected))
    return classifier


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_equal_the_released_ones(name):
    case, tensors = CASES[name], load_file(GOLDENS / f"{name}.safetensors")
    classifier = random_classifier(case["flags"], case["seed"], case["sum_abs"])
    if "head_flags" in case:
        head = random_classifier(case["head_flags"], case["head_seed"], case["head_sum_abs"])
        classifier = StackedNetwork(classifier, head)
    x = tensors["x_t"].requires_grad_()
    logits = classifier(x, tensors["train_step"])
    torch.testing.assert_close(logits, tensors["logits"], rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits.log_softmax(1).gather(1, tensors["label"][:, None]).sum(), x)
    assert float((gradient - tensors["gradient"]).abs().max() / tensors["gradient"].abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("flags", "parameters"),
    [
        ({"image_size": 64, "classifier_depth": 4}, 65_438_568),
        ({"image_size": 128}, 42_568_040),
        ({"image_size": 256}, 54_096_360),
        ({"image_size": 512}, 54_448_360),
    ],
)
def test_official_sizes(flags, parameters):
    with torch.device("meta"):
        classifier = EncoderClassifier(ClassifierFlags(**flags))
    assert sum(p.numel() for p in classifier.parameters()) == parameters
    shapes = adm_shapes(classifier)
    assert shapes["out.2.c_proj.weight"] == [1000, 512, 1]
    assert shapes["out.2.positional_embedding"] == [512, 65]
    assert classifier.image_shape == (3, flags["image_size"], flags["image_size"])


# Files


def test_an_adm_file_loads_and_wrong_flags_do_not(tmp_path):
    case = next(case for case in CASES.values() if case["flags"]["classifier_pool"] == "attention")
    classifier = EncoderClassifier(ClassifierFlags(**case["flags"])).eval()
    weights = random_weights(classifier, case["seed"], case["sum_abs"])
    classifier.load_adm(weights)
    path = tmp_path / "classifier.pt"
    torch.save(weights, path)
    found = ADMClassifier(str(path), ClassifierFlags(**case["flags"])).load().eval()
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 900])
    assert torch.equal(found(x, t), classifier(x, t))
    for change in ({"classifier_depth": 2}, {"classifier_pool": "spatial"}, {"out_channels": 6}, {"channel_mult": "1,1"}):
        with pytest.raises(SGMError, match="flags"):
            ADMClassifier(str(path), ClassifierFlags(**{**case["flags"], **change})).load()
    with pytest.raises(SGMError, match=r"https://example\.org"):
        ADMClassifier("nowhere.pt", ClassifierFlags(), url="https://example.org/it.pt")
    weights["time_embed.0.bias"][0] = float("nan")
    torch.save(weights, path)
    with pytest.raises(SGMError, match="NaN"):
        ADMClassifier(str(path), ClassifierFlags(**case["flags"])).load()


def test_a_saved_classifier_is_the_same(tmp_path):
    flags = ClassifierFlags(**TINY)
    head = ClassifierFlags(**{**TINY, "image_size": 4, "in_channels": 32, "channel_mult": "1"})
    stacked = StackedClassifier(NewClassifier(flags), NewClassifier(head, seed=1)).load().eval()
    save_classifier(stacked, tmp_path / "classifier.safetensors")
    found = TrainedClassifier(str(tmp_path)).load().eval()
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0, 999])
    assert torch.equal(found(x, t), stacked(x, t)) and found.describe() == stacked.describe()
    assert all(not p.requires_grad for p in stacked.extractor.parameters())
    assert len(stacked.trainable()) == len(list(stacked.head.parameters()))
    with pytest.raises(SGMError, match="in_channels"):
        StackedClassifier(NewClassifier(flags), NewClassifier(flags)).load()
    with pytest.raises(SGMError, match="train one"):
        TrainedClassifier(str(tmp_path / "nothing")).load()
