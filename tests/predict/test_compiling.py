"""When a network is compiled: if it is asked for, never by itself; whether it pays is said."""

import json

import pytest
import yaml
from support.paths import ROOT
from support.runs import predict

from sgm_lightning.cli import main
from sgm_lightning.predict import advice

PRESETS = sorted((ROOT / "configs/presets").glob("*.yaml"))


def resolved(capsys, *configs):
    with pytest.raises(SystemExit):
        main(["predict", *(arg for config in configs for arg in ("--config", config)), "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    "preset", [p.stem if p.stem == "fast" else pytest.param(p.stem, marks=pytest.mark.slow) for p in PRESETS]
)
def test_no_preset_compiles(capsys, preset):
    config = resolved(capsys, "fashion_mnist", f"presets/{preset}")
    assert not config["model"]["execution"] or config["model"]["execution"]["compile"] is False


def test_a_look_is_neither_compared_nor_measured(capsys, tmp_path):
    slow = tmp_path / "slow.yaml"
    slow.write_text("model: {execution: {compile: true}}\n")
    config = resolved(capsys, "fashion_mnist", str(slow), "presets/fast")
    assert config["model"]["execution"]["compile"] is False and config["model"]["baseline"] is False
    assert not config["trainer"]["callbacks"] and config["data"]["init_args"]["num_samples"] == 96


def test_the_advice_is_for_runs_in_which_compiling_has_long_paid():
    saved = advice.BREAK_EVEN_SECONDS * (1 - 1 / 1.18)
    assert saved == pytest.approx(120) and advice.advice_to_compile(2 * advice.BREAK_EVEN_SECONDS) is None
    line = advice.advice_to_compile(3 * 3600)
    assert "about 3 h 00 min" in line and "--model.execution.compile true" in line and "within one grey level" in line


def test_a_long_run_is_told_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(advice, "_WORTH_SECONDS", 0.0)
    assert predict(tmp_path, "run") == 0
    assert capsys.readouterr().err.count("long enough for compiling to pay") == 1
    assert json.loads((tmp_path / "run/manifest.json").read_text())["settings"]["execution"] is None  # nothing has changed
