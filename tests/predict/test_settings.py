"""What of a configuration determines the samples: files by their bytes, wherever they are."""

import shutil

import torch
from safetensors.torch import save_file
from support.classifiers import FLAGS
from support.configs import of
from support.runs import predict, settings

from sgm_lightning.classifiers import ClassifierFlags, NewClassifier, save_classifier
from sgm_lightning.files.locate import looking_beside
from sgm_lightning.predict.settings import sample_settings


def test_files_beside_the_network_count_by_their_bytes(tmp_path, capsys):
    """A guidance's own file, changed in place, is another run; the same bytes elsewhere are the same run."""
    save_classifier(NewClassifier(ClassifierFlags(**FLAGS)).load(), tmp_path / "classifier.safetensors")
    means = torch.eye(3, 32)
    save_file({"means": means}, tmp_path / "means.safetensors")

    def draw(file):
        guidance = of(
            "LowDensityGuidance",
            classifier=of("TrainedClassifier", path=str(tmp_path / "classifier.safetensors")),
            means=str(tmp_path / file),
            label=1,
        )
        return predict(tmp_path, "run", settings(model__guidance=guidance, data__init_args__num_samples=2))

    assert draw("means.safetensors") == 0
    (tmp_path / "means.safetensors").rename(tmp_path / "moved.safetensors")
    assert draw("moved.safetensors") == 0
    save_file({"means": -means}, tmp_path / "moved.safetensors")
    assert draw("moved.safetensors") == 1
    assert "guidance.init_args.means" in capsys.readouterr().err


def test_what_names_no_file_counts_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.safetensors").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)

    def found(value):
        model = {"backbone": {}, "guidance": {"class_path": "x.Y", "init_args": {"value": value}}}
        config = {"model": model, "data": {}, "trainer": {"precision": None}}
        return sample_settings(config)["guidance"]["init_args"]["value"]

    for value in ("variance", "", ".", "..", "/", "a\0b", "x" * 5000, 3, None, ["condition"]):
        assert found(value) == value
    first = found("weights")
    (tmp_path / "weights/model.safetensors").write_bytes(b"2")
    assert first.startswith("file, sha256 ") and found("weights") != first


def test_the_manifest_does_not_depend_on_where_a_file_is(tmp_path, away):
    save_file({"a": torch.zeros(3)}, tmp_path / "means.safetensors")
    plain = settings(model__guidance={"class_path": "LowDensityGuidance", "init_args": {"means": "means.safetensors"}})
    plain["trainer"]["precision"] = None
    nowhere = sample_settings(plain)["guidance"]["init_args"]["means"]
    assert nowhere == "means.safetensors"
    with looking_beside([tmp_path / "a.yaml"]):
        beside = sample_settings(plain)
    shutil.copy(tmp_path / "means.safetensors", away)
    assert sample_settings(plain) == beside and beside["guidance"]["init_args"]["means"] != nowhere
