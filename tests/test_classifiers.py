"""Classifiers of noisy images: the released networks' numbers, files, and the directions that they guide in."""

import json

import numpy as np
import pytest
import torch
from conftest import FASHION, GOLDENS
from safetensors.torch import load_file
from support.closed_forms import mixture, step_of

from sgm_lightning import DDIM, DDPM, Condition, DiffusersCheckpoint, SGMError
from sgm_lightning.backbones.adm_keys import parameter_pairs
from sgm_lightning.classifiers import (
    ADMClassifier,
    ClassifierFlags,
    EncoderClassifier,
    NewClassifier,
    NoisyClassifier,
    StackedClassifier,
    StackedNetwork,
    TrainedClassifier,
    save_classifier,
)
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.features import NoisyClassifierFeatures
from sgm_lightning.features.class_means import class_means, save_class_means
from sgm_lightning.guidance import ClassifierGuidance, LowDensityGuidance, Window
from sgm_lightning.images.base import ArrayImages

CASES = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDENS.glob("*.json"))}
CASES = {name: case for name, case in CASES.items() if isinstance(case, dict) and case.get("kind") == "classifier"}
TINY = {"image_size": 8, "in_channels": 1, "out_channels": 3, "classifier_width": 32, "classifier_depth": 1,
        "channel_mult": "1,1", "classifier_attention_resolutions": "4", "num_head_channels": 32}  # fmt: skip


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


# Guidance

# Classifiers do not look at the model's answer.
NONE = object()


class Exact(NoisyClassifier):
    """Which of the two modes of the mixture ±m, of variance v, an x_t came from: known in closed form."""

    def __init__(self, alphas_cumprod, mean=0.4, variance=0.1):
        super().__init__()
        self.alphas, self.mean, self.variance = alphas_cumprod, mean, variance
        self.num_classes, self.image_shape = 2, (1, 4, 4)

    def forward(self, x_t, train_step):
        alpha = self.alphas[train_step]
        dot = alpha.sqrt() * self.mean * x_t.flatten(1).sum(1) / (alpha * self.variance + 1 - alpha)
        return torch.stack([-dot, dot], 1)

    def features(self, x_t, train_step):
        return x_t.flatten(1)

    def describe(self):
        return {}


def exact(denoiser):
    return Exact(denoiser.network.alphas_cumprod)


def test_the_direction_is_the_gradient_in_closed_form():
    denoiser = mixture(20)
    guidance, x_t = ClassifierGuidance(exact(denoiser), 1, 2.5), SampleNoise(0, range(4), (1, 4, 4)).start()
    for index in (0, 7, 19):
        alpha = denoiser.process.alphas_cumprod[index].double()
        c = alpha.sqrt() * 0.4 / (alpha * 0.1 + 1 - alpha)
        # ∇ log σ(2 c Σ x) = 2 c (1 − σ(2 c Σ x)) in every pixel
        expected = 2.5 * 2 * c * (1 - torch.sigmoid(2 * c * x_t.double().sum((1, 2, 3), keepdim=True))).expand(-1, 1, 4, 4)
        found = guidance(step_of(denoiser, index, x_t))
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-6)
        assert not found.requires_grad


def test_the_exact_classifier_makes_the_conditional_model():
    """∇ log p(x_t) + ∇ log p(mode | x_t) = ∇ log p(x_t | mode): along the deterministic chain, sample by sample."""
    denoiser, noise = mixture(50), SampleNoise(0, range(64), (1, 4, 4))
    x = DDIM(clip=False)(denoiser, noise, ClassifierGuidance(exact(denoiser), 1, 1.0))
    state = SampleNoise(0, range(64), (1, 4, 4)).start()
    alphas = [*denoiser.process.alphas_cumprod.double(), 1.0]
    state = state.double()
    for index in range(49, -1, -1):  # the mode's own chain: eps is known
        alpha, previous = alphas[index], torch.tensor(1.0).double() if index == 0 else alphas[index - 1]
        eps = (1 - alpha).sqrt() * (state - alpha.sqrt() * 0.4) / (alpha * 0.1 + 1 - alpha)
        state = previous.sqrt() * (state - (1 - alpha).sqrt() * eps) / alpha.sqrt() + (1 - previous).sqrt() * eps
    torch.testing.assert_close(x, state.float(), rtol=1e-3, atol=1e-3)


def test_ancestral_sampling_draws_the_mode():
    denoiser = mixture(100, "fixed_large")
    for label, sign in ((0, -1), (1, 1)):
        noise = SampleNoise(1, range(100), (1, 4, 4))
        x = DDPM(clip=False)(denoiser, noise, ClassifierGuidance(exact(denoiser), label, 1.0))
        assert float(x.mean()) == pytest.approx(sign * 0.4, abs=0.03)  # standard error 0.008, and the chain's own
        assert float(x.var()) == pytest.approx(0.1, rel=0.1)


def test_scale_zero_and_the_window_change_nothing_elsewhere():
    denoiser = mixture(20)

    def drawn(guidance):
        return DDPM()(denoiser, SampleNoise(0, range(4), (1, 4, 4)), guidance)

    assert torch.equal(drawn(ClassifierGuidance(exact(denoiser), 1, 0.0)), drawn(None))
    never = ClassifierGuidance(exact(denoiser), 1, window=Window(start=0.99))
    assert torch.equal(drawn(never), drawn(None))


def test_own_classes_of_the_samples():
    denoiser = DiffusersCheckpoint(f"{FASHION}_classes").load().denoiser(4)
    classifier = NewClassifier(ClassifierFlags(**{**TINY, "image_size": 28, "out_channels": 10})).load()
    x_t, condition = SampleNoise(0, range(2), denoiser.image_shape).start(), Condition(torch.tensor([3, 7]))
    found = ClassifierGuidance(classifier, "condition")(step_of(denoiser, 2, x_t, condition=condition, denoised=NONE))
    for row, label in enumerate((3, 7)):
        alone = ClassifierGuidance(classifier, label)(step_of(denoiser, 2, x_t, condition=condition, denoised=NONE))
        torch.testing.assert_close(found[row], alone[row])
    with pytest.raises(SGMError, match="class-conditional"):
        ClassifierGuidance(classifier, "condition")(step_of(denoiser, 2, x_t, denoised=NONE))
    with pytest.raises(SGMError, match=r"\[0, 10\)"):
        ClassifierGuidance(classifier, 10)
    with torch.inference_mode(), pytest.raises(SGMError, match="inference_mode"):
        ClassifierGuidance(classifier, 1)(step_of(denoiser, 2, x_t, condition=condition, denoised=NONE))


def test_a_classifier_of_another_chain_or_size_is_refused(tmp_path):
    """By `check`, which every chain calls before its first step."""
    denoiser, noise = mixture(20), SampleNoise(0, range(2), (1, 4, 4))
    classifier = exact(denoiser)
    classifier.chain = ("cosine", 1000)
    DDPM().start(denoiser, noise, None, ClassifierGuidance(classifier, 1))
    for chain in (("linear", 1000), ("cosine", 500)):
        classifier.chain = chain
        with pytest.raises(SGMError, match="chain"):
            DDPM().start(denoiser, noise, None, ClassifierGuidance(classifier, 1))
    other = NewClassifier(ClassifierFlags(**TINY)).load()
    with pytest.raises(SGMError, match=r"\(1, 8, 8\)"):
        DDPM().start(denoiser, noise, None, ClassifierGuidance(other, 1))
    other.chain = ("cosine", 1000)
    save_classifier(other, tmp_path / "classifier.safetensors")
    assert TrainedClassifier(str(tmp_path)).load().chain == ("cosine", 1000)


# Low-density sampling


def test_low_density_guidance_follows_its_two_terms():
    """Against the definition in float64, differentiated by finite differences."""
    denoiser, index = mixture(20), 6
    means = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    x_t, labels = SampleNoise(0, range(2), (1, 4, 4)).start(), torch.tensor([2, 0])
    guidance = LowDensityGuidance(exact(denoiser), means, 0.7, exact(denoiser), 0.3, tau=4.0, normalize=False)
    found = guidance(step_of(denoiser, index, x_t, condition=Condition(labels), denoised=NONE))
    alpha = denoiser.process.alphas_cumprod[index].double()
    c = alpha.sqrt() * 0.4 / (alpha * 0.1 + 1 - alpha)

    def value(x):
        cosines = (x @ means.double().T) / (x.norm() * means.double().norm(dim=1))
        hard = -(4.0 * cosines).log_softmax(0)
        return 0.7 * hard, 0.3 * torch.nn.functional.logsigmoid(2 * c * x.sum())

    for row in range(2):
        x, gradient = x_t[row].double().flatten(), torch.zeros(16).double()
        for i in range(16):
            delta = torch.zeros(16).double()
            delta[i] = 1e-6
            up, down = value(x + delta), value(x - delta)
            gradient[i] = (up[0][labels[row]] + up[1] - down[0][labels[row]] - down[1]) / 2e-6
        torch.testing.assert_close(found[row].flatten(), gradient.float(), rtol=1e-3, atol=1e-5)
    unit = LowDensityGuidance(exact(denoiser), means, 0.7)(
        step_of(denoiser, index, x_t, condition=Condition(labels), denoised=NONE)
    )
    torch.testing.assert_close(unit.abs().amax((1, 2, 3)), torch.full((2,), 0.7))


def test_low_density_sampling_leaves_the_class_mean(tmp_path):
    """Two modes as two classes: ascent on the hardness of class 1 lowers the cosine with its mean."""
    denoiser = mixture(20)
    images = torch.cat([torch.full((4, 1, 4, 4), 76), torch.full((4, 1, 4, 4), 178)]).to(torch.uint8)
    labelled = ArrayImages(images, torch.arange(8) // 4)
    extractor = NoisyClassifierFeatures(exact(denoiser))
    means = class_means(extractor, labelled, batch_size=3)
    torch.testing.assert_close(means[1], torch.full((16,), 178 / 127.5 - 1))
    save_class_means(tmp_path / "means.safetensors", labelled, extractor)

    def cosine(alpha):
        guidance = LowDensityGuidance(exact(denoiser), str(tmp_path / "means.safetensors"), alpha, label=1)
        x = DDPM()(denoiser, SampleNoise(0, range(32), (1, 4, 4)), guidance).flatten(1)
        return float((x.sum(1) / x.norm(dim=1)).mean())

    assert cosine(4.0) < cosine(0.0) - 0.1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"beta": 1.0}, "discriminator"),
        ({"tau": 0.0}, "tau"),
        ({"label": 3}, r"\[0, 3\)"),
        ({"means": torch.zeros(3)}, r"got \(3,\)"),
        ({"means": torch.ones(3, 15)}, "16 features, got 15"),
        ({"means": "nowhere.safetensors"}, "class_means"),
    ],
)
def test_what_low_density_guidance_refuses(arguments, word):
    with pytest.raises(SGMError, match=word) as error:
        LowDensityGuidance(exact(mixture(4)), **{"means": torch.ones(3, 16), **arguments})
    assert str(error.value).endswith(".")
