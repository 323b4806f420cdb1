"""Low-density sampling (Sehwag et al., CVPR 2022, arXiv 2203.17260)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from sgm_lightning.classifiers import Classifier, NoisyClassifier
from sgm_lightning.classifiers.base import check_fits, loaded
from sgm_lightning.diffusion import Denoiser, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import load_finite
from sgm_lightning.guidance.base import Guidance, Weighting, differentiable, labels_of, largest_is_one
from sgm_lightning.guidance.window import Window

_REMEDY = "make them with `sgm-lightning features --class_means true` and this classifier"
_REAL = 1  # the discriminator's class of real images, see `images.RealAndDrawn`


class LowDensityGuidance(Guidance):
    """g = alpha · ∇ L_1 + beta · ∇ L_2: away from the mean of the sample's class, but towards real images.

    L_1 = −log( exp(τ cos(f(x_t), μ_y)) / Σ_k exp(τ cos(f(x_t), μ_k)) ), where f are the pooled features of a classifier of
    noisy images and μ_k is their mean over class k; L_2 = log p(real | x_t, t) of a discriminator between real images and
    samples of the model.

    The paper gives the two terms, a discriminator trained on noisy real and drawn images, a small alpha, and a beta that
    keeps the samples on the data's manifold. The rest is our reading, not checked against the authors' code: cosines and τ
    in L_1, means over clean images at t = 0, and `normalize`, which makes alpha and beta step sizes and can be switched off.

    Args:
        classifier: Classifier whose features are f, trained on the chain of the model that is guided.
        means: `.safetensors` file whose `means` is (K, D) float32, one row for every class of the model, in the classifier's
            D features; `sgm-lightning features --class_means true` writes it.
        alpha: Strength of L_1.
        discriminator: Classifier of two classes, the second real; none with beta 0.
        beta: Strength of L_2.
        tau: Inverse temperature τ of the cosines.
        label: Class y for every sample, or `condition` for the class of each sample.
        normalize: Whether to divide each gradient by its largest absolute value, per sample; a zero gradient stays zero.
        weighting: Rule by which the direction enters the step; see `Guidance`.
        window: Part of the chain in which the guidance acts; default all steps.

    Raises:
        SGMError: If the means do not fit the classifier or miss a class of the model, or the discriminator is missing or
            has not two classes.
    """

    def __init__(
        self,
        classifier: Classifier | NoisyClassifier,
        means: str | Tensor,
        alpha: float = 0.5,
        discriminator: Classifier | NoisyClassifier | None = None,
        beta: float = 0.0,
        tau: float = 1.0,
        label: int | Literal["condition"] = "condition",
        normalize: bool = True,
        weighting: Weighting = "variance",
        window: Window | None = None,
    ) -> None:
        super().__init__(window, weighting)
        if beta and discriminator is None:
            raise SGMError(f"beta weighs a discriminator, got {beta} without one; set `discriminator`, or `beta: 0`.")
        if tau <= 0:
            raise SGMError(f"tau must be positive, got {tau}.")
        self.classifier = loaded(classifier)
        self.discriminator = None if discriminator is None else loaded(discriminator)
        if self.discriminator is not None and self.discriminator.num_classes != 2:
            raise SGMError(
                f"The discriminator must have two classes, got {self.discriminator.num_classes}; train it on two."
            )
        found = means if isinstance(means, Tensor) else load_finite(locate(means), _REMEDY).get("means")
        if found is None or found.ndim != 2 or not found.is_floating_point():
            raise SGMError(
                f"{_named(means)} must hold `means` of shape (classes, features), got "
                f"{None if found is None else tuple(found.shape)}; {_REMEDY}."
            )
        width = self.classifier.features_shape()[0]
        if found.shape[1] != width:
            raise SGMError(
                f"{_named(means)} must hold means of the classifier's {width} features, got {found.shape[1]}; {_REMEDY}."
            )
        if label != "condition" and not 0 <= int(label) < len(found):
            raise SGMError(f"label must lie in [0, {len(found)}), the classes that have a mean, got {label}.")
        self.means: Tensor
        self.register_buffer("means", functional.normalize(found.float(), dim=1))
        self.alpha, self.beta, self.tau, self.label = alpha, beta, tau, label
        self.normalize = normalize

    def acts(self, index: int, num_steps: int) -> bool:
        return bool(self.alpha or self.beta) and super().acts(index, num_steps)

    def check(self, denoiser: Denoiser) -> None:
        for classifier in (self.classifier, self.discriminator):
            if classifier is not None:
                check_fits(classifier, denoiser.process, denoiser.image_shape)
        if self.label == "condition" and (denoiser.num_classes or 0) > len(self.means):
            raise SGMError(
                f"Every class of the model must have a mean, got {len(self.means)} for {denoiser.num_classes} classes; "
                f"{_REMEDY} from images of all classes."
            )

    def forward(self, step: Step) -> Tensor:
        labels = labels_of(step, self.label)
        time = step.process.time(step.index).expand(len(step.x_t))
        total = torch.zeros_like(step.x_t.detach())
        with torch.enable_grad():
            if self.alpha:
                x = differentiable(step.x_t)
                total = total + self.alpha * self._gradient(self.hardness(x, time, labels), x)
            if self.beta and self.discriminator is not None:
                x = differentiable(step.x_t)
                total = total + self.beta * self._gradient(self.discriminator(x, time).log_softmax(1)[:, _REAL], x)
        return total

    def hardness(self, x_t: Tensor, train_step: Tensor, labels: Tensor) -> Tensor:
        """Return L_1, (B,): high for samples that are unlike their class's mean, compared with the means of all classes."""
        return functional.cross_entropy(
            self.tau * functional.normalize(self.classifier.pooled(x_t, train_step), dim=1) @ self.means.T,
            labels,
            reduction="none",
        )

    def _gradient(self, values: Tensor, x: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(values.sum(), x)
        return largest_is_one(gradient) if self.normalize else gradient


def _named(means: str | Tensor) -> str:
    return "`means`" if isinstance(means, Tensor) else means
