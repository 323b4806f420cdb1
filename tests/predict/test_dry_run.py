"""What does not go together is refused before a run exists, so that the corrected command can have its folder."""

import pytest
from support.classifiers import FLAGS
from support.configs import of
from support.networks import small_model
from support.runs import predict, settings

from sgm_lightning import DiffusersCheckpoint, SGMError, save_diffusers
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier
from sgm_lightning.guidance import ClassifierGuidance, Together, Window
from sgm_lightning.predict.check import check_method
from sgm_lightning.samplers import CADS, DDIM, BestOf, BoostAndSkip


def classifier(**flags):
    return of("NewClassifier", flags={**FLAGS, **flags})


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"sampler": of("CADS")}, "unconditional"),
        ({"sampler": of("BoostAndSkip", skip_steps=1, sampler=of("ClassifierFreeGuidance"))}, "label dropout"),
        ({"sampler": of("BestOf", num_candidates=2), "guidance": of("ParticleGuidance")}, "couples"),
        ({"guidance": of("ClassifierGuidance", classifier=classifier(image_size=32), label=1)}, "model's images"),
        ({"guidance": of("ClassifierGuidance", classifier=classifier(), label="condition")}, "class-conditional"),
    ],
)
def test_nothing_is_left_in_the_folder(tmp_path, capsys, model, told):
    config = settings()
    config["model"] |= {"guidance": None, **model}
    config["data"]["init_args"]["chunk_size"] = 3  # enough for what couples a chunk's samples
    assert predict(tmp_path, "run", config) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run/manifest.json").exists() and not (tmp_path / "run/config.yaml").exists()


@pytest.fixture(scope="module")
def denoiser():
    return DiffusersCheckpoint(small_model()).load().denoiser(4)


def test_a_classifier_of_another_chain_is_refused_early(denoiser):
    classifier = NewClassifier(ClassifierFlags(**FLAGS)).load()
    classifier.chain = ("linear", 1000)
    with pytest.raises(SGMError, match="trained on the model's chain"):
        check_method(denoiser, BestOf(2), ClassifierGuidance(classifier, 1, window=Window(interval=4)))
    classifier.chain = ("cosine", 1000)
    check_method(denoiser, BestOf(2), ClassifierGuidance(classifier, 1, window=Window(interval=4)))


def test_a_guidance_that_acts_late_is_tried_early(denoiser):
    """Inside windows and sums, and where the first step is not guided."""
    classifier = NewClassifier(ClassifierFlags(**{**FLAGS, "image_size": 32}))
    late = Together([ClassifierGuidance(classifier, 1, window=Window(stop=0.3))])
    assert late.acts(0, 4) and not late.acts(3, 4)
    with pytest.raises(SGMError, match="model's images"):
        check_method(denoiser, DDIM(), late)


def test_the_network_is_not_called(denoiser, monkeypatch):
    monkeypatch.setattr(denoiser.network, "forward", lambda *_, **__: pytest.fail("called"))
    right = ClassifierGuidance(NewClassifier(ClassifierFlags(**FLAGS)), 1)
    check_method(denoiser, BestOf(2, sampler=BoostAndSkip(skip_steps=1)), right)
    with pytest.raises(SGMError, match="unconditional"):
        check_method(denoiser, BestOf(2, sampler=CADS()))


def test_inference_mode_is_told_of_every_guidance_that_differentiates(tmp_path, capsys):
    free = of("SelfGuidance", gradient="jacobian_free")
    for name, guidance in (("free", free), ("classifier", of("ClassifierGuidance", classifier=classifier(), label=1))):
        assert predict(tmp_path, name, settings(model__guidance=guidance, trainer__inference_mode=True)) == 1
        assert "inference_mode: false" in capsys.readouterr().err
        assert not (tmp_path / name / "manifest.json").exists()


def test_a_conditional_model_takes_what_an_unconditional_one_refuses(tmp_path, golden_backbone):
    backbone = golden_backbone("adm_classcond", {"steps": 1000, "noise_schedule": "cosine"})
    save_diffusers(backbone, tmp_path / "model")
    config = settings(model__backbone__init_args__path=str(tmp_path / "model"), model__guidance=None)
    config["model"]["sampler"] = of("CADS")
    assert predict(tmp_path, "run", config) == 0
