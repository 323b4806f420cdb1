"""What the command line says of what it does not take: one sentence with the place, the nearest name, and the remedy."""

import re

import pytest

from sgm_lightning import errors
from sgm_lightning.cli import COMMANDS, Command, main
from sgm_lightning.version import __version__


# Every kind is among the default tests; its siblings are among the slow ones.
def and_slow(cases, few):
    return [*cases[:few], *(pytest.param(*case, marks=pytest.mark.slow) for case in cases[few:])]


DEMO = ["predict", "--config", "fashion_mnist"]


def said(capsys, args, status=2):
    assert main(args) == status
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1 and len(error) < 600
    return error


@pytest.mark.parametrize(
    ("args", "says"),
    and_slow(
        [
            (["predict", "--modle.spacing", "5"], "`sgm-lightning predict` takes no option `--modle.spacing`"),
            (["predict", "--modle.spacing", "5"], "(did you mean `--model.spacing`?); see `sgm-lightning predict --help`."),
            (
                [*DEMO, "--model.guidance.scal", "3"],
                "SelfGuidance of model.guidance takes no option `scal` (did you mean `scale`?)",
            ),
            (
                [*DEMO, "--model.guidance.zzz", "3"],
                "; it takes gradient, normalize, rate, scale, score, weighting, window; see",
            ),
            ([*DEMO, "--data.num_samples", "x"], "data.num_samples must be a whole number, got x; see"),
            ([*DEMO, "--model.guidance", "SelfGuidence"], "takes no class `SelfGuidence` (did you mean `SelfGuidance`?)"),
            (
                ["predict", "--model.backbone", "DiffusersCheckpoint"],
                "DiffusersCheckpoint of model.backbone needs path; see",
            ),
            (["predict"], "needs model.backbone, data; give them, or a configuration"),
            (
                ["fit", "--config", "finetune_folder", "--model.lr_schedule", "x"],
                "must be one of constant, cosine, linear, got x",
            ),
            (["fit_classifier", "--modl.x", "3"], "`sgm-lightning fit_classifier` takes no option `--modl.x`"),
            (["score", "--outptu", "x"], "(did you mean `--output`?); see `sgm-lightning score --help`."),
            (["convert", "--backbone", "DiffuserCheckpoint"], "(did you mean `DiffusersCheckpoint`?)"),
            (["predcit"], "got predcit (did you mean `predict`?); see --help."),
        ],
        6,
    ),
)
def test_on_the_command_line(capsys, args, says):
    assert says in said(capsys, args)


@pytest.mark.parametrize(
    ("text", "says"),
    and_slow(
        [
            ("modle: 3\n", "takes no option `modle` (FILE, line 1) (did you mean `model`?)"),
            ("model:\n  spaceing: 3\n", "takes no option `model.spaceing` (FILE, line 2) (did you mean `model.spacing`?)"),
            (
                "model:\n  guidance:\n    class_path: SelfGuidance\n    init_args:\n      window: {intervall: 1}\n",
                "Window of model.guidance.window takes no option `intervall` (FILE, line 5) (did you mean `interval`?)",
            ),
            ("model:\n  guidance:\n    class_path: SelfGuidence\n", "takes no class `SelfGuidence` (FILE, line 3)"),
            ("model: [\n", "FILE must be YAML (while parsing a flow node"),
        ],
        3,
    ),
)
def test_in_a_file(tmp_path, capsys, text, says):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert says.replace("FILE", str(file)) in said(capsys, ["predict", "--config", str(file)])


@pytest.mark.parametrize(
    ("args", "says"),
    and_slow(
        [
            (["--trainer.devices", "foo"], "Lightning does not take a value of `trainer`"),
            (["--trainer.devices", "-3"], "Lightning does not take a value of `trainer`"),
            (["--trainer.accelerator", "gpu"], "Lightning does not take a value of `trainer` (No supported gpu backend"),
            (["--trainer.accelerator", "mps"], "Lightning does not take a value of `trainer`"),
            (["--trainer.strategy", "nothing"], "Lightning does not take a value of `trainer`"),
            (["--trainer.strategy", "ddp_spawn"], "got trainer.strategy: ddp_spawn"),
            (["--trainer.barebones", "true"], "got trainer.barebones: true"),
            (["--trainer.max_time", "foo"], "is not a valid duration"),
        ],
        4,
    ),
)
def test_settings_that_lightning_refuses(tmp_path, capsys, args, says):
    if args[1] in ("gpu", "mps"):
        import torch

        if torch.cuda.is_available() or torch.backends.mps.is_available():
            pytest.skip("this machine has one")
    assert says in said(capsys, [*DEMO, "--run_dir", str(tmp_path / "run"), *args], 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["banana", "cuda", "cuda:99"])
def test_devices_that_are_not_here(tmp_path, capsys, device):
    output = ["--output", str(tmp_path / "x.safetensors"), "--device", device]
    assert f"device must be one that torch has here, got {device}" in said(
        capsys, ["score", "--config", "fashion_mnist", *output], 1
    )


@pytest.mark.parametrize(
    "path",
    ["./nowhere", "checkpoints/nowhere"]
    + [pytest.param(path, marks=pytest.mark.slow) for path in ("/nowhere/x", "~/nowhere", "a/b/c")],
)
def test_a_path_is_not_looked_for_on_the_hub(tmp_path, capsys, monkeypatch, path):
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sgm_lightning.backbones.hub.hub_file", lambda *_: pytest.fail("the hub was asked"))
    assert f"There is no folder {path}; check" in said(capsys, [*DEMO, "--model.backbone.path", path], 1)


def test_the_hub_is_asked_once_and_the_cache_has_the_last_word(tmp_path, capsys, monkeypatch):
    asked = []

    def refuse(url, **_):
        asked.append(url)
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
    monkeypatch.setattr("sgm_lightning.backbones.hub_files._OFFLINE", {})
    error = said(capsys, [*DEMO, "--model.backbone.path", "some/model"], 1)
    assert (
        "There is no folder some/model" in error and "no route to the hub" in error and "`hf download some/model`" in error
    )
    assert len(asked) == 1


def test_a_training_is_no_folder_of_diffusers(tmp_path, capsys):
    (tmp_path / "last.ckpt").write_bytes(b"")
    assert "give it to the class TrainedCheckpoint" in said(capsys, [*DEMO, "--model.backbone.path", str(tmp_path)], 1)


def test_an_error_that_nobody_foresaw_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(COMMANDS, "odd", Command("", "", f"{'x'}:y"))
    monkeypatch.setattr("sgm_lightning.cli._function", lambda command: lambda args: {}["no such\nkey"])
    error = said(capsys, ["odd", "--run_dir", str(tmp_path)], 1)
    file = tmp_path / re.search(r"error-\d+\.txt", error)[0]
    assert "KeyError: 'no such" in error and f"its traceback is in {file}" in error
    assert "Traceback (most recent call last)" in file.read_text() and "sgm-lightning odd --run_dir" in file.read_text()
    monkeypatch.setenv("SGM_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["odd"])
    assert errors.told(KeyError("x")) is None


def test_the_version(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"sgm-lightning {__version__}\n"
