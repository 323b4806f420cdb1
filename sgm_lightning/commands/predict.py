"""`sgm-lightning predict`: draws samples into a run folder."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from sgm_lightning.commands.parsing import CommandCLI, command_line
from sgm_lightning.commands.trainer import TRAINER_DEFAULTS, RunTrainer, refuse_slurm_checkpoints
from sgm_lightning.predict.data import SampleIndices
from sgm_lightning.predict.evaluate import Evaluate
from sgm_lightning.predict.module import SamplingModule
from sgm_lightning.predict.progress import SamplingProgress
from sgm_lightning.predict.settings import sample_settings
from sgm_lightning.predict.writer import RunWriter


class SamplingCLI(CommandCLI):
    """Command line of `predict`: LightningCLI with a run folder."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"predict": {"model", "dataloaders", "datamodule", "return_predictions", "ckpt_path", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_dir", type=str, default="runs/default", help="Folder of the run; repeat the command to resume."
        )
        parser.add_argument("--verify", type=bool, default=False, help="Check every chunk's checksum; redraw what fails.")
        parser.add_lightning_class_args(RunWriter, "writer")
        parser.link_arguments("run_dir", "writer.run_dir")
        parser.link_arguments("verify", "writer.verify")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init[self.subcommand]
        if config["trainer"]["logger"] in (None, True):
            kwargs["logger"] = False  # the writer starts TensorBoard once the run's folder may be written
        kwargs["default_root_dir"] = config["run_dir"]
        return super().instantiate_trainer(**kwargs)

    def resolved(self) -> str:
        """Return the whole configuration, as `config.yaml` holds it."""
        return str(self._parser(self.subcommand).dump(self.config[self.subcommand], skip_unset=False))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that determine a sample, as `manifest.json` holds them."""
        return sample_settings(self.config[self.subcommand])

    def before_predict(self) -> None:
        """Pass the settings that determine a sample, and the whole configuration, to the writer."""
        refuse_slurm_checkpoints(self.config[self.subcommand]["run_dir"])
        for callback in self.trainer.callbacks:
            if isinstance(callback, RunWriter):
                tensorboard = self.config[self.subcommand]["trainer"]["logger"] in (None, True)
                callback.describe(self.settings, self.resolved(), tensorboard)
        # `Evaluate` reads what the writer has written, so it must come after the writer.
        self.trainer.callbacks.sort(key=lambda callback: isinstance(callback, Evaluate))

    def after_predict(self) -> None:
        """Say what a run without `Evaluate` does not tell: a rare sample may as well be a broken one."""
        if self.trainer.is_global_zero and not any(isinstance(c, Evaluate) for c in self.trainer.callbacks):
            print(
                "Whether the samples are real was not measured: compare them with real images by the callback `Evaluate` or "
                "by `sgm-lightning test`."
            )


def predict(args: list[str], cli: type[SamplingCLI] = SamplingCLI) -> SamplingCLI:
    """Run `sgm-lightning predict` with a class of command line that may do less than draw."""
    with command_line(args) as args:
        return cli(
            SamplingModule,
            SampleIndices,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            trainer_class=RunTrainer,
            trainer_defaults={**TRAINER_DEFAULTS, "inference_mode": False, "callbacks": [SamplingProgress()]},
            args=args,
        )


class ResolvedCLI(SamplingCLI):
    """Command line of `predict` that stops where the Trainer would start."""

    def _run_subcommand(self, subcommand: str) -> None:
        self.before_predict()


def resolve(arguments: list[str], cli: type[ResolvedCLI] = ResolvedCLI) -> SamplingCLI:
    """Run `predict` up to where its Trainer would start: everything is made and checked, nothing drawn or written."""
    # A Trainer logs the devices that it finds; once for each setting, when it draws, is enough.
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return predict(arguments, cli)
    finally:
        logger.setLevel(level)
