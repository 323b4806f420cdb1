"""Networks of torchvision and timm by name, without their heads."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.features.extractor import ModuleFeatures, load_weights
from sgm_lightning.features.normalise import Normalise

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Short names that papers use.
_TIMM_NAMES = {"dinov2": "vit_large_patch14_dinov2.lvd142m"}


class TorchvisionFeatures(ModuleFeatures):
    """Input of the last linear layer of a torchvision classifier.

    Args:
        model: Name of the model, such as resnet50 or convnext_tiny.
        weights: File with a state dict; default: torchvision's download.
        size: Side in pixels to which images are resized.
        repeat_gray: Whether to repeat one channel to three instead of refusing gray images.
    """

    def __init__(self, model: str, weights: str | None = None, size: int = 224, repeat_gray: bool = False) -> None:
        try:
            network = torchvision.models.get_model(model, weights=None if weights else "DEFAULT")
        except ValueError:
            raise SGMError(f"torchvision has no model {model}; `torchvision.models.list_models()` lists them.") from None
        except OSError as error:
            raise _no_download(model, error) from None
        if weights is not None:
            load_weights(network, weights)
        _drop_head(network)
        super().__init__(network, Normalise(size=size, repeat_gray=repeat_gray, **_IMAGENET), name=f"{model} (torchvision)")


class TimmFeatures(ModuleFeatures):
    """Pooled features of a timm model: DINOv2 for FD-DINOv2 (Stein et al. 2023), CLIP, ConvNeXt, ….

    Args:
        model: Name in timm, or `dinov2` for vit_large_patch14_dinov2.lvd142m.
        weights: File with a state dict; default: timm's download.
        size: Side in pixels to which images are resized; default the model's.
        repeat_gray: Whether to repeat one channel to three instead of refusing gray images.
    """

    def __init__(self, model: str, weights: str | None = None, size: int | None = None, repeat_gray: bool = False) -> None:
        try:
            import timm
        except ImportError:
            raise SGMError("TimmFeatures needs `timm`; install it with `pip install 'sgm-lightning[timm]'`.") from None
        options: dict[str, Any] = {"img_size": size} if size is not None and "vit" in _TIMM_NAMES.get(model, model) else {}
        try:
            network = timm.create_model(_TIMM_NAMES.get(model, model), pretrained=weights is None, num_classes=0, **options)
        except RuntimeError as error:
            if "Unknown model" not in str(error):
                raise _no_download(model, error) from None
            raise SGMError(f"timm has no model {model}; `timm.list_models()` lists them.") from None
        except Exception as error:  # the hub's client raises many classes of errors
            raise _no_download(model, error) from None
        if weights is not None:
            load_weights(network, weights)
        config = timm.data.resolve_model_data_config(network)  # type: ignore[attr-defined]
        prepare = Normalise(
            size=size or config["input_size"][-1],
            channels=config["input_size"][0],
            repeat_gray=repeat_gray,
            mean=config["mean"],
            std=config["std"],
        )
        super().__init__(network, prepare, name=f"{model} (timm)")


def _drop_head(network: nn.Module) -> None:
    """Replace the last linear layer by the identity."""
    name, _ = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent) if parent else network, last, nn.Identity())


def _no_download(model: str, error: BaseException) -> SGMError:
    return SGMError(
        f"The weights of {model} cannot be downloaded ({reason_of(error)}); give their state dict as `weights: FILE`."
    )
