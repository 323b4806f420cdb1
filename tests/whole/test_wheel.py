"""An installed wheel."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT
from support.runs import SHORT

from sgm_lightning.files.locate import shipped_configs
from sgm_lightning.version import __version__


@pytest.mark.slow
def test_a_wheel_runs_the_demo_from_an_empty_folder(tmp_path, away):
    pytest.importorskip("hatchling")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    build = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    # The package index takes 100 MB; the networks of the two demos and the reader are 47 of it.
    assert __version__ in wheel.name and wheel.stat().st_size < 60e6
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)

    def installed(*args):
        env = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True, env=env, cwd=away).stdout

    where = installed("-c", "import sgm_lightning; print(sgm_lightning.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    shipped = installed("-m", "sgm_lightning", "configs", "predict/fashion_mnist")
    assert shipped.strip() == str(site / "sgm_lightning/shipped/configs/predict/fashion_mnist.yaml")
    installed("-m", "sgm_lightning", "predict", "--config", "fashion_mnist", "--run_dir", "run", *SHORT)
    assert json.loads((away / "run/metrics.json").read_text())["sets"]
    assert str(ROOT) not in (away / "run/config.yaml").read_text()
    for name in shipped_configs():
        assert (site / f"sgm_lightning/shipped/configs/{name}.yaml").is_file()
