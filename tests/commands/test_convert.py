"""`sgm-lightning convert`."""

import torch
import yaml
from support.paths import FASHION, ROOT

from sgm_lightning import DiffusersCheckpoint
from sgm_lightning.cli import main


def test_convert_both_ways(tmp_path):
    init = {"path": str(FASHION)}
    to_pt = {"backbone": {"class_path": "sgm_lightning.backbones.DiffusersCheckpoint", "init_args": init}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(to_pt))
    pt = tmp_path / "model.pt"
    assert main(["convert", "--config", str(tmp_path / "a.yaml"), "--output", str(pt), "--layout", "adm"]) == 0
    back = ["convert", "--config", str(ROOT / "configs/convert/fashion_mnist.yaml"), "--output", str(tmp_path / "back")]
    assert main([*back, "--backbone.init_args.path", str(pt)]) == 0
    first, second = DiffusersCheckpoint(str(FASHION)).load(), DiffusersCheckpoint(str(tmp_path / "back")).load()
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))
    assert main([*back, "--backbone.init_args.path", str(pt)]) == 1  # exists already
