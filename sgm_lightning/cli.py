"""The command line: `sgm-lightning fit | predict | test | compare | score | features | estimate | convert`."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

import sgm_lightning.backbones
import sgm_lightning.classifiers
import sgm_lightning.features
import sgm_lightning.guidance
import sgm_lightning.images
import sgm_lightning.samplers
import sgm_lightning.sources
import sgm_lightning.training  # noqa: F401  short class names in YAML come from what is imported
from sgm_lightning.callbacks import Evaluate, RunWriter, SampleGrid, SamplingProgress, TrainingRun, WeightAverage
from sgm_lightning.callbacks.report import ReportWriter
from sgm_lightning.checkpoint_io import AtomicCheckpointIO
from sgm_lightning.compare.command import compare
from sgm_lightning.convert import convert
from sgm_lightning.data import EvaluatedImages, SampleIndices, TrainingData
from sgm_lightning.errors import SGMError
from sgm_lightning.features.command import save_features
from sgm_lightning.fingerprint import sample_settings
from sgm_lightning.modules import ClassifierTraining, EvaluationModule, SamplingModule, TrainingModule
from sgm_lightning.modules.estimate import estimate
from sgm_lightning.scoring.command import score
from sgm_lightning.signals import EXIT_RESUMABLE, Interrupted, stop_signals
from sgm_lightning.trainer import RunTrainer

_USAGE = """usage: sgm-lightning COMMAND --help

  fit       train a model or a classifier:    sgm-lightning fit --config FILE.yaml --run_dir DIR
  predict   draw samples into a run folder:   sgm-lightning predict --config FILE.yaml --run_dir DIR
  test      measure images that exist:        sgm-lightning test --config FILE.yaml --data.images PATH
  compare   methods on the same seeds:        sgm-lightning compare --config FILE.yaml --output DIR
  score     minority levels of a data set:   sgm-lightning score --config FILE.yaml --output FILE
  features  keep features of real images:     sgm-lightning features --config FILE.yaml --output FILE
  estimate  what a predict would cost:        sgm-lightning estimate --config FILE.yaml --devices 8 --tflops 312
  convert   change a checkpoint's layout:     sgm-lightning convert --config FILE.yaml --output DIR
"""


class SamplingCLI(LightningCLI):
    """LightningCLI with a run folder."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"predict": {"model", "dataloaders", "datamodule", "return_predictions", "ckpt_path", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", type=str, default="runs/default", help="Folder of the run; the same again resumes.")
        parser.add_argument("--verify", type=bool, default=False, help="Check every chunk's checksum; redraw what fails.")
        parser.add_lightning_class_args(RunWriter, "writer")
        parser.link_arguments("run_dir", "writer.run_dir")
        parser.link_arguments("verify", "writer.verify")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init[self.subcommand]
        if config["trainer"]["logger"] in (None, True):
            kwargs["logger"] = False  # the writer starts TensorBoard once the run's folder may be written
        kwargs["default_root_dir"] = config["run_dir"]
        if config["trainer"]["enable_progress_bar"] is False:  # Lightning refuses the bar that it did not make itself
            self.trainer_defaults.pop("callbacks", None)
        return super().instantiate_trainer(**kwargs)

    def resolved(self) -> str:
        """The whole configuration, as `config.yaml` holds it."""
        return str(self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False))

    def before_predict(self) -> None:
        """Tell the writer the settings that determine a sample, and the whole configuration."""
        config = self.config[self.subcommand]
        _refuse_slurm_checkpoints(config["run_dir"])
        settings = sample_settings(config)
        for callback in self.trainer.callbacks:
            if isinstance(callback, RunWriter):
                callback.config = settings
                callback.config_text = self.resolved()
        # What is compared must be written first.
        self.trainer.callbacks.sort(key=lambda callback: isinstance(callback, Evaluate))


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
        _refuse_slurm_checkpoints(config["run_dir"])
        for callback in self.trainer.callbacks:
            if isinstance(callback, TrainingRun):
                callback.config_text = self._parser(self.subcommand).dump(config, skip_none=False)
                if callback.last.is_file():  # what the run itself has reached, whatever it started from
                    self.config_init[self.subcommand]["ckpt_path"] = str(callback.last)


def _refuse_slurm_checkpoints(run_dir: str) -> None:
    if found := sorted(Path(run_dir).glob("hpc_ckpt_*")):
        raise SGMError(
            f"run_dir {run_dir} must hold no training checkpoint of Slurm, which Lightning would load in place of the "
            f"weights, got {found[0].name}; choose another run_dir."
        )


class EvaluationCLI(LightningCLI):
    """LightningCLI for images that exist already."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"test": {"model", "dataloaders", "datamodule", "ckpt_path", "verbose", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--output", type=str, default="runs/test", help="Folder for metrics.json and the pictures.")
        parser.add_lightning_class_args(ReportWriter, "writer")
        parser.link_arguments("output", "writer.output")


def main(args: list[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Arguments; default: the process's.

    Returns:
        Exit status: 0; 1 after an error that is told in one sentence; 75 after a signal, if the same command resumes.
        Malformed command lines and YAML files exit with status 2.
    """
    own = args is None
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    try:
        # Where the command line is the process's own, the process ends next: late signals, of peers that stop as well,
        # must neither change its exit status nor keep it from telling why.
        with stop_signals.handling(for_good=own), _short_thread_errors():
            _run(args)
    except Interrupted as stop:
        if rank_zero_only.rank == 0:
            print(f"interrupted ({stop}): what is finished is safe; the same command resumes.", file=sys.stderr)
        return EXIT_RESUMABLE
    except Exception as error:
        sentence = told(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    return 0


# Told by Lightning of every predict; our chunks are iterable, have a length, and carry their own indices on purpose.
_BESIDE_THE_POINT = (
    "Your `IterableDataset` has `__len__`",
    "Couldn't infer the batch indices",
    "LightningCLI.s args",
    ".*LeafSpec",
    "It is recommended to use `self.log",  # what is logged so is synchronised already
    "The `srun` command",
    "You're resuming from a checkpoint that ended before",  # positions tell the training data where to go on
)


def _run(args: list[str]) -> None:
    for start in _BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", start)
    set_parsing_settings(docstring_parse_attribute_docstrings=False)
    if args[0] in _PLAIN_COMMANDS:
        _call(_PLAIN_COMMANDS[args[0]], args)
        return
    if args[0] == "test":
        _evaluate(args)
        return
    if args[0] == "fit":
        _fit(args)
        return
    predict(args)


# Of `fit`, `predict` and `test`.
_TRAINER: dict[str, Any] = {"enable_checkpointing": False, "enable_model_summary": False, "devices": 1}

# Commands that are a function each.
_PLAIN_COMMANDS: dict[str, Callable[..., None]] = {
    "compare": compare,
    "convert": convert,
    "estimate": estimate,
    "features": save_features,
    "score": score,
}


def _call(function: Callable[..., None], args: list[str]) -> None:
    """Call a function with arguments from the command line and from YAML."""
    parser = ArgumentParser(prog=f"sgm-lightning {args[0]}")
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(function)
    init = parser.instantiate_classes(parser.parse_args(args[1:])).as_dict()
    init.pop("config", None)
    function(**init)


def _trains_classifier(args: list[str]) -> bool:
    """Whether the command line or one of its configurations sets `model.classifier`."""
    if any(arg.startswith("--model.classifier") for arg in args):
        return True
    values = [arg.partition("=")[2] for arg in args if arg.startswith("--config=")]
    values += [value for name, value in pairwise(args) if name in ("-c", "--config")]
    for value in values:
        try:
            config = yaml.safe_load(Path(value).read_text())
        except (OSError, ValueError, yaml.YAMLError):
            continue  # the parser tells what is wrong with it
        if isinstance(config, dict) and "classifier" in (config.get("model") or {}):
            return True
    return False


def predict(args: list[str], cli: type[SamplingCLI] = SamplingCLI) -> SamplingCLI:
    """`sgm-lightning predict`, by a class of command line that may do less than draw."""
    return cli(
        SamplingModule,
        SampleIndices,
        subclass_mode_data=True,
        save_config_callback=None,
        seed_everything_default=False,
        trainer_class=RunTrainer,
        trainer_defaults={**_TRAINER, "inference_mode": False, "callbacks": [SamplingProgress()]},
        args=args,
    )


def _fit(args: list[str]) -> None:
    TrainingCLI(
        ClassifierTraining if _trains_classifier(args) else TrainingModule,
        TrainingData,
        subclass_mode_data=True,
        save_config_callback=None,
        seed_everything_default=False,
        trainer_class=RunTrainer,
        trainer_defaults={
            **_TRAINER,
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


def _evaluate(args: list[str]) -> None:
    EvaluationCLI(
        EvaluationModule,
        EvaluatedImages,
        save_config_callback=None,
        seed_everything_default=False,
        trainer_defaults={**_TRAINER, "logger": False},
        args=args,
    )


@contextmanager
def _short_thread_errors() -> Iterator[None]:
    """TensorBoard's thread writes to the disk, too: one line when that is full, no traceback."""
    before = threading.excepthook

    def tell(error: threading.ExceptHookArgs) -> None:
        if isinstance(error.exc_value, OSError):
            print(f"warning: logging stopped ({error.exc_value})", file=sys.stderr)
        else:
            before(error)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before


def told(error: BaseException | None) -> SGMError | None:
    """The sentence for the user inside an error; jsonargparse wraps what a constructor raises."""
    disk: OSError | None = None
    while error is not None and not isinstance(error, SGMError):
        disk = error if isinstance(error, OSError) and error.filename else disk
        error = error.__cause__ or error.__context__
    if error is None and disk is not None:
        return SGMError(f"{disk.filename} cannot be read or written ({disk.strerror}); check the path and the disk.")
    if error is not None and "in DataLoader worker" in str(error):  # torch hands the worker's whole traceback on
        return SGMError(str(error).split("SGMError: ")[-1].strip())
    return error
