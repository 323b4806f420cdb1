"""`sgm-lightning estimate`."""

import pytest

from sgm_lightning.cli import main


def test_estimate_reads_what_predict_reads(capsys):
    assert main(["estimate", "--config", "fashion_mnist", "--num_samples", "3600", "--devices", "2"]) == 0
    out = capsys.readouterr().out
    assert "236 forwards, 20 backwards" in out and "3600 images on 2 device(s)" in out
    assert main(["estimate", "--config", "fashion_mnist", "--utilization", "0"]) == 1


@pytest.mark.slow
def test_estimate_needs_neither_weights_nor_data(tmp_path, capsys, monkeypatch):
    """An upsampler whose weights and inputs are not here; nothing is written."""
    config = "imagenet256_cascade"
    monkeypatch.chdir(tmp_path)
    small = ["--model.backbone.flags.num_channels", "32", "--model.backbone.flags.num_head_channels", "16"]
    assert main(["estimate", "--config", config, "--model.backbone", "NewNetwork", *small]) == 0
    assert "258 forwards, 0 backwards" in capsys.readouterr().out and not list(tmp_path.iterdir())
