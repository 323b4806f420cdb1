"""Scores and levels of a few images of Fashion-MNIST."""

import yaml

from sgm_lightning.cli import main
from support.networks import small_model

COUNT = 15
BACKBONE = {"class_path": "DiffusersCheckpoint", "init_args": {"path": small_model()}}
SOURCE = {"class_path": "FashionMNIST", "init_args": {"limit": COUNT}}
# Of a classifier of levels.
FLAGS = {"image_size": 28, "in_channels": 1, "out_channels": 3, "classifier_width": 32, "classifier_depth": 1,
         "channel_mult": "1,1", "classifier_attention_resolutions": "", "classifier_resblock_updown": False,
         "classifier_pool": "adaptive", "num_head_channels": 32, "dropout": 0.1}  # fmt: skip


def score(folder, name="levels", **changes):
    config = {"backbone": BACKBONE, "source": SOURCE, "spacing": 10, "num_levels": 3,
              "score": {"level": {"ratio": 0.6}, "num_draws": 2, "clip": True},
              "part_size": 7, "batch_size": 4, **changes}  # fmt: skip
    (folder / "score.yaml").write_text(yaml.safe_dump(config))
    return main(["score", "--config", str(folder / "score.yaml"), "--output", str(folder / f"{name}.safetensors")])
