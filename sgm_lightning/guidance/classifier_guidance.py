"""Classifier guidance (Dhariwal & Nichol, NeurIPS 2021), and with it minority guidance (Um, Lee & Ye, ICLR 2024)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sgm_lightning.classifiers import Classifier, NoisyClassifier
from sgm_lightning.classifiers.base import check_fits, loaded
from sgm_lightning.diffusion import Denoiser, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.base import Guidance, Weighting, differentiable, labels_of
from sgm_lightning.guidance.window import Window


class ClassifierGuidance(Guidance):
    """g = scale · ∇_{x_t} log p(label | x_t, t).

    With a classifier of minority levels (`sgm-lightning score`, then `fit_classifier`) and the last level as label this is
    minority guidance, which uses scale 3.5 and label 99 on LSUN-Bedrooms. With a classifier of classes and
    `label: condition` it is the classifier guidance of Dhariwal & Nichol. The denoiser is not differentiated.

    Args:
        classifier: Classifier of noisy images, trained on the chain of the model that it guides.
        label: Class for every sample, or `condition` for the class of each sample, with class-conditional models.
        scale: Step size s.
        weighting: Rule by which the direction enters the step; see `Guidance`.
        window: Part of the chain in which the guidance acts; default all steps.

    Raises:
        SGMError: If the classifier has no such class.
    """

    def __init__(
        self,
        classifier: Classifier | NoisyClassifier,
        label: int | Literal["condition"],
        scale: float = 3.5,
        weighting: Weighting = "variance",
        window: Window | None = None,
    ) -> None:
        super().__init__(window, weighting)
        self.classifier = loaded(classifier)
        if label != "condition" and not 0 <= int(label) < self.classifier.num_classes:
            raise SGMError(
                f"label must lie in [0, {self.classifier.num_classes}), the classifier's classes, got {label}; the rarest "
                f"minority level is {self.classifier.num_classes - 1}."
            )
        self.label, self.scale = label, scale

    def acts(self, index: int, num_steps: int) -> bool:
        return self.scale != 0 and super().acts(index, num_steps)

    def check(self, denoiser: Denoiser) -> None:
        check_fits(self.classifier, denoiser.process, denoiser.image_shape)

    def forward(self, step: Step) -> Tensor:
        labels = labels_of(step, self.label)
        with torch.enable_grad():
            x = differentiable(step.x_t)
            time = step.process.time(step.index).expand(len(x))
            chosen = self.classifier(x, time).log_softmax(1).gather(1, labels[:, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), x)
        return self.scale * gradient
