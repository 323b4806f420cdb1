"""The base of all trainings: an optimiser whose schedule a resumed training follows anew, and a check of the loss."""

from __future__ import annotations

from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from sgm_lightning.diffusion.execution import AUTOCAST
from sgm_lightning.errors import SGMError
from sgm_lightning.fit.schedules import warmup_schedule


class OptimisedModule(pl.LightningModule):
    """A LightningModule with the optimiser settings of the command line.

    Args:
        optimizer: Optimiser of the weights; default: AdamW.
        warmup_steps: Number of steps until the full learning rate.
        lr_schedule: Learning rate after the warm-up.
        default: Learning rate and weight decay of the default optimiser.

    Attributes:
        card: Model card of the last validation, in Markdown, or None.
    """

    card: str | None = None

    def __init__(
        self,
        optimizer: OptimizerCallable | None,
        warmup_steps: int,
        lr_schedule: Literal["constant", "cosine", "linear"],
        default: tuple[float, float],
    ) -> None:
        super().__init__()
        self.optimizer = _NotCopied(optimizer)
        self.warmup_steps, self.lr_schedule, self._default = warmup_steps, lr_schedule, default
        self._given: list[dict[str, Any]] = []

    def trained(self) -> list[nn.Parameter]:
        """Return the weights that are optimised."""
        return [p for p in self.parameters() if p.requires_grad]

    def check_trainer(self) -> torch.dtype | None:
        """Check the trainer's settings, and return the dtype that the network is autocast to."""
        precision = self.trainer.precision
        if precision not in AUTOCAST:
            raise SGMError(f"trainer.precision must be one of {', '.join(AUTOCAST)}, got {precision}.")
        if self.trainer.max_steps < 1:
            raise SGMError(f"trainer.max_steps must be at least 1, got {self.trainer.max_steps}.")
        if overfit := self.trainer.overfit_batches:
            raise SGMError(
                f"trainer.overfit_batches must be 0, since every step takes new pictures, got {overfit}; train on few "
                "pictures instead (`limit` of a source of `data`)."
            )
        return AUTOCAST[precision]

    def configure_optimizers(self) -> dict[str, Any]:
        parameters = self.trained()
        make, (rate, decay) = self.optimizer.value, self._default
        optimizer = make(parameters) if make else AdamW(parameters, rate, weight_decay=decay)
        # `fast_dev_run` puts its few steps in place of the training's number: they are the first of a longer one.
        num_steps = self.trainer.max_steps + (self.warmup_steps if self.trainer.fast_dev_run else 0)  # type: ignore[attr-defined]
        schedule = warmup_schedule(optimizer, num_steps, self.warmup_steps, self.lr_schedule)
        self._given = [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Set rate, decay and the like to the current command's values; a resumed optimiser keeps only its moments."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        schedule.base_lrs = [given["initial_lr"] for given in self._given]
        for group, given, factor in zip(optimizer.param_groups, self._given, schedule.lr_lambdas, strict=True):
            group.update({**given, "lr": given["initial_lr"] * factor(schedule.last_epoch)})

    def seed_dropout(self, batch_idx: int) -> None:
        """Seed the dropout masks by the position of the training, because Lightning keeps no random state in checkpoints."""
        if not any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.modules()):
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        key = (data.seed, self.trainer.global_step, batch_idx, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))

    def check_loss(self, loss: Tensor) -> None:
        """Raise if the loss is not finite; on a GPU only at logging steps, because the host has to wait for the check."""
        trainer = self.trainer
        if loss.device.type != "cpu" and trainer.global_step % trainer.log_every_n_steps:
            return
        if not bool(torch.isfinite(loss)):
            raise SGMError(
                f"The loss must stay finite, got {float(loss)} at step {trainer.global_step}; the last checkpoint is kept: "
                "lower the learning rate, clip gradients (`trainer.gradient_clip_val`), or use bf16 for 16-bit floats."
            )


class _NotCopied:
    """Wraps a value so that `deepcopy` shares it.

    Averaging the weights copies the module. The optimiser factory must not be copied with it: it refers to the parser of the
    command line, and through that to the trainer and its processes.
    """

    def __init__(self, value: OptimizerCallable | None) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> _NotCopied:
        return self
