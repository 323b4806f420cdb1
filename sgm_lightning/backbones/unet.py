"""`diffusers.UNet2DModel` with properties of a network that its configuration does not record."""

from __future__ import annotations

import inspect
from typing import Any

from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor

OURS: dict[str, Any] = {
    "num_heads": None,
    "time_width": None,
    "timestep_scale": 1.0,
    "null_class": False,
    "low_res_size": None,
}


class ADMUNet2DModel(UNet2DModel):
    """A `UNet2DModel` whose head count, time width, time scale, null class and input side survive saving and loading.

    Args:
        num_heads: Number of attention heads, the same on every level (improved-diffusion and ADM's `num_heads`).
        time_width: Width of the sinusoidal embedding where it differs from the first level's (ADM-512).
        timestep_scale: Factor on the train step (`rescale_timesteps` of a chain that is not 1000 long).
        null_class: Whether the last class stands for "any" (label dropout).
        low_res_size: Side of the images that an upsampler enlarges, where it is known.
        **config: Arguments of `UNet2DModel`.
    """

    def __init__(
        self,
        num_heads: int | None = None,
        time_width: int | None = None,
        timestep_scale: float = 1.0,
        null_class: bool = False,
        low_res_size: int | None = None,
        **config: Any,
    ) -> None:
        super().__init__(**config)
        self.register_to_config(
            num_heads=num_heads,
            time_width=time_width,
            timestep_scale=timestep_scale,
            null_class=null_class,
            low_res_size=low_res_size,
        )
        if num_heads is not None:
            for module in self.modules():
                if isinstance(module, Attention):
                    if module.inner_dim % num_heads:
                        raise ValueError(
                            f"num_heads must divide the {module.inner_dim} channels of a layer, got {num_heads}"
                        )
                    module.heads = module.sliceable_head_dim = num_heads
                    module.scale = (module.inner_dim // num_heads) ** -0.5
        if time_width is not None:
            self.time_proj = Timesteps(time_width, self.config.flip_sin_to_cos, self.config.freq_shift)
            self.time_embedding = TimestepEmbedding(time_width, self.time_embedding.linear_2.out_features)  # type: ignore[has-type]

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor | None = None, **kwargs: Any) -> Any:
        if self.config.timestep_scale != 1.0:
            timestep = timestep.float() * self.config.timestep_scale
        return super().forward(sample, timestep, class_labels, **kwargs)

    # diffusers reads the names that a saved configuration may hold from the signature.
    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *list(inspect.signature(UNet2DModel.__init__).parameters.values()),
            *[inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in OURS.items()],
        ]
    )
