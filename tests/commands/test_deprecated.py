"""No call of ours is one that the parser's library has deprecated; those of LightningCLI are not ours."""

import sys
import traceback

import jsonargparse
import pytest
from support.runs import SHORT, predict, settings
from support.trainings import QUICK, fit
from support.trainings import settings as training

from sgm_lightning.cli import main


@pytest.fixture
def calls(monkeypatch):
    """The files that call what is deprecated."""
    found = []

    def record(component, *_, **__):
        outside = [frame for frame in traceback.extract_stack() if "jsonargparse" not in frame.filename]
        found.append((outside[-2].filename, str(component)))  # the last one is this function

    for name, module in list(sys.modules.items()):
        if name.startswith("jsonargparse") and hasattr(module, "deprecation_warning"):
            monkeypatch.setattr(module, "deprecation_warning", record)
    return found


def ours(calls):
    return [call for call in calls if "sgm_lightning" in call[0].split("site-packages")[-1]]


def test_the_recorder_sees_a_deprecated_call(calls):
    jsonargparse.ArgumentParser().dump(jsonargparse.Namespace(), skip_none=False)
    assert calls and not ours(calls)


def test_predict(tmp_path, calls):
    assert predict(tmp_path, "run", settings(), *SHORT) == 0 and not ours(calls)


@pytest.mark.slow
def test_other_commands(tmp_path, calls):
    images = tmp_path / "images"
    images.mkdir()
    from PIL import Image

    for i in range(8):
        Image.new("L", (8, 8), 20 * i).save(images / f"{i}.png")
    assert fit(tmp_path, training(images, **QUICK, trainer__max_steps=1)) == 0
    assert main(["estimate", "--config", "fashion_mnist"]) == 0
    assert predict(tmp_path, "drawn") == 0
    assert main(["show", str(tmp_path / "drawn")]) == 0
    assert main(["configs", "fashion_mnist", "--show"]) == 0
    for command in ("test", "score", "convert", "compare", "fit_classifier"):
        name = "class_classifier" if command == "fit_classifier" else "fashion_mnist"
        output = ["--output", "x"] if command not in ("test", "fit_classifier") else []
        with pytest.raises(SystemExit):
            main([command, "--config", name, *output, "--print_config"])
    assert not ours(calls)
