"""The average of the weights."""

from __future__ import annotations

from lightning.pytorch.callbacks import WeightAveraging

from sgm_lightning.training import ema_update


class WeightAverage(WeightAveraging):
    """Exponential moving average, which validation, samples and `predict` see.

    Args:
        decay: d; after n updates min(d, (1 + n) / (10 + n)).
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=ema_update(decay))
