"""`sgm-lightning fit`: trains or fine-tunes a model."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser

from sgm_lightning.commands.parsing import CommandCLI, command_line
from sgm_lightning.commands.trainer import TRAINER_DEFAULTS, RunTrainer, refuse_slurm_checkpoints
from sgm_lightning.errors import SGMError
from sgm_lightning.fit.averaging import WeightAverage
from sgm_lightning.fit.checkpoint_io import AtomicCheckpointIO
from sgm_lightning.fit.data import TrainingData
from sgm_lightning.fit.module import TrainingModule
from sgm_lightning.fit.progress import TrainingProgress
from sgm_lightning.fit.run import TrainingRun
from sgm_lightning.fit.sample_grid import SampleGrid
from sgm_lightning.fit.settings import training_settings


class TrainingCLI(CommandCLI):
    """Command line of any training: LightningCLI with a run folder that can be resumed."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_dir", type=str, default="runs/default", help="Folder of the run; repeat the command to resume."
        )
        parser.add_lightning_class_args(WeightAverage, "average")
        parser.add_lightning_class_args(TrainingRun, "writer")
        parser.link_arguments("run_dir", "writer.run_dir")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self.config_init[self.subcommand]
        if config["trainer"]["logger"] in (None, True):
            kwargs["logger"] = False  # the writer starts TensorBoard once it owns the run's folder
        if config["trainer"]["plugins"] is None:
            kwargs["plugins"] = [AtomicCheckpointIO()]
        kwargs["default_root_dir"] = config["run_dir"]
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Resume from the state in the run folder, if there is one."""
        config = self.config[self.subcommand]
        refuse_slurm_checkpoints(config["run_dir"])
        text = self._parser(self.subcommand).dump(config, skip_unset=False)
        for callback in self.trainer.callbacks:
            if isinstance(callback, TrainingRun):
                tensorboard = config["trainer"]["logger"] in (None, True)
                state = callback.describe(self.command or self.subcommand, training_settings(config), text, tensorboard)
                if state is not None and not self.trainer.fast_dev_run:
                    # What the run itself has reached counts, whatever it started from.
                    self.config_init[self.subcommand]["ckpt_path"] = str(state)


class ModelTrainingCLI(TrainingCLI):
    """Command line that trains a diffusion model and shows its samples."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_lightning_class_args(SampleGrid, "grid")
        parser.add_argument("--model.classifier", type=_no_classifier, default=SUPPRESS, help=SUPPRESS)


def _no_classifier(value: Any) -> None:
    """Refuse `model.classifier` before the parser asks for what a model needs."""
    raise SGMError(
        "`fit` trains diffusion models and takes no `model.classifier`, but one was given; train it by the same settings "
        "with `sgm-lightning fit_classifier`."
    )


def train(cli: type[TrainingCLI], module: type[pl.LightningModule], args: list[str]) -> None:
    """Train a module with the arguments of a command, which start with its name."""
    with command_line(["fit", *args[1:]]) as args:
        cli(
            module,
            TrainingData,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            trainer_class=RunTrainer,
            trainer_defaults={
                **TRAINER_DEFAULTS,
                "callbacks": [TrainingProgress()],
                "enable_checkpointing": True,  # the writer makes the checkpoints
                "max_steps": 10_000,
                "max_epochs": -1,  # only the steps limit the training
                "gradient_clip_val": 1.0,
                "val_check_interval": 500,
                "check_val_every_n_epoch": None,
                "num_sanity_val_steps": 0,
                "use_distributed_sampler": False,  # the data are shared out already
                "log_every_n_steps": 20,
            },
            args=args,
        )


def fit(args: list[str]) -> None:
    """Run `sgm-lightning fit`."""
    train(ModelTrainingCLI, TrainingModule, args)
