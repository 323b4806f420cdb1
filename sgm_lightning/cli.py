"""The command line: `sgm-lightning predict | convert`."""

from __future__ import annotations

import sys
from typing import Any

from jsonargparse import set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import sgm_lightning.backbones
import sgm_lightning.guidance
import sgm_lightning.samplers  # noqa: F401  short class names in YAML come from what is imported
from sgm_lightning.callbacks import RunWriter, SamplingProgress
from sgm_lightning.convert import convert_command
from sgm_lightning.data import SampleIndices
from sgm_lightning.errors import SGMError
from sgm_lightning.modules import SamplingModule

_USAGE = """usage: sgm-lightning COMMAND --help

  predict   draw samples into a run folder:  sgm-lightning predict --config FILE.yaml --run_dir DIR
  convert   change a checkpoint's layout:    sgm-lightning convert --config FILE.yaml --output DIR
"""


class SamplingTrainer(Trainer):
    """Lightning's Trainer, whose `predict` keeps nothing in memory: the run folder holds the samples."""

    def predict(self, *args: Any, return_predictions: bool | None = False, **kwargs: Any) -> Any:
        """Draw the samples of a run.

        Args:
            *args: As in `Trainer.predict`.
            return_predictions: Whether to return the samples, too.
            **kwargs: As in `Trainer.predict`.
        """
        return super().predict(*args, return_predictions=return_predictions, **kwargs)


class SamplingCLI(LightningCLI):
    """LightningCLI with a run folder."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"predict": {"model", "dataloaders", "datamodule", "return_predictions", "ckpt_path", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", type=str, default="runs/default", help="Folder of the run; the same again resumes.")
        parser.add_lightning_class_args(RunWriter, "writer")
        parser.link_arguments("run_dir", "writer.run_dir")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init[self.subcommand]
        if config["trainer"]["logger"] in (None, True):
            kwargs["logger"] = False  # the writer starts TensorBoard once the run's folder may be written
        kwargs["default_root_dir"] = config["run_dir"]
        return super().instantiate_trainer(**kwargs)

    def before_predict(self) -> None:
        """Tell the writer the settings that determine a sample, and the whole configuration."""
        config = self.config[self.subcommand]
        plain = _plain(config)
        # Weights and inputs count by their bytes, not by where they are; N, seed and chunk size have keys of their own.
        settings = {
            **{key: value for key, value in plain["model"].items() if key != "threads"},
            "backbone": _without(plain["model"]["backbone"], {"path", "url", "revision"}),
            "data": _without(plain["data"], {"num_samples", "chunk_size", "seed", "base"}),
            "precision": plain["trainer"]["precision"] or "32-true",
        }
        for callback in self.trainer.callbacks:
            if isinstance(callback, RunWriter):
                callback.config = settings
                callback.config_text = self._parser(self.subcommand).dump(config, skip_none=False)


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return value


def _plain(value: Any) -> Any:
    """Namespaces and odd types as what JSON holds."""
    if hasattr(value, "as_dict"):
        value = value.as_dict()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def main(args: list[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Arguments; default: the process's.

    Returns:
        Exit status: 0, or 1 after an error that is told in one sentence. Malformed command lines and YAML files exit with
        status 2.
    """
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    try:
        set_parsing_settings(docstring_parse_attribute_docstrings=False)
        if args[0] == "convert":
            convert_command(args[1:])
        else:
            SamplingCLI(
                SamplingModule,
                SampleIndices,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=False,
                trainer_class=SamplingTrainer,
                trainer_defaults={
                    "inference_mode": False,
                    "enable_checkpointing": False,
                    "enable_model_summary": False,
                    "callbacks": [SamplingProgress()],
                    "devices": 1,
                },
                args=args,
            )
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return 1
    return 0


def _told(error: BaseException | None) -> SGMError | None:
    """The sentence for the user inside an error; jsonargparse wraps what a constructor raises."""
    while error is not None and not isinstance(error, SGMError):
        error = error.__cause__ or error.__context__
    return error
