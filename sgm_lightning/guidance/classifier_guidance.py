"""Classifier guidance (Dhariwal & Nichol, NeurIPS 2021), and with it minority guidance (Um, Lee & Ye, ICLR 2024)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sgm_lightning.classifiers import Classifier, NoisyClassifier
from sgm_lightning.classifiers.base import check_fits, loaded
from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.base import Guidance


class ClassifierGuidance(Guidance):
    """g = scale · ∇_{x_t} log p(label | x_t, t): the step's mean moves by σ² g, at every step.

    With a classifier of minority levels (`sgm-lightning score`, then `fit`) and the last of them as label this is minority
    guidance, there with scale 3.5 and label 99 on LSUN-Bedrooms; with one of classes and `label: condition` it is Dhariwal &
    Nichol's. The denoiser is not differentiated. `Window` restricts it to a part of the chain.

    Args:
        classifier: Of noisy images, trained on the chain of the model that it guides.
        label: The class for every sample, or `condition`: each sample's own class, for class-conditional models.
        scale: Step size s.
        weighting: See `Guidance`.

    Raises:
        SGMError: If the classifier has no such class.
    """

    needs_grad = False

    def __init__(
        self,
        classifier: Classifier | NoisyClassifier,
        label: int | Literal["condition"],
        scale: float = 3.5,
        weighting: Literal["variance", "constant"] = "variance",
    ) -> None:
        super().__init__()
        self.classifier = loaded(classifier)
        if label != "condition" and not 0 <= int(label) < self.classifier.num_classes:
            raise SGMError(
                f"label must lie in [0, {self.classifier.num_classes}), the classifier's classes, got {label}; the rarest "
                f"minority level is {self.classifier.num_classes - 1}."
            )
        self.label, self.scale, self.weighting = label, scale, weighting
        self._checked = False

    def active(self, index: int, num_steps: int) -> bool:
        return self.scale != 0

    def forward(
        self, denoiser: Denoiser, x_t: Tensor, denoised: Denoised, index: int, noise: Noise, condition: Condition
    ) -> Tensor:
        if not self._checked:
            check_fits(self.classifier, denoiser.process, denoiser.image_shape)
            self._checked = True
        labels = self._labels(len(x_t), condition, x_t.device)
        with torch.enable_grad():
            x = differentiable(x_t)
            step = denoiser.process.train_steps[index].expand(len(x))
            chosen = self.classifier(x, step).log_softmax(1).gather(1, labels[:, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), x)
        return self.scale * gradient

    def _labels(self, count: int, condition: Condition, device: torch.device) -> Tensor:
        if self.label != "condition":
            return torch.full((count,), int(self.label), device=device)
        labels = condition.labels
        if labels is None:
            raise SGMError("`label: condition` needs a class-conditional model, got samples without classes; set a number.")
        return labels


def differentiable(x_t: Tensor) -> Tensor:
    """x_t as a leaf of a new graph.

    Raises:
        SGMError: If gradients are forbidden.
    """
    if torch.is_inference_mode_enabled():
        raise SGMError(
            "A classifier's guidance needs gradients, which inference mode forbids, got trainer.inference_mode: true; set "
            "`trainer.inference_mode: false`."
        )
    return x_t.detach().requires_grad_()
