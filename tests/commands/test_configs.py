"""The command line from anywhere: configurations by name, and `sgm-lightning configs`."""

import pytest
from support.paths import ROOT
from support.runs import SHORT

from sgm_lightning.cli import COMMANDS, main
from sgm_lightning.commands.configs import summary
from sgm_lightning.files.locate import shipped_configs


@pytest.mark.parametrize("option", [["--config", "fashion_mnist"], ["--config=fashion_mnist"], ["-c", "fashion_mnist"]])
@pytest.mark.parametrize("command", ["predict", "fit", "test", "convert"])
def test_every_command_takes_names(away, capsys, command, option):
    output = ["--output", "x"] if command == "convert" else []
    with pytest.raises(SystemExit) as end:
        main([command, *option, *output, "--print_config"])
    assert end.value.code == 0 and "fashion_mnist_28" in capsys.readouterr().out


def test_the_demo_from_another_folder(away):
    assert main(["predict", "--config", "fashion_mnist", "--run_dir", "run", "--trainer.callbacks", "null", *SHORT]) == 0
    assert (away / "run/samples.npz").is_file() and [path.name for path in away.iterdir()] == ["run"]


@pytest.mark.parametrize("command", ["predict", "fit", "test", "compare", "score", "features", "estimate", "convert"])
def test_an_unknown_config_is_told(away, capsys, command):
    assert main([command, "--config", "fashion"]) == 2
    error = capsys.readouterr().err.strip()
    folder = "predict" if command == "estimate" else command
    assert error.startswith("error: There is no configuration fashion: ") and "\n" not in error
    assert str(away) in error and f"{folder}/" in error and "`sgm-lightning configs`" in error


def test_yaml_itself_may_be_given(away, capsys):
    with pytest.raises(SystemExit) as end:
        main(["predict", "--config", "fashion_mnist", "--config", "{model: {score: {num_draws: 77}}}", "--print_config"])
    assert end.value.code == 0 and "num_draws: 77" in capsys.readouterr().out


# `sgm-lightning configs`.


def test_configs_lists_what_is_shipped(away, capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shipped = shipped_configs()
    groups = [line for line in lines if line and not line.startswith(" ")]
    assert groups == sorted({name.partition("/")[0] for name in shipped})
    assert set(groups) - {"evaluation", "methods", "presets"} < set(COMMANDS)
    assert len([line for line in lines if line.startswith("  ")]) == len(shipped) > 40
    assert any(line.split()[0] == "celeba64" and line.endswith("self-guided as released") for line in lines if line)


def test_every_config_begins_with_a_line_that_says_what_it_is():
    for name, file in shipped_configs().items():
        text = file.read_text()
        assert text.startswith("# ") and text.partition("\n")[0].endswith("."), name
        assert 20 < len(summary(text)) <= 115, name
        assert all(len(line) <= 125 for line in text.splitlines()), name


def test_configs_prints_paths_and_text(away, capsys):
    assert main(["configs", "predict/celeba64"]) == 0
    assert capsys.readouterr().out == f"{ROOT / 'configs/predict/celeba64.yaml'}\n"
    assert main(["configs", "celeba64"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(ROOT / f"configs/{name}/celeba64.yaml") for name in ("predict", "test")
    ]
    assert main(["configs", "best_of", "--show"]) == 0
    assert capsys.readouterr().out == (ROOT / "configs/methods/best_of.yaml").read_text()
    for wrong in (["absent"], ["a", "b"], ["--show"]):
        assert main(["configs", *wrong]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert main(["configs", "--help"]) == 0
