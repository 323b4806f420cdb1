"""The run folder of a training: its owner, its last state, its model card, and its end after a signal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import remove_leftovers, write
from sgm_lightning.fit.checkpoint_io import AtomicCheckpointIO
from sgm_lightning.run import DRAW_VERSION
from sgm_lightning.run.manifest import agree
from sgm_lightning.run.owner import Owner
from sgm_lightning.signals import Interrupted, stop_signals
from sgm_lightning.version import __version__


class TrainingRun(Checkpoint):
    """Writes `last.ckpt`, the complete state to resume from, at regular steps, at every end, and when a signal asks to stop.

    One process owns the folder, which belongs to one training: what determines its result may not change.

    Args:
        run_dir: Folder of the run.
        save_every: Number of steps between saved states.
        keep_every: Number of steps between states that are kept beside the last one (`step-….ckpt`); default: none are kept.
    """

    def __init__(self, run_dir: str = "runs/default", save_every: int = 500, keep_every: int | None = None) -> None:
        for name, steps in (("save_every", save_every), ("keep_every", keep_every)):
            if steps is not None and steps < 1:
                raise SGMError(f"{name} must be at least 1, got {steps}; set `writer.{name}`.")
        self.path, self.save_every, self.keep_every = Path(run_dir), save_every, keep_every
        self._owner = Owner(self.path)
        self._manifest: dict[str, Any] | None = None
        self._config, self._tensorboard = "", False
        self._goes_on: bool | None = None
        self._step = 0
        self._started = 0.0
        self._first = 0
        self._validated = 0
        self._saved = 0

    @property
    def last(self) -> Path:
        """File of the state to resume from."""
        return self.path / "last.ckpt"

    @property
    def card(self) -> Path:
        """File of the model card, which every validation writes anew."""
        return self.path / "README.md"

    def describe(self, command: str, settings: dict[str, Any], config: str, tensorboard: bool) -> Path | None:
        """Set what the folder's manifest and `config.yaml` record.

        Args:
            command: Name of the command that trains.
            settings: Settings that a resumed training must repeat.
            config: Whole configuration, in YAML.
            tensorboard: Whether to write TensorBoard's events, once this process owns the folder and trains.

        Returns:
            The state to resume from, if the folder holds one.
        """
        self._manifest = {"command": command, "draw_version": DRAW_VERSION, "settings": settings}
        self._config, self._tensorboard = config, tensorboard
        self._goes_on = self.last.is_file()
        return self.last if self._goes_on else None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            _in_first_process(trainer, self._take)

    def _take(self) -> None:
        self._owner.take(stop_signals.check, rank_zero_info)
        if self._goes_on is False and self.last.is_file():
            raise SGMError(f"{self.last} was written by another process a moment ago; repeat the command to go on from it.")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        stop_signals.install()
        stop_signals.deferred = True
        if self._manifest is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            _in_first_process(trainer, lambda: self._record(trainer))

    def _record(self, trainer: pl.Trainer) -> None:
        """Compare the folder's manifest with this training, and write what is missing."""
        assert self._manifest is not None
        images = trainer.datamodule.images_per_step  # type: ignore[attr-defined]
        versions = {"version": __version__, "torch": torch.__version__}
        remove_leftovers(self.path)
        agree(
            self.path / "manifest.json", {**self._manifest, "images_per_step": images, **versions}, {}, self.last.is_file()
        )
        write(self.path / "config.yaml", self._config)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = self._first = self._saved = trainer.global_step
        self._started = time.monotonic()
        if self._tensorboard and trainer.logger is None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.logger = TensorBoardLogger(self.path, name="", version="tensorboard")
        if self._first:
            rank_zero_info(f"Resuming at step {self._first}.")
            if _validates(trainer) and self._validated != self._first:
                _validate(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if step == self._step:  # gradients are still being accumulated
            return
        self._step = step
        if step % trainer.log_every_n_steps == 0:
            data = trainer.datamodule  # type: ignore[attr-defined]
            images = (step - self._first) * data.images_per_step
            pl_module.log("train/images_per_second", images / (time.monotonic() - self._started))
        stop = _asked_to_stop(trainer)
        ends = stop or trainer.should_stop or step == trainer.max_steps
        if ends or step % self.save_every == 0 or _validates(trainer):
            self._save(trainer, pl_module, self.last)
        if self.keep_every and step % self.keep_every == 0:
            self._save(trainer, pl_module, self.path / f"step-{step:06d}.ckpt")
        if stop:
            _stop()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        # The state is saved already. Processes may differ by one batch, so they agree on stopping only while all have one.
        if batch_idx < trainer.datamodule.common_batches and _asked_to_stop(trainer):  # type: ignore[attr-defined]
            _stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = trainer.global_step
        text = pl_module.card
        if isinstance(text, str) and not trainer.sanity_checking and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            _in_first_process(trainer, lambda: write(self.card, text, new_folder=False, last_check=self._owner.check))

    def state_dict(self) -> dict[str, Any]:
        return {"validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validated = state_dict["validated"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The end may follow: by `max_epochs`, or by a callback that comes after this one. At the training's end itself
        # the averaged weights have taken the place of the current ones already.
        if trainer.global_step != self._saved:
            self._save(trainer, pl_module, self.last)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.enable_validation and self._validated != trainer.global_step:
            progress = trainer.fit_loop.epoch_loop
            progress._batches_that_stepped -= 1  # loggers name a step by its index, as in any other validation
            _validate(trainer)
            progress._batches_that_stepped += 1
        stop_signals.deferred = False
        seconds = time.monotonic() - self._started
        rank_zero_info(
            f"Trained {trainer.global_step - self._first} steps in {seconds:.0f} s, to step {trainer.global_step}. "
            f"Run folder: {self.path.resolve()}"
        )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        stop_signals.deferred = False
        self._owner.close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._owner.close()

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, path: Path) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for name, parameter in pl_module.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise SGMError(
                    f"The weights must stay finite, got NaN or infinity in {name} at step {trainer.global_step}; the last "
                    "checkpoint is kept: lower the learning rate or clip gradients (`trainer.gradient_clip_val`)."
                )
        ours = isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
        trainer.save_checkpoint(path, weights_only=False, storage_options=self._owner.check if ours else None)
        if path == self.last:
            self._saved = trainer.global_step


def _in_first_process(trainer: pl.Trainer, work: Callable[[], object]) -> None:
    """Do a piece of work in the first process; an error that it raises is raised in all of them."""
    error: str | None = None
    if trainer.is_global_zero:
        try:
            work()
        except SGMError as raised:
            error = str(raised)
    error = trainer.strategy.broadcast(error)
    if error is not None:
        raise SGMError(error)


def _asked_to_stop(trainer: pl.Trainer) -> bool:
    """Return whether any process was asked to stop, since all must stop at the same step."""
    return trainer.strategy.reduce_boolean_decision(stop_signals.received is not None, all=False)


def _stop() -> None:
    stop_signals.check()
    raise Interrupted("another process was interrupted")


def _validates(trainer: pl.Trainer) -> bool:
    """Return whether Lightning validates after this batch."""
    interval = trainer.val_check_batch
    return bool(trainer.enable_validation and interval and (trainer.fit_loop.total_batch_idx + 1) % interval == 0)


def _validate(trainer: pl.Trainer) -> None:
    """Run a validation that Lightning would not: one in which a training was stopped, or one at its end."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True
    loop._has_run = False  # else the loop of a finished training that goes on takes its next step for done
