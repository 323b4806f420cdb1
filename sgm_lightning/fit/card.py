"""The model card of a training."""

from __future__ import annotations

from collections.abc import Mapping

from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.fit.skill import Skill
from sgm_lightning.version import __version__

_PREDICTION = {"epsilon": "the noise", "sample": "x_0", "v_prediction": "v"}
_VARIANCE = {"learned_range": "learned", "fixed_small": "fixed and small", "fixed_large": "fixed and large"}


def model_card(
    backbone: UNetBackbone,
    step: int,
    images_per_step: int,
    held_out: Mapping[str, float],
    skill: Skill | None,
    warning: str | None,
) -> str:
    """Return the card in Markdown.

    Args:
        backbone: Model that is trained.
        step: Number of steps that it has been trained for.
        images_per_step: Number of pictures in a step.
        held_out: Means over held-out pictures by name: `loss`, `loss_quarter_1` … and, if it was measured, `nelbo`.
        skill: Skill by noise level, or None if it was not measured.
        warning: Sentence on levels without skill, or None.
    """
    size = " × ".join(str(length) for length in backbone.image_shape)
    parameters = sum(parameter.numel() for parameter in backbone.network.parameters()) / 1e6
    classes = "no classes" if backbone.num_classes is None else f"{backbone.num_classes} classes"
    quarters = ", ".join(f"{value:.4g}" for name, value in held_out.items() if name.startswith("loss_quarter"))
    bound = f" The bound is {held_out['nelbo']:.3f} bits per dimension." if "nelbo" in held_out else ""
    parts = [
        f"# A diffusion model of {size}, step {step:,}",
        f"**Model.** U-Net of {parameters:.2f} M parameters with {classes}. It predicts {_PREDICTION[backbone.prediction]} "
        f"on a chain of {len(backbone.betas)} steps (schedule: {backbone.schedule}), and its variance is "
        f"{_VARIANCE[backbone.variance]}.",
        f"**Training.** {step:,} steps of {images_per_step} pictures by sgm_lightning {__version__}; `config.yaml` has the "
        "settings.",
        "**Held-out pictures**, with the weights that `TrainedCheckpoint` loads: the mean squared error of the prediction "
        f"is {held_out['loss']:.4g}; by quarter of the chain, from the least noisy on, {quarters}.{bound}",
    ]
    if skill is not None:
        parts += [
            "**Skill by noise level**: 1 − error / reference. The error is the mean squared one of x0_hat for values in "
            "[−1, 1], not clipped; the reference is that of the mean picture or, above log-SNR 0, of the scaled input if it "
            f"is smaller ({skill.pictures} held-out pictures).",
            _table(skill),
        ]
    if warning is not None:
        parts.append(f"**Warning.** {warning}")
    return "\n\n".join(parts) + "\n"


def _table(skill: Skill) -> str:
    rows = [
        ["log-SNR", *skill.names],
        ["---"] * (1 + len(skill.names)),
        ["error", *(f"{value:.3g}" for value in skill.errors)],
        ["reference", *(f"{value:.3g}" for value in skill.references)],
        ["skill", *(f"{value:.3f}".replace("-", "−") for value in skill.values)],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
