"""The LightningModule that trains a backbone."""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers.models.resnet import ResnetBlock2D
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from sgm_lightning.backbones import Backbone, Checkpoint, NewNetwork
from sgm_lightning.backbones.lora import LoRA
from sgm_lightning.backbones.rebuild import with_classes
from sgm_lightning.backbones.trained import check_same, training_state
from sgm_lightning.backbones.unet_backbone import as_unet
from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.diffusion.pixels import to_uint8
from sgm_lightning.errors import SGMError
from sgm_lightning.fit.card import model_card
from sgm_lightning.fit.draws import TrainingBatch
from sgm_lightning.fit.held_out import HeldOutMeans, quarters
from sgm_lightning.fit.objective import Objective
from sgm_lightning.fit.optimised import OptimisedModule
from sgm_lightning.fit.skill import Skill, SkillByLevel, measured
from sgm_lightning.fit.step_samplers import StepSampler, UniformSteps
from sgm_lightning.scores.elbo import negative_elbo


class TrainingModule(OptimisedModule):
    """Trains a backbone with an objective and an optimiser in Lightning's fit loop.

    Args:
        backbone: Model to start from: a checkpoint of any kind, or a `NewNetwork`.
        objective: Training loss; default: hybrid if the model learns its variance, else simple.
        step_sampler: Distribution of the steps that are trained; default: uniform.
        optimizer: Optimiser of the weights; default: AdamW with learning rate 1e-4 and no weight decay.
        warmup_steps: Number of steps until the full learning rate.
        lr_schedule: Learning rate after the warm-up: `constant`, or `cosine` or `linear` down to zero at
            `trainer.max_steps`.
        dropout: Dropout rate in the residual blocks; default: that of the checkpoint.
        num_classes: Number of classes on which an unconditional network is made conditional.
        label_dropout: Share of labels that are replaced by "any", an additional class.
        lora: Low-rank adapters, which are trained in place of the weights.
        gradient_checkpointing: Whether to compute activations twice and keep fewer of them in memory.
        compile: Whether to compile the network (`torch.compile`).
        nelbo_images: Number of held-out pictures whose likelihood is bounded at every validation; 0 for none.
        nelbo_spacing: Steps of the chain on which the likelihood is bounded.

    Raises:
        SGMError: If the settings do not fit the model.
    """

    def __init__(
        self,
        backbone: Checkpoint,
        objective: Objective | None = None,
        step_sampler: StepSampler | None = None,
        optimizer: OptimizerCallable | None = None,
        warmup_steps: int = 0,
        lr_schedule: Literal["constant", "cosine", "linear"] = "constant",
        dropout: float | None = None,
        num_classes: int | None = None,
        label_dropout: float = 0.0,
        lora: LoRA | None = None,
        gradient_checkpointing: bool = False,
        compile: bool = False,
        nelbo_images: int = 64,
        nelbo_spacing: str | int | None = "100",
    ) -> None:
        super().__init__(optimizer, warmup_steps, lr_schedule, (1e-4, 0.0))
        loaded = as_unet(backbone.load())
        _check(loaded, num_classes, dropout, label_dropout)
        classes = num_classes or loaded.num_classes
        self.backbone = loaded if classes is None else with_classes(loaded, classes, label_dropout > 0)
        network = self.backbone.network
        if dropout is not None:
            _set_dropout(network, dropout)
        if lora is not None and isinstance(backbone, NewNetwork):
            raise SGMError("LoRA needs a trained network, but a NewNetwork's last layer is zero; leave `model.lora` out.")
        self.lora = lora
        _choose_trained(network, lora, new_embedding=network is not loaded.network)
        if gradient_checkpointing:
            network.enable_gradient_checkpointing()
        if compile:
            rank_zero_info("The network is compiled in the first step, which takes minutes on a CPU.")
            network.compile()
        network.train()  # loaders leave networks in evaluation mode, and Lightning keeps what it finds
        self.denoiser = self.backbone.denoiser(frozen=False)
        self.objective = objective or Objective("hybrid" if self.backbone.variance == "learned_range" else "simple")
        self.objective.check(self.denoiser)
        self.step_sampler = step_sampler or UniformSteps()
        self.label_dropout = label_dropout
        self.nelbo_images, self.nelbo_spacing = nelbo_images, nelbo_spacing
        self.held_out = HeldOutMeans(by_quarter=["loss"], once=["nelbo"] if nelbo_images else [])
        self.skill = SkillByLevel(self.denoiser.process, self.image_shape)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the model's images."""
        return self.backbone.image_shape

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the model, not counting the null class."""
        return self.backbone.num_classes

    def setup(self, stage: str) -> None:
        """Check the trainer's settings."""
        dtype = self.check_trainer()
        if self.nelbo_images:
            self.evaluator(self.nelbo_spacing)  # raises now rather than at the first validation
        self.held_out.to(self.trainer.strategy.root_device)
        self.denoiser.calls.autocast_dtype = dtype
        self.step_sampler.probabilities(self.denoiser.process.num_steps)  # raises if it is for another chain

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Return the mean loss of the batch."""
        self.seed_dropout(batch_idx)
        index, weight = self.step_sampler(batch.step, self.denoiser.process.num_steps)
        # Lightning autocasts the whole step; schedule and loss stay float32, and the denoiser autocasts its network.
        with torch.autocast(self.device.type, enabled=False):
            losses = self.objective(self.denoiser, batch.images, index, batch.noise, self._condition(batch))
            loss = (losses.loss * weight).mean()
        if self.step_sampler.learns:
            gathered = self.all_gather((index, losses.loss.detach()))
            self.step_sampler.update(*(values.flatten() for values in gathered))
        self.check_loss(loss)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/simple", losses.simple.mean())
        if losses.bound is not None:
            self.log("train/bound", losses.bound.mean())
        return loss

    def validation_step(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Measure the loss at one step of each quarter of the chain, the skill by level and, on some images, the bound."""
        condition = Condition(batch.labels if self.num_classes else None)
        with torch.autocast(self.device.type, enabled=False):
            for quarter, index in quarters(batch.step, self.denoiser.process.num_steps):
                simple = self.objective(self.denoiser, batch.images, index, batch.noise, condition).simple
                self.held_out.update({"loss": simple}, quarter)
            some = measured(batch.indices, self.trainer.datamodule.num_held_out)  # type: ignore[attr-defined]
            self.skill.update(self.denoiser, batch.images[some], batch.noise[some], condition.select(some))
            some = batch.indices < self.nelbo_images
            if bool(some.any()):
                images = to_uint8(batch.images[some] + 1 / 255)  # to the nearest level; 16 bits are rounded to 8
                chain = self.evaluator(self.nelbo_spacing)
                strata = min(10, chain.process.num_steps - 1)  # a short chain has no more
                found = negative_elbo(images, chain, 0, batch.indices[some].tolist(), strata, condition.select(some))
                self.held_out.update({"nelbo": found.total})

    def on_validation_epoch_end(self) -> None:
        held_out, skill, warning = self.held_out.log(self, shown="nelbo"), self.skill.compute(), None
        self.skill.reset()
        if skill is not None:
            warning = skill.warning(self.denoiser.model.prediction, self.objective.min_snr_gamma is not None)
            self._tell(skill, warning)
        step, pictures = self.trainer.global_step, self.trainer.datamodule.images_per_step  # type: ignore[attr-defined]
        self.card = model_card(self.backbone, step, pictures, held_out, skill, warning)

    def _tell(self, skill: Skill, warning: str | None) -> None:
        """Write the skill to the log and to TensorBoard."""
        for tag, value in zip(skill.tags, skill.values, strict=True):
            self.log(f"held_out/skill_at_{tag}", value)
        step = self.trainer.global_step
        rank_zero_info(f"Skill by log-SNR at step {step}: {skill}.")
        if warning is None:
            return
        rank_zero_warn(warning)
        if self.trainer.is_global_zero and isinstance(self.logger, TensorBoardLogger):
            self.logger.experiment.add_text("held_out/skill", warning, step)

    def evaluator(self, spacing: str | int | None) -> Denoiser:
        """Return the network in its current state, on another chain."""
        denoiser = self.backbone.denoiser(spacing, frozen=False).to(self.device)
        denoiser.calls = self.denoiser.calls
        return denoiser

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self._description())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_same(checkpoint, self._description())

    def _description(self) -> dict[str, Any]:
        return training_state(self.backbone, None if self.lora is None else self.lora.settings, self.step_sampler)

    def _condition(self, batch: TrainingBatch) -> Condition:
        if self.num_classes is None or batch.labels is None:
            return Condition()
        if not self.label_dropout:
            return Condition(batch.labels)
        return Condition(torch.where(batch.drop < self.label_dropout, self.backbone.null_class or 0, batch.labels))


def _check(loaded: Backbone, num_classes: int | None, dropout: float | None, label_dropout: float) -> None:
    """Raise unless the settings fit the model."""
    for name, share in (("dropout", dropout), ("label_dropout", label_dropout)):
        if share is not None and not 0 <= share < 1:
            raise SGMError(f"{name} must lie in [0, 1), got {share}; 0.1 is usual.")
    if loaded.upsampler:
        raise SGMError("Upsamplers cannot be trained here; set `model.backbone` to a base model.")
    if num_classes is None and loaded.num_classes is None and label_dropout:
        raise SGMError("label_dropout needs classes, but the model is unconditional; set `model.num_classes`.")


def _choose_trained(network: nn.Module, lora: LoRA | None, new_embedding: bool) -> None:
    """Make all weights trainable; with LoRA only its adapters, and the embeddings of new classes."""
    if lora is None:
        network.requires_grad_(True)
        return
    lora.inject(network)
    if new_embedding:  # they are zero: no adapter can make up for them
        network.class_embedding.requires_grad_(True)  # type: ignore[operator, union-attr]


def _set_dropout(network: nn.Module, rate: float) -> None:
    for module in network.modules():
        if isinstance(module, ResnetBlock2D):
            module.dropout.p = rate
