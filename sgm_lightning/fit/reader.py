"""The LightningModule that trains a reader of the emoji world."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.nn import functional

from sgm_lightning.diffusion.noise import Purpose, generator
from sgm_lightning.errors import SGMError
from sgm_lightning.fit.draws import TrainingBatch
from sgm_lightning.fit.held_out import HeldOutMeans
from sgm_lightning.fit.optimised import OptimisedModule
from sgm_lightning.images import EmojiWorld
from sgm_lightning.world import FACTORS
from sgm_lightning.world.degrade import Degraded, degrade
from sgm_lightning.world.network import SIDE, Read, ReaderNetwork

_POSE_WEIGHT = 0.1


class ReaderTraining(OptimisedModule):
    """Trains a reader: the cross-entropy of every factor on degraded pictures, and the squared error of the pose.

    The pictures must be of an `EmojiWorld` of 32 × 32 pixels. All values should have the same weight: a reader that knows
    what is rare would read it less often.

    Args:
        optimizer: Optimiser of the weights; default: AdamW with learning rate 1e-3 and weight decay 0.01.
        warmup_steps: Number of steps until the full learning rate.
        lr_schedule: Learning rate after the warm-up: `linear` or `cosine` down to zero at `trainer.max_steps`, or
            `constant`.
    """

    num_classes = None  # the factors are the classes

    def __init__(
        self,
        optimizer: OptimizerCallable | None = None,
        warmup_steps: int = 0,
        lr_schedule: Literal["constant", "cosine", "linear"] = "cosine",
    ) -> None:
        super().__init__(optimizer, warmup_steps, lr_schedule, (1e-3, 0.01))
        self.network = ReaderNetwork().train()
        self._dtype: torch.dtype | None = None
        self.held_out = HeldOutMeans(by_quarter=(), once=[*FACTORS, "pose"])
        self._scenes: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the pictures."""
        return (3, SIDE, SIDE)

    def setup(self, stage: str) -> None:
        """Check the trainer's settings and the pictures."""
        self._dtype = self.check_trainer()
        device = self.trainer.strategy.root_device
        self.held_out.to(device)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        for name, source in (("training", data.source), ("held_out", data.held_out or data.source)):
            if not isinstance(source, EmojiWorld):
                raise SGMError(f"A reader is trained on an EmojiWorld, got {type(source).__name__}; set `data.source`.")
            scenes = source.factors, source.pose
            self._scenes[name] = tuple(torch.from_numpy(x).to(device) for x in scenes)  # type: ignore[assignment]

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Return the mean loss of the batch, whose pictures are degraded first."""
        factors, pose = (x[batch.rows] for x in self._scenes["training"])
        rng = generator(self.trainer.datamodule.seed, int(batch.indices[0]), Purpose.DEGRADE)  # type: ignore[attr-defined]
        degraded = degrade(batch.images, factors, rng)
        loss = self._loss(degraded, pose)
        self.check_loss(loss)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Measure the share of pictures of which each factor is read right, and the error of the pose."""
        factors, pose = (x[batch.rows] for x in self._scenes["held_out"])
        read = self._read(batch.images)
        right = {name: (read.logits[name].argmax(1) == factors[:, i]).float() for i, name in enumerate(FACTORS)}
        self.held_out.update({**right, "pose": self._pose_error(read, pose)})

    def on_validation_epoch_end(self) -> None:
        self.held_out.log(self, shown="object")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["sgm_lightning_reader"] = {}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "sgm_lightning_reader" not in checkpoint:
            raise SGMError(
                "The run folder must hold a reader's training to go on with, got another; choose another run_dir."
            )

    def _loss(self, degraded: Degraded, pose: Tensor) -> Tensor:
        read = self._read(degraded.images)
        losses = [functional.cross_entropy(read.logits[name], target) for name, target in degraded.targets.items()]
        found = self._pose_error(read, pose)[degraded.has_pose]
        return torch.stack(losses).sum() + _POSE_WEIGHT * found.sum() / max(len(found), 1)

    def _read(self, images: Tensor) -> Read:
        kind = self.device.type
        with torch.autocast(kind, dtype=self._dtype, enabled=self._dtype is not None):
            read: Read = self.network(images)
        return read

    def _pose_error(self, read: Read, pose: Tensor) -> Tensor:
        return ((read.pose - pose.float()) / self.network.pose_scale).square().mean(1)
