"""ADM's classifier: the encoder of a U-Net, in diffusers' blocks, and a head."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.configuration_utils import FrozenDict
from torch import Tensor, nn

from sgm_lightning.backbones.adm_flags import unet_from_flags
from sgm_lightning.backbones.adm_keys import from_adm
from sgm_lightning.classifiers.base import NoisyClassifier
from sgm_lightning.classifiers.flags import ClassifierFlags
from sgm_lightning.classifiers.pools import make_head
from sgm_lightning.errors import SGMError


class EncoderUNet(nn.Module):
    """Time embedding, first convolution, down blocks and middle block of a U-Net, under the same names.

    Args:
        unet: U-Net whose modules are used.
    """

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        # The key map of the whole network reads this; there are no up blocks here.
        self.config = FrozenDict({**unet.config, "up_block_types": ()})
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding
        self.conv_in, self.down_blocks, self.mid_block = unet.conv_in, unet.down_blocks, unet.mid_block

    @property
    def widths(self) -> list[int]:
        """Channels of every feature map that `forward` returns."""
        widths = self.config.block_out_channels
        below = [width for width in widths for _ in range(self.config.layers_per_block + 1)]
        return [widths[0], *below[:-1], widths[-1]]  # the lowest level is not halved again

    def forward(self, x: Tensor, train_step: Tensor) -> list[Tensor]:
        """Return every feature map, from the first convolution's to the middle block's."""
        embedding = self.time_embedding(self.time_proj(train_step).to(x.dtype))
        h = self.conv_in(x)
        maps = [h]
        for block in self.down_blocks:
            h, made = block(h, embedding)
            maps += made
        return [*maps, self.mid_block(h, embedding)]


class EncoderClassifier(NoisyClassifier):
    """ADM's encoder classifier (Dhariwal & Nichol 2021), random until its weights are loaded.

    Args:
        flags: Flags of the architecture.
    """

    def __init__(self, flags: ClassifierFlags) -> None:
        super().__init__()
        self.flags = flags
        self.num_classes = flags.out_channels
        self.image_shape = (flags.in_channels, flags.image_size, flags.image_size)
        self.body = EncoderUNet(unet_from_flags(flags.of_unet()))
        widths = self.body.widths
        side = flags.image_size // 2 ** (len(self.body.down_blocks) - 1)
        self.spatial = flags.classifier_pool.startswith("spatial")
        self._features_shape = (sum(widths),) if self.spatial else (widths[-1], side, side)
        self.head = make_head(
            flags.classifier_pool, widths[-1], sum(widths), side, flags.num_head_channels, flags.out_channels
        )

    def forward(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x_t, train_step))
        return logits

    def features(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """Return the middle block's output, (B, D, h, w); with a `spatial` head the means of all feature maps, (B, D)."""
        maps = self.body(x_t, train_step)
        return torch.cat([h.mean((2, 3)) for h in maps], 1) if self.spatial else maps[-1]

    def features_shape(self) -> tuple[int, ...]:
        return self._features_shape

    def describe(self) -> dict[str, Any]:
        return {"kind": "encoder", "flags": asdict(self.flags)}

    def load_adm(self, weights: dict[str, Tensor]) -> None:
        """Load the weights from ADM's state dict.

        Raises:
            SGMError: If a key is missing or left over or a shape differs: then the flags do not fit the checkpoint.
        """
        ours = {name for name in weights if name.startswith("out.")}
        body = {name: value for name, value in weights.items() if name not in ours}
        self.body.load_state_dict(from_adm(body, self.body, self.flags.use_new_attention_order))
        own = self.head.state_dict()
        found = {}
        for name in sorted(ours):
            value = weights[name].float()
            # In ADM, the projections of attention pooling are 1-d convolutions.
            found[name.removeprefix("out.")] = value.squeeze(-1) if "_proj.weight" in name else value
        wrong = [
            name for name in {*own, *found} if name not in found or name not in own or own[name].shape != found[name].shape
        ]
        if wrong:
            raise SGMError(
                f"out.{min(wrong)} of the checkpoint does not fit the flags (classifier_pool {self.flags.classifier_pool}, "
                f"out_channels {self.flags.out_channels}); give the flags of its release."
            )
        self.head.load_state_dict(found)
