"""`sgm-lightning test`: evaluates finished images."""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser

from sgm_lightning.commands.parsing import CommandCLI, command_line
from sgm_lightning.commands.trainer import TRAINER_DEFAULTS
from sgm_lightning.evaluation.data import EvaluatedImages
from sgm_lightning.evaluation.module import EvaluationModule
from sgm_lightning.evaluation.progress import EvaluationProgress
from sgm_lightning.evaluation.writer import ReportWriter


class EvaluationCLI(CommandCLI):
    """Command line of `test`: LightningCLI for finished images."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"test": {"model", "dataloaders", "datamodule", "ckpt_path", "verbose", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--output", type=str, default="runs/test", help="Folder for metrics.json and the figures.")
        parser.add_lightning_class_args(ReportWriter, "writer")
        parser.link_arguments("output", "writer.output")


def test(args: list[str]) -> None:
    """Run `sgm-lightning test`."""
    with command_line(args) as args:
        EvaluationCLI(
            EvaluationModule,
            EvaluatedImages,
            save_config_callback=None,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            trainer_defaults={**TRAINER_DEFAULTS, "logger": False, "callbacks": [EvaluationProgress()]},
            args=args,
        )
