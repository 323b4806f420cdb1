"""Guidance by a classifier: directions in closed form, and what does not go together."""

import pytest
import torch
from support.classifiers import NONE, TINY, exact
from support.closed_forms import mixture, step_of
from support.networks import small_model

from sgm_lightning import DDIM, DDPM, Condition, DiffusersCheckpoint, SGMError
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier, TrainedClassifier, save_classifier
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.guidance import ClassifierGuidance, Window


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
    denoiser = DiffusersCheckpoint(small_model(10)).load().denoiser(4)
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
