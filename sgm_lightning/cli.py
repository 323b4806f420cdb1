"""The command line: `sgm-lightning predict | convert`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import set_parsing_settings
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

import sgm_lightning.backbones
import sgm_lightning.guidance
import sgm_lightning.samplers  # noqa: F401  short class names in YAML come from what is imported
from sgm_lightning.callbacks import RunWriter, SamplingProgress
from sgm_lightning.convert import convert_command
from sgm_lightning.data import SampleIndices
from sgm_lightning.errors import SGMError
from sgm_lightning.modules import SamplingModule
from sgm_lightning.signals import EXIT_RESUMABLE, Interrupted, stop_signals

_USAGE = """usage: sgm-lightning COMMAND --help

  predict   draw samples into a run folder:  sgm-lightning predict --config FILE.yaml --run_dir DIR
  convert   change a checkpoint's layout:    sgm-lightning convert --config FILE.yaml --output DIR
"""


class SamplingTrainer(Trainer):
    """Lightning's Trainer, whose `predict` keeps nothing in memory (the run folder holds the samples) and ends as one.

    The processes that Lightning itself launches end with the first one, and an interrupted one takes the first along:
    otherwise Lightning would kill the first without a word, or leave the others running.
    """

    def predict(self, *args: Any, return_predictions: bool | None = False, **kwargs: Any) -> Any:
        """Draw the samples of a run.

        Args:
            *args: As in `Trainer.predict`.
            return_predictions: Whether to return the samples, too.
            **kwargs: As in `Trainer.predict`.
        """
        environment = self._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # it would write and later load a training checkpoint
        launched = isinstance(environment, LightningEnvironment) and environment.local_rank() > 0
        parent = os.getppid()
        if launched:
            _when_gone(parent, lambda: stop_signals.stop("end of the launching process"))
        stop_signals.on_signal = self._pass_on
        try:
            return super().predict(*args, return_predictions=return_predictions, **kwargs)
        except Interrupted:
            self._pass_on()
            if launched and os.getppid() == parent:
                os.kill(parent, signal.SIGTERM)
                _when_gone(parent, lambda: None).join(60)
            raise
        except BaseException:
            self._pass_on()
            raise

    def _pass_on(self) -> None:
        if self.strategy.launcher is not None:
            self.strategy.launcher.kill(signal.SIGTERM)


def _when_gone(parent: int, then: Callable[[], None]) -> threading.Thread:
    """Call `then` in a thread once the parent process has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        then()

    thread = threading.Thread(target=watch, daemon=True, name="parent watch")
    thread.start()
    return thread


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
        return super().instantiate_trainer(**kwargs)

    def before_predict(self) -> None:
        """Tell the writer the settings that determine a sample, and the whole configuration."""
        config = self.config[self.subcommand]
        if found := sorted(Path(config["run_dir"]).glob("hpc_ckpt_*")):
            raise SGMError(
                f"run_dir {config['run_dir']} must hold no training checkpoint of Slurm, which Lightning would load in "
                f"place of the weights, got {found[0].name}; choose another run_dir."
            )
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
        # must not change its exit status.
        with stop_signals.handling(for_good=own), _short_thread_errors():
            _run(args)
    except Interrupted as stop:
        if rank_zero_only.rank == 0:
            print(
                f"interrupted ({stop}): chunks in flight were dropped, finished ones are safe; the same command resumes.",
                file=sys.stderr,
            )
        return EXIT_RESUMABLE
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return 1
    return 0


# Told by Lightning of every predict; our chunks are iterable, have a length, and carry their own indices on purpose.
_BESIDE_THE_POINT = (
    "Your `IterableDataset` has `__len__`",
    "Couldn't infer the batch indices",
    ".*LeafSpec",
    "The `srun` command",
)


def _run(args: list[str]) -> None:
    for start in _BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", start)
    set_parsing_settings(docstring_parse_attribute_docstrings=False)
    if args[0] == "convert":
        convert_command(args[1:])
        return
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


def _told(error: BaseException | None) -> SGMError | None:
    """The sentence for the user inside an error; jsonargparse wraps what a constructor raises."""
    disk: OSError | None = None
    while error is not None and not isinstance(error, SGMError):
        disk = error if isinstance(error, OSError) and error.filename else disk
        error = error.__cause__ or error.__context__
    if error is None and disk is not None:
        return SGMError(f"{disk.filename} cannot be read or written ({disk.strerror}); check the path and the disk.")
    return error
