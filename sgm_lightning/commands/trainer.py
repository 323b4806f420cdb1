"""Lightning's Trainer, adapted to runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.distributed import DistError

from sgm_lightning.commands.resuming import Resuming
from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.signals import EXIT_RESUMABLE, PEER, Interrupted, stop_signals

# Defaults of `fit`, `predict` and `test`.
TRAINER_DEFAULTS: dict[str, Any] = {"enable_checkpointing": False, "enable_model_summary": False, "devices": 1}

# Variable of the environment that tells launched processes the number of the one that launched them.
_LAUNCHER = "SGM_LAUNCHER"

_FAREWELL_SECONDS = 3.0  # for the launching process to end first; it may be in a collective operation, and wait for this one
_PATIENCE_SECONDS = 60.0  # for this process to reach the next place where it may stop


class _NoSignalHandlers(_SignalConnector):
    """Leaves the signals to `stop_signals`.

    Lightning's own handler broadcasts from inside of a signal handler. Processes that got the signal at different moments,
    or not at all, would wait for one another forever.
    """

    def register_signal_handlers(self) -> None:
        """Install no handler."""


class RunTrainer(Trainer):
    """Lightning's Trainer with processes that end together, and a `predict` that keeps no samples in memory.

    The processes that Lightning launches end with the first one, and an interrupted process also stops the first one.
    Otherwise Lightning would kill the first one without a message, or leave the others running.
    """

    def predict(self, *args: Any, return_predictions: bool | None = False, **kwargs: Any) -> Any:
        """Draw the samples of a run.

        Args:
            *args: Arguments of `Trainer.predict`.
            return_predictions: Whether to return the samples, too.
            **kwargs: Arguments of `Trainer.predict`.
        """
        return self._as_one(lambda: super(RunTrainer, self).predict(*args, return_predictions=return_predictions, **kwargs))

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Train a model; checkpoints to resume from are read as tensors and plain types only.

        Args:
            *args: Arguments of `Trainer.fit`.
            **kwargs: Arguments of `Trainer.fit`.
        """
        self._as_one(lambda: super(RunTrainer, self).fit(*args, weights_only=True, **kwargs))

    def _as_one(self, work: Callable[[], Any]) -> Any:
        environment = self._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # it would write and later load a training checkpoint
        launched = isinstance(environment, LightningEnvironment) and environment.local_rank() > 0
        self._signal_connector = _NoSignalHandlers(self)
        self._checkpoint_connector = Resuming(self)
        # Told by the launching process: it may end before its children get here, and then they have another parent already.
        parent = int(os.environ.get(_LAUNCHER, os.getppid())) if launched else 0
        if launched:
            _when_gone(parent, _end)
        else:
            os.environ[_LAUNCHER] = str(os.getpid())
        stop_signals.on_signal = self._pass_on
        try:
            return work()
        except BaseException as raised:
            error = self._meaning(raised)
            self._pass_on()
            if isinstance(error, Interrupted) and launched and os.getppid() == parent:
                os.kill(parent, PEER)
                _when_gone(parent, lambda: None).join(_FAREWELL_SECONDS)
            if error is raised:
                raise
            raise error from None

    def _meaning(self, error: BaseException) -> BaseException:
        """Return the meaning of an error of Lightning's, or of an operation of several processes some of which have gone."""
        broken = isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
        if isinstance(error, MisconfigurationException):
            return SGMError(f"Lightning refuses these settings ({reason_of(error, 300)}); correct `trainer`.")
        if self.world_size == 1 or not broken:
            return error
        if stop_signals.received is not None:
            return Interrupted(f"{stop_signals.received} received")
        return SGMError(
            "The processes of a job must stay until its end, but one has gone or cannot be reached; see its messages, then "
            "repeat the command to resume."
        )

    def _pass_on(self) -> None:
        if self.strategy.launcher is not None:
            self.strategy.launcher.kill(PEER)


def _end() -> None:
    """Stop; by force if this process waits for one that has ended, as in a collective operation."""
    stop_signals.stop("end of the launching process")
    time.sleep(_PATIENCE_SECONDS)
    os._exit(EXIT_RESUMABLE)


def _when_gone(parent: int, then: Callable[[], None]) -> threading.Thread:
    """Call `then` in a thread once the parent process has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        then()

    thread = threading.Thread(target=watch, daemon=True, name="parent watch")
    thread.start()
    return thread


def refuse_slurm_checkpoints(run_dir: str) -> None:
    """Raise if Lightning would load a checkpoint that Slurm's requeueing left in the folder."""
    if found := sorted(Path(run_dir).glob("hpc_ckpt_*")):
        raise SGMError(
            f"run_dir {run_dir} must hold no training checkpoint of Slurm, which Lightning would load in place of the "
            f"weights, got {found[0].name}; choose another run_dir."
        )
