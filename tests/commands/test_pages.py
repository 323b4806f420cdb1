"""The pages that `--help` prints: short, at once, and true of the parser."""

import contextlib
import io
import subprocess
import sys

import pytest

from sgm_lightning.cli import main
from sgm_lightning.commands.pages import PAGES, page

# Options of a class that the configuration chooses are not among those of the parser itself.
OF_A_CLASS = ("--data.", "--model.backbone.", "--model.guidance.", "--backbone.")


@pytest.mark.parametrize("command", PAGES)
def test_a_page_fits_on_a_screen(capsys, command):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out == page(command)
    lines = page(command).splitlines()
    assert len(lines) < 45 and max(map(len, lines)) <= 125


@pytest.mark.parametrize("command", [*list(PAGES)[:1], *(pytest.param(c, marks=pytest.mark.slow) for c in list(PAGES)[1:])])
def test_every_option_of_a_page_exists(command):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        main([command, "--help.all"])
    known = text.getvalue()
    for option, _ in PAGES[command].options:
        name = option.split()[0]
        assert name in known or name.startswith(OF_A_CLASS), name
    for kind in PAGES[command].kinds:
        assert f"{kind}.help" in known, kind


@pytest.mark.parametrize(
    "args",
    [
        ["predict", "--config", "fashion_mnist", "--data.num_samples", "2", "--data.seed", "1", "--data.labels", "none",
         "--model.backbone.path", "x", "--model.guidance.scale", "1"],
        ["fit", "--config", "finetune_folder", "--data.root", "x", "--data.batch_size", "2", "--model.backbone.path", "x"],
        ["fit_classifier", "--config", "minority_classifier", "--data.batch_size", "2"],
        ["test", "--config", "fashion_mnist", "--data.images", "x", "--model.backbone.path", "x"],
        ["score", "--config", "fashion_mnist", "--output", "x", "--backbone.path", "x"],
        ["convert", "--config", "fashion_mnist", "--output", "x", "--backbone.path", "x"],
    ],
    ids=["predict", "fit", "fit_classifier", "test", "score", "convert"],
)  # fmt: skip
@pytest.mark.slow
def test_options_of_a_class_go_over_the_configuration(args):
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
        main([*args, "--print_config"])
    assert end.value.code == 0


def test_help_waits_for_no_import():
    """Neither the overview nor the first page of any command."""
    code = """
import sys
from sgm_lightning.cli import COMMANDS, main
for args in (["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)):
    assert main(args) == 0, args
    heavy = {"torch", "lightning", "numpy", "diffusers", "jsonargparse", "matplotlib"} & set(sys.modules)
    assert not heavy, (args, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--model.guidance CLASS" in done.stdout and "sgm-lightning compare" in done.stdout


def test_what_imports_make_is_not_searched_for_garbage():
    code = """
import gc
import sys
from sgm_lightning import cli
sys.argv[1:] = ["configs"]
assert cli.main() == 0 and gc.get_freeze_count() > 1000 and gc.isenabled()
gc.unfreeze()
assert cli.main(["configs"]) == 0 and gc.get_freeze_count() == 0 and gc.isenabled()  # a call from Python freezes nothing
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
