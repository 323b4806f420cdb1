"""`sgm-lightning fit`: train a model, or a classifier of noisy images."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from sgm_lightning.commands.arguments import config_contents
from sgm_lightning.commands.parsing import command_line
from sgm_lightning.commands.trainer import TRAINER_DEFAULTS, RunTrainer, refuse_slurm_checkpoints
from sgm_lightning.fit.averaging import WeightAverage
from sgm_lightning.fit.checkpoint_io import AtomicCheckpointIO
from sgm_lightning.fit.classifier import ClassifierTraining
from sgm_lightning.fit.data import TrainingData
from sgm_lightning.fit.module import TrainingModule
from sgm_lightning.fit.run import TrainingRun
from sgm_lightning.fit.sample_grid import SampleGrid


class TrainingCLI(LightningCLI):
    """LightningCLI with a run folder that is resumed."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", type=str, default="runs/default", help="Folder of the run; the same again resumes.")
        parser.add_lightning_class_args(WeightAverage, "average")
        if self._model_class is not ClassifierTraining:  # which draws nothing
            parser.add_lightning_class_args(SampleGrid, "grid")
        parser.add_lightning_class_args(TrainingRun, "writer")
        parser.link_arguments("run_dir", "writer.run_dir")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init[self.subcommand]
        if config["trainer"]["logger"] in (None, True):
            kwargs["logger"] = TensorBoardLogger(config["run_dir"], name="", version="tensorboard")
        if config["trainer"]["plugins"] is None:
            kwargs["plugins"] = [AtomicCheckpointIO()]
        kwargs["default_root_dir"] = config["run_dir"]
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Resume what the run folder holds."""
        config = self.config[self.subcommand]
        refuse_slurm_checkpoints(config["run_dir"])
        for callback in self.trainer.callbacks:
            if isinstance(callback, TrainingRun):
                callback.config_text = self._parser(self.subcommand).dump(config, skip_none=False)
                if callback.last.is_file():  # what the run itself has reached, whatever it started from
                    self.config_init[self.subcommand]["ckpt_path"] = str(callback.last)


def fit(args: list[str]) -> None:
    """Run `sgm-lightning fit`."""
    with command_line(args) as args:
        TrainingCLI(
            ClassifierTraining if _trains_classifier(args) else TrainingModule,
            TrainingData,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=False,
            trainer_class=RunTrainer,
            trainer_defaults={
                **TRAINER_DEFAULTS,
                "enable_checkpointing": True,  # by the writer
                "max_steps": 10_000,
                "max_epochs": -1,  # the steps count
                "gradient_clip_val": 1.0,
                "val_check_interval": 500,
                "check_val_every_n_epoch": None,
                "num_sanity_val_steps": 0,
                "use_distributed_sampler": False,  # the data know their processes
                "log_every_n_steps": 20,
            },
            args=args,
        )


def _trains_classifier(args: list[str]) -> bool:
    """Whether the command line or one of its configurations sets `model.classifier`."""
    if any(arg.startswith("--model.classifier") for arg in args):
        return True
    contents = config_contents(args).values()
    return any(isinstance(content.get("model"), dict) and "classifier" in content["model"] for content in contents)
