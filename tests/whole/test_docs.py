"""README and the guides: what they say can be typed, and what they link to is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgm_lightning.cli import COMMANDS, main, markdown_table
from sgm_lightning.commands import renamed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TYPED = [ROOT / "README.md", ROOT / "docs/index.md", *sorted((ROOT / "docs/guides").glob("*.md"))]
ELSEWHERE = ("checkpoints", "slurm", "benchmarks", "tests")  # whose pages have links, too
LINKED = [*PAGES, *(file for folder in ELSEWHERE for file in sorted((ROOT / folder).rglob("*.md")))]

DEMO = re.search(r"^demo:.*\n\t\$\(BIN\)/sgm-lightning (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
# Settings that make a command small; all else is as the page has it.
SMALL = {
    "predict": "--data.num_samples 2 --data.chunk_size 2 --model.spacing 4 --trainer.logger false --trainer.callbacks null",
    "fit": "--trainer.max_steps 2 --trainer.val_check_interval 2 --data.batch_size 2 --model.warmup_steps 0",
}
# Commands that have no small form of whole data sets and comparisons; their options are parsed, and other tests run them.
LONG = ("compare", "score", "fit_classifier", "fit_reader")

# Pages that the documentation's build makes.
GENERATED = {ROOT / "docs/reference" / name for name in ("command_line.md", "configurations.md")}


def small(args):
    """The settings that make a line small; some picture of the demo must be readable, as `show` sorts by what was read."""
    if "emoji_world" in args and args[0] == "predict":
        return ["--data.num_samples", "4", "--data.chunk_size", "4", "--trainer.logger", "false"]
    return SMALL.get(args[0], "").split()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    """The arguments of every `sgm-lightning` line of a page."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = text.replace("make demo", f"sgm-lightning {DEMO}").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("sgm-lightning ")]


def relative_links(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))
    return [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    targets = [(page.parent / link).resolve() for link in relative_links(page)]
    assert [str(target) for target in targets if not target.exists() and target not in GENERATED] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def test_the_readme_lists_the_commands():
    text = (ROOT / "README.md").read_text()
    assert text.partition("<!-- commands -->\n")[2].partition("\n<!-- end commands -->")[0] == markdown_table()


def test_coming_from_lists_every_old_name():
    text = (ROOT / "docs/guides/coming_from_0.1.md").read_text()
    old = [name.removeprefix("sgm_lightning.") for name in (*renamed.CLASSES, *renamed.CONFIGS, *renamed.REPLACED)]
    old += [argument for _, argument in (*renamed.ARGUMENTS, *renamed.KEYS)]
    assert [name for name in old if f"| `{name}` |" not in text] == []


def test_python_of_the_readme(monkeypatch):
    monkeypatch.chdir(ROOT)
    (code,) = blocks(ROOT / "README.md", "python")
    small = code.replace("spacing=100", "spacing=4").replace("range(16)", "range(2)")
    assert small.count("spacing=4") == small.count("range(2)") == 1
    names = {}
    exec(compile(small, "README.md", "exec"), names)
    assert tuple(names["images"].shape) == (2, 1, 28, 28)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with what the pages' commands name."""
    (tmp_path / "FOLDER").mkdir()
    random = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(random.integers(0, 256, (28, 28), dtype=np.uint8)).save(tmp_path / "FOLDER" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


LINES = [(page.stem, args) for page in TYPED for args in commands(page)]


def test_there_are_lines():
    assert {args[0] for _, args in LINES} >= set(COMMANDS) - {"configs"}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "args"), LINES, ids=[f"{page}-{' '.join(args)[:60]}" for page, args in LINES])
def test_lines_parse(folder, capsys, page, args):
    """Every option, class and configuration of the line exists."""
    with pytest.raises(SystemExit) as end:
        main([*args, "--print_config"])
    assert end.value.code == 0, capsys.readouterr().err


@pytest.mark.slow
def test_lines_run(folder):
    """All pages, one after the other in one folder, each command small and in a process of its own."""
    ran = set()
    for page in TYPED:
        for args in commands(page):
            if args[0] in LONG or any("celeba64" in arg for arg in args) or tuple(args) in ran:
                continue
            line = [sys.executable, "-m", "sgm_lightning", *args, *small(args)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{page.name}: {' '.join(args)}\n{done.stderr[-2000:]}"
            ran.add(tuple(args))
    assert {args[0] for args in ran} >= {"predict", "show", "fit", "test", "features", "estimate", "convert"}


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    """Strictly: a missing page, a broken link or anchor, or a name that is not there ends the build."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, check=True, cwd=ROOT)
    api = (tmp_path / "site/reference/api/samplers/index.html").read_text()
    assert "BoostAndSkip" in api and "skip_steps" in api
