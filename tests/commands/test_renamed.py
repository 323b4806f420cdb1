"""Names of before are told, wherever they are said."""

import pytest
import yaml
from support.paths import ROOT
from support.runs import settings

from sgm_lightning import SGMError
from sgm_lightning.cli import main
from sgm_lightning.commands import renamed
from sgm_lightning.commands.parsing import command_line
from sgm_lightning.files.locate import shipped_configs

# Names of before.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sgm_lightning.data.SampleIndices", "sgm_lightning.predict.SampleIndices"),
        ("sgm_lightning.data.FolderData", "sgm_lightning.fit.FolderData"),
        ("sgm_lightning.callbacks.Evaluate", "sgm_lightning.predict.Evaluate"),
        ("sgm_lightning.guidance.Lp", "sgm_lightning.scores.Lp"),
        ("sgm_lightning.guidance.distances.Lp", "sgm_lightning.scores.Lp"),
        ("sgm_lightning.sources.MinorityLevels", "sgm_lightning.images.MinorityLevels"),
        ("sgm_lightning.training.LossSecondMoment", "sgm_lightning.fit.LossSecondMoment"),
        ("sgm_lightning.modules.SamplingModule", "sgm_lightning.predict.SamplingModule"),
    ],
)
def test_an_old_class_is_told(tmp_path, capsys, old, new):
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(settings(model__guidance__init_args__score={"distance": {"class_path": old}})))
    assert main(["predict", "--config", str(file), "--run_dir", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == f"error: {old} is now {new}; change it in {file}.\n"
    assert main(["predict", "--config", "fashion_mnist", "--model.guidance.distance", old]) == 1
    assert capsys.readouterr().err == f"error: {old} is now {new}; change it in the command line.\n"


def test_new_classes_are_there():
    from importlib import import_module

    for old, new in renamed.CLASSES.items():
        module, _, name = new.rpartition(".")
        assert hasattr(import_module(module), name), new
        with pytest.raises((ImportError, AttributeError)):
            getattr(import_module(old.rpartition(".")[0]), old.rpartition(".")[2])


@pytest.mark.parametrize("old", sorted(renamed.CONFIGS))
def test_an_old_config_is_told(away, capsys, old):
    new = renamed.CONFIGS[old]
    assert new in shipped_configs()
    assert main([new.partition("/")[0], "--config", f"{ROOT}/configs/{old}.yaml"]) == 2
    assert f"is now configs/{new}.yaml; give `--config {new}`." in capsys.readouterr().err


def refused(command, *configs, typed=()):
    with (
        pytest.raises(SGMError) as error,
        command_line([command, *(f"--config={yaml.safe_dump(c)}" for c in configs), *typed]),
    ):
        pass
    return str(error.value)


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setitem(renamed.ARGUMENTS, ("SelfGuidance", "old_rate"), "is now `rate`")
    monkeypatch.setitem(renamed.KEYS, ("predict", "model.old_draws"), "is now `model.new_draws`")


SELF = "sgm_lightning.guidance.SelfGuidance"


def test_an_old_argument_is_told_wherever_it_is_said(rows):
    told = "SelfGuidance's `old_rate` is now `rate`; change it in "
    named = {"model": {"guidance": {"class_path": SELF}}}
    old = {"model": {"guidance": {"class_path": SELF, "init_args": {"old_rate": 1}}}}
    assert told in refused("predict", old)
    assert told in refused("predict", {"model": {"guidance": {"init_args": {"old_rate": 1}}}}, {}, named, old)
    assert told in refused("predict", named, {"model": {"guidance": {"init_args": {"old_rate": 1}}}})
    assert told in refused("predict", named, typed=["--model.guidance.init_args.old_rate", "1"])
    assert told in refused("predict", named, typed=["--model.guidance.old_rate=1"])
    assert told in refused("predict", typed=["--model.guidance", "SelfGuidance", "--model.guidance.old_rate=1"])
    assert told in refused("predict", old, {"model": {"guidance": {"class_path": "ELBOGuidance"}}})  # parsed as well
    assert told in refused("compare", {"base": {}, "settings": {"a": old}})
    assert told in refused("compare", {"base": old, "settings": [{"name": "a"}]})
    other = {"model": {"guidance": {"class_path": "elsewhere.SelfGuidance", "init_args": {"old_rate": 1}}}}
    with command_line(["predict", f"--config={yaml.safe_dump(other)}"]):
        pass


def test_an_old_key_is_told(rows):
    told = "`model.old_draws` of predict is now `model.new_draws`; change it in "
    assert told in refused("predict", {"model": {"old_draws": 1}})
    assert told in refused("estimate", {"model": {"old_draws": 1}})
    assert told + "the command line." in refused("predict", typed=["--model.old_draws", "2"])
    assert told in refused("compare", {"base": {"model": {"old_draws": 1}}})
    with command_line(["fit", "--config={model: {old_draws: 1}}"]):
        pass


@pytest.mark.parametrize("command", ["predict", "fit", "fit_classifier", "test", "estimate"])
def test_no_option_is_offered_that_has_no_effect(command, capsys):
    """Lightning's command line adds an optimizer and a schedule of its own; ours are arguments of the model."""
    with pytest.raises(SystemExit):
        main([command, "--help.all"])
    text = capsys.readouterr().out
    assert "--trainer.max_steps" in text and "--optimizer" not in text and "--lr_scheduler" not in text
