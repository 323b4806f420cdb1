"""`sgm-lightning compare`, over tiny runs of the default network."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support.comparisons import FREE, command, comparison, numbers, subprocess_environment
from support.evaluations import close
from support.paths import ROOT
from support.pictures import REAL
from support.runs import times

from sgm_lightning import SGMError
from sgm_lightning.cli import main
from sgm_lightning.compare import Degraded, RareImages
from sgm_lightning.compare.settings import check_names, predict_arguments, read_base, read_settings
from sgm_lightning.images import ArrayImages
from sgm_lightning.signals import EXIT_RESUMABLE

# The last one, of the fewest settings, in every run of the tests.
*OTHERS, FEWEST = sorted((ROOT / "configs/compare").glob("*.yaml"), key=lambda file: -len(file.read_text()))
SHIPPED = [*(pytest.param(file, marks=pytest.mark.slow) for file in OTHERS), FEWEST]
compared_once = pytest.mark.xdist_group("compared")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    assert main(command(folder, comparison(folder))) == 0
    return folder


@compared_once
def test_tables_and_pictures(compared):
    output = compared / "compare"
    found = numbers(output)
    assert list(found["rows"]) == ["real", "noisy", "ancestral", "Self-guided, free"]
    assert {name: row["paired"] for name, row in found["rows"].items()} == {
        "real": False,
        "noisy": True,
        "ancestral": True,
        "Self-guided, free": True,
    }
    value = found["rows"]["Self-guided, free"]["metrics"]["one/avg_knn"]
    assert value["num_samples"] == 4 and value["k"] == 5 and value["interval"][0] <= value["value"] <= value["interval"][1]
    assert {"minority_score", "nelbo", "other/lof", "other/frechet", "one/tail_frechet"} <= set(
        found["rows"]["real"]["metrics"]
    )
    costs = {name: row["cost"] for name, row in found["rows"].items()}
    assert costs["real"] == {} and costs["ancestral"]["evaluations"] == pytest.approx(4, rel=1e-3)
    assert costs["Self-guided, free"]["forwards"] == 6 and costs["Self-guided, free"]["backwards"] == 0
    for picture in ("plot", "grid"):
        assert (output / f"{picture}.png").stat().st_size > 5000
    lines = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    line = next(x for x in lines if (x["row"], x["space"], x["metric"]) == ("Self-guided, free", "one", "avg_knn"))
    assert float(line["value"]) == value["value"] and line["k"] == "5" and line["num_samples"] == "4"
    text = (output / "table.md").read_text()
    assert "## one" in text and "## other" in text and "| Self-guided, free | 4 | 6 |" in text
    assert not list(output.rglob("*.tmp")) and not list((output / "claims").iterdir())


@compared_once
def test_differences_are_paired_and_corrected(compared):
    found = numbers(compared / "compare")["differences"]
    assert set(found) == {"noisy", "Self-guided, free"}  # real images have no seed
    columns = {}
    for name in ("ancestral", "self_guided_free"):
        with np.load(compared / "compare" / name / "measures/chunk-000000.npz") as rows:
            columns[name] = rows["minority_score"]
    difference = found["Self-guided, free"]["minority_score"]
    assert difference["value"] == pytest.approx(float((columns["self_guided_free"] - columns["ancestral"]).mean()), rel=1e-5)
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert found["noisy"]["one/avg_knn"]["p_holm"] is None  # the primary endpoint
    assert all(d["p_holm"] >= d["p"] for d in found["noisy"].values() if d["p_holm"] is not None)
    text = (compared / "compare/differences.md").read_text()
    assert "# Paired differences to ancestral" in text and "## noisy" in text


@compared_once
def test_again_nothing_is_drawn_or_measured(compared, capsys):
    output = compared / "compare"
    runs = {name: times(output / name) for name in ("ancestral", "self_guided_free", "noisy", "real")}
    before = numbers(output)
    assert main(command(compared, comparison(compared))) == 0
    assert {name: times(output / name) for name in runs} == runs
    assert "finished" in capsys.readouterr().out and numbers(output) == before


@compared_once
def test_a_changed_setting_is_refused_and_a_new_one_joins(compared, tmp_path, capsys):
    """Order and company of a setting do not matter: it is measured by the same draws."""
    output = compared / "compare"
    stronger = {**FREE, "init_args": {**FREE["init_args"], "scale": 2.0}}
    changed = comparison(compared, ancestral={}, **{"Self-guided, free": {"model": {"guidance": stronger}}})
    kept = times(output / "self_guided_free/chunks")
    assert main(command(compared, changed)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Setting Self-guided, free" in error and "guidance.init_args.scale: 1.0 → 2.0" in error
    assert times(output / "self_guided_free/chunks") == kept
    config = comparison(tmp_path)
    config["settings"] = [{"name": "DDIM", "model": {"sampler": {"class_path": "DDIM"}}}, {"name": "ancestral"}]
    assert main(command(tmp_path, config)) == 0
    close(numbers(tmp_path / "compare")["rows"]["ancestral"]["metrics"], numbers(output)["rows"]["ancestral"]["metrics"])


@compared_once
@pytest.mark.slow
def test_killed_in_the_middle(compared, tmp_path):
    """SIGKILL while the second setting is drawn; the same command ends as if nothing had been, the first one untouched.

    What the clock measures stands in a file of its own.
    """
    config = {**comparison(tmp_path), "timed_images": 1}
    line = command(tmp_path, config)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SGM_CACHE": str(tmp_path / "cache")}
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "sgm_lightning", *line], env=environment, stdout=log, stderr=log)
    chunk = tmp_path / "compare/self_guided_free/chunks/chunk-000000.npz"
    end = time.monotonic() + 150
    while not chunk.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert not (tmp_path / "compare/table.json").exists()
    kept = {**times(tmp_path / "compare/ancestral"), chunk: chunk.stat().st_mtime_ns}
    assert main(line) == 0
    for path, modified in kept.items():
        assert path.stat().st_mtime_ns == modified, path
    for name in ("ancestral", "self_guided_free"):
        drawn = (tmp_path / "compare" / name / "samples.npz").read_bytes()
        assert drawn == (compared / "compare" / name / "samples.npz").read_bytes()
    for name in ("table.csv", "table.md", "differences.md"):
        assert (tmp_path / "compare" / name).read_bytes() == (compared / "compare" / name).read_bytes()
    rows = list(csv.DictReader((tmp_path / "compare/times.csv").read_text().splitlines()))
    assert [row["row"] for row in rows] == ["ancestral", "Self-guided, free"]
    assert all(float(row["seconds_per_image"]) > 0 for row in rows)
    assert not list(tmp_path.rglob("*.tmp"))


@compared_once
@pytest.mark.slow
def test_killed_while_measuring(compared, tmp_path):
    """What is drawn and measured stays; the rest is measured as if nothing had been."""
    config, output = comparison(tmp_path), tmp_path / "compare"
    for name in ("ancestral", "self_guided_free"):
        shutil.copytree(compared / "compare" / name, output / name, ignore=shutil.ignore_patterns("measures"))
    line = command(tmp_path, config)
    environment = subprocess_environment(tmp_path)
    # Killed where the second part is about to be kept: nothing can be known of it afterwards.
    code = (
        "import os, signal, sys\n"
        "from sgm_lightning.run.sidecar import Sidecars\n"
        "real, count = Sidecars.write, []\n"
        "def write(self, number, rows):\n"
        "    count.append(number)\n"
        "    if len(count) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(self, number, rows)\n"
        "Sidecars.write = write\n"
        "from sgm_lightning.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, *line], env=environment, capture_output=True, timeout=150)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert list((output / "claims").iterdir())  # it died at work
    first = output / "ancestral/measures/chunk-000000.npz"
    assert [*output.rglob("measures/*.npz")] == [first] and not (output / "table.json").exists()
    kept = {**times(output / "ancestral"), **times(output / "self_guided_free")}
    assert main(line) == 0
    for path, modified in kept.items():
        assert path.stat().st_mtime_ns == modified, path
    assert not list((output / "claims").iterdir())
    close(numbers(output), numbers(compared / "compare"))


@compared_once
@pytest.mark.slow
def test_two_commands_share_the_work(compared, tmp_path):
    """Nothing is drawn or measured twice, and both leave what one leaves."""
    line = command(tmp_path, comparison(tmp_path))
    environment = subprocess_environment(tmp_path)
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-m", "sgm_lightning", *line], **options) for _ in range(2)]
    try:
        told = [process.communicate(timeout=300) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], told
    text = "\n".join(out for out, _ in told)
    rows = ("ancestral", "Self-guided, free", "real", "noisy")
    assert [text.count(f"Measuring {name}, images 0 ") for name in rows] == [1, 1, 1, 1]
    drawn = sum(int(number) for number in re.findall(r"This process drew (\d+) of 2 chunks", text))
    assert drawn == 4  # two chunks of two settings
    assert not list((tmp_path / "compare/claims").iterdir())
    for name in ("ancestral", "self_guided_free"):
        ours, theirs = (folder / "compare" / name / "samples.npz" for folder in (tmp_path, compared))
        assert ours.read_bytes() == theirs.read_bytes()
    close(numbers(tmp_path / "compare"), numbers(compared / "compare"))


@compared_once
@pytest.mark.slow
def test_a_signal_stops_the_whole_comparison(compared, tmp_path, monkeypatch, capsys):
    from sgm_lightning.compare.drawing import Planned

    real = Planned.draw
    monkeypatch.setattr(Planned, "draw", lambda self: (os.kill(os.getpid(), signal.SIGTERM), real(self)))
    line = command(tmp_path, comparison(tmp_path))
    assert main(line) == EXIT_RESUMABLE
    assert "interrupted (SIGTERM received)" in capsys.readouterr().err
    assert not (tmp_path / "compare/self_guided_free").exists()
    monkeypatch.undo()
    assert main(line) == 0
    close(numbers(tmp_path / "compare"), numbers(compared / "compare"))


@pytest.mark.slow
def test_a_method_from_elsewhere(tmp_path, monkeypatch):
    """A sampling method and a guidance from the user's own module, by class path: no edit here."""
    (tmp_path / "my_methods.py").write_text(
        "import torch\n"
        "from sgm_lightning.guidance import Guidance\n"
        "from sgm_lightning.samplers.wrapper import Wrapper\n"
        "class Louder(Wrapper):\n"
        "    '''Starts from more noise.'''\n"
        "    def __init__(self, factor: float = 1.5):\n"
        "        super().__init__()\n"
        "        self.factor = factor\n"
        "    def start(self, denoiser, noise, condition=None, guidance=None):\n"
        "        state = super().start(denoiser, noise, condition, guidance)\n"
        "        state.x = self.factor * state.x\n"
        "        return state\n"
        "class Brighter(Guidance):\n"
        "    def __init__(self):\n"
        "        super().__init__(weighting='constant')\n"
        "    def forward(self, step):\n"
        "        return 0.3 * torch.ones_like(step.x_t)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    brighter, louder = (
        {"class_path": "my_methods.Brighter"},
        {"class_path": "my_methods.Louder", "init_args": {"factor": 2.0}},
    )
    methods = {"ancestral": {}, "brighter": {"model": {"guidance": brighter}}, "louder": {"model": {"sampler": louder}}}
    assert main(command(tmp_path, comparison(tmp_path, 2, **methods))) == 0
    found = {name: np.load(tmp_path / "compare" / name / "samples.npz")["arr_0"].astype(float) for name in methods}
    assert found["brighter"].mean() > found["ancestral"].mean() + 5
    assert np.abs(found["louder"] - found["ancestral"]).mean() > 1
    assert {"brighter", "louder"} <= set(numbers(tmp_path / "compare")["rows"])


def test_configs_of_predict_can_be_compared(tmp_path):
    """A setting's files go over the base, the setting over them, and the seeds over all."""
    (tmp_path / "preset.yaml").write_text("model: {spacing: 3}\ndata: {class_path: SampleIndices, init_args: {seed: 9}}\n")
    base = read_base({"model": {"spacing": 4}, "data": {"init_args": {"num_samples": 4, "chunk_size": 2, "seed": 0}}}, 7)
    setting = read_settings({"A b": {"configs": [str(tmp_path / "preset.yaml")], "model": {"spacing": 2}}})[0]
    arguments = predict_arguments(base, setting, tmp_path)
    merged = {}
    for file in arguments[2:-2:2]:
        merged |= yaml.safe_load(Path(file).read_text())
    assert [os.path.basename(file) for file in arguments[2:-2:2]] == ["base.yaml", "preset.yaml", "a_b.yaml", "paired.yaml"]
    assert merged["data"]["init_args"] == {"num_samples": 7, "chunk_size": 2, "seed": 0}
    assert arguments[-1] == str(tmp_path / "a_b")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: read_settings({}), "nothing to compare"),
        (lambda: read_settings([{"model": {}}]), "needs a `name`"),
        (lambda: read_settings({"a": {"data": {}}}), "got 'data'"),
        (lambda: read_settings({"a": {"configs": ["absent.yaml"]}}), "absent.yaml"),
        (lambda: read_base({"data": {"init_args": {"num_samples": 4, "chunk_size": 2}}}), "no seed"),
        (lambda: check_names(["A b", "a_B"]), "rename"),
        (lambda: check_names(["claims"]), "rename"),
        (lambda: Degraded("a"), "one of noise"),
        (lambda: Degraded("a", noise=-1), "one of noise"),
        (lambda: RareImages(ArrayImages(REAL), "one", 61), "between 1 and the number of images .60., got 61"),
    ],
)
def test_mistakes_are_told(make, match):
    with pytest.raises(SGMError, match=match):
        make()


def test_degraded_images():
    source = {"a": ArrayImages(REAL)}
    noisy = Degraded("a", noise=8).images(source, {}).read(range(60))
    assert 4 < (noisy.float() - REAL).std() < 8.5  # clamped
    fewer = Degraded("a", noise=8).images({"a": ArrayImages(REAL[:3])}, {}).read(range(3))
    assert torch.equal(fewer, noisy[:3])  # noise belongs to the sample
    blurred = Degraded("a", blur=1).images(source, {}).read(range(60)).float()
    assert blurred.std() < 0.5 * REAL.float().std() and abs(blurred.mean() - REAL.float().mean()) < 2
    assert torch.equal(Degraded("a", contrast=0.5).images(source, {}).read([0])[0], (REAL[0] * 0.5).round().to(torch.uint8))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.stem)
def test_committed_comparisons_resolve(tmp_path, file):
    """Every setting is one that `predict` takes, with its own seed, and at least eight are (six, of what needs classes)."""
    from sgm_lightning.commands.predict import SamplingCLI, predict

    class Parsed(SamplingCLI):
        def instantiate_classes(self): ...

        def _run_subcommand(self, subcommand): ...

    config = yaml.safe_load(file.read_text())
    base, methods = read_base(config["base"]), read_settings(config["settings"])
    assert len(methods) >= (6 if "classes" in file.stem else 8) and config["reference"] in config["settings"]
    check_names([*config["settings"], *config["anchors"]])
    for method in methods:
        resolved = predict(predict_arguments(base, method, tmp_path), Parsed).config["predict"]
        assert resolved["data"]["init_args"]["seed"] == config["base"]["data"]["init_args"]["seed"]
