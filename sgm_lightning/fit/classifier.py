"""The LightningModule that trains a classifier of noisy images."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.nn import functional

from sgm_lightning.classifiers import Classifier
from sgm_lightning.classifiers.description import description
from sgm_lightning.classifiers.trained import KEY
from sgm_lightning.diffusion import DiffusionProcess, make_betas
from sgm_lightning.errors import SGMError
from sgm_lightning.fit.draws import TrainingBatch
from sgm_lightning.fit.held_out import HeldOutMeans, quarters
from sgm_lightning.fit.optimised import OptimisedModule


class ClassifierTraining(OptimisedModule):
    """Trains a classifier log p(class | x_t, t) by cross-entropy at steps drawn uniformly (Dhariwal & Nichol 2021).

    Args:
        classifier: Classifier to start from: a `NewClassifier` or a trained one.
        noise_schedule: Noise schedule of the model to be guided: `linear` or `cosine`.
        diffusion_steps: Number of train steps of that model's chain.
        optimizer: Optimiser of the weights; default: AdamW with learning rate 3e-4 and weight decay 0.05 (Um, Lee & Ye, ICLR
            2024).
        warmup_steps: Number of steps until the full learning rate.
        lr_schedule: Learning rate after the warm-up: `linear` or `cosine` down to zero at `trainer.max_steps`, or
            `constant`.

    Raises:
        SGMError: If the classifier cannot be read.
    """

    def __init__(
        self,
        classifier: Classifier,
        noise_schedule: str = "linear",
        diffusion_steps: int = 1000,
        optimizer: OptimizerCallable | None = None,
        warmup_steps: int = 0,
        lr_schedule: Literal["constant", "cosine", "linear"] = "linear",
    ) -> None:
        super().__init__(optimizer, warmup_steps, lr_schedule, (3e-4, 0.05))
        self.classifier = classifier.load()
        for parameter in self.classifier.trainable():
            parameter.requires_grad_(True)
        self.classifier.train()
        self.classifier.chain = (noise_schedule, diffusion_steps)
        self.process = DiffusionProcess(make_betas(noise_schedule, diffusion_steps))
        self._dtype: torch.dtype | None = None
        self.held_out = HeldOutMeans(by_quarter=("loss", "accuracy"))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images."""
        return self.classifier.image_shape

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return self.classifier.num_classes

    def trained(self) -> list[torch.nn.Parameter]:
        return self.classifier.trainable()

    def setup(self, stage: str) -> None:
        """Check the trainer's settings."""
        self._dtype = self.check_trainer()
        self.held_out.to(self.trainer.strategy.root_device)

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Return the mean cross-entropy of the batch."""
        self.seed_dropout(batch_idx)
        index = (batch.step * self.process.num_steps).long()
        losses, right = self._losses(batch, index)
        loss = losses.mean()
        self.check_loss(loss)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", right.mean(), prog_bar=True)
        return loss

    def validation_step(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Measure held-out loss and accuracy at one step of each quarter of the chain."""
        for quarter, index in quarters(batch.step, self.process.num_steps):
            losses, right = self._losses(batch, index)
            self.held_out.update({"loss": losses, "accuracy": right}, quarter)

    def on_validation_epoch_end(self) -> None:
        self.held_out.log(self, shown="accuracy")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = description(self.classifier)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint.get(KEY) != description(self.classifier):
            raise SGMError(
                "The run folder holds a training of another model, got other flags or another chain, which cannot be "
                "resumed; choose another run_dir."
            )

    def _losses(self, batch: TrainingBatch, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B,) cross-entropies at respaced `index`, and (B,) ones where the likeliest class is the right one."""
        kind = self.device.type
        # Lightning autocasts the whole step; noise and loss stay float32.
        with torch.autocast(kind, enabled=False):
            x_t = self.process.q_sample(batch.images, index, batch.noise)
            with torch.autocast(kind, dtype=self._dtype, enabled=self._dtype is not None):
                logits = self.classifier(x_t, self.process.train_steps[index])
            logits = logits.float()
            assert batch.labels is not None  # the data have been checked against `num_classes`
            losses = functional.cross_entropy(logits, batch.labels, reduction="none")
        return losses, (logits.argmax(1) == batch.labels).float()
