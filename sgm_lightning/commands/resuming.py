"""Lightning's reading of a checkpoint to resume from, with one sentence for whatever a damaged file makes it raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.signals import Interrupted

_STATE = ("loops", "optimizer_states", "lr_schedulers")


class Resuming(_CheckpointConnector):
    """Restores weights, optimiser and progress, each of which may be missing from a file or of another type."""

    def _restore_modules_and_callbacks(self, *args: Any, **kwargs: Any) -> None:
        with self._in_a_sentence(args[0] if args else kwargs.get("checkpoint_path")):
            super()._restore_modules_and_callbacks(*args, **kwargs)

    def restore_training_state(self) -> None:
        """Restore the state of the trainer itself."""
        # Lightning goes on without them, from step 0 or with a new optimiser, and says nothing.
        if self._ckpt_path and (missing := [key for key in _STATE if key not in self._loaded_checkpoint]):
            raise SGMError(
                f"{self._ckpt_path} must hold the state of a training, got none of its {missing[0]}; restore the file, or "
                "choose another run_dir."
            )
        with self._in_a_sentence(self._ckpt_path):
            super().restore_training_state()

    @contextmanager
    def _in_a_sentence(self, path: Any) -> Iterator[None]:
        try:
            yield
        except (SGMError, Interrupted, MisconfigurationException):
            raise
        except Exception as error:
            if path is None:
                raise
            reason = reason_of(error)
            raise SGMError(
                f"{path} holds no state that can be resumed ({type(error).__name__}: {reason}); restore the file, or choose "
                "another run_dir."
            ) from None
