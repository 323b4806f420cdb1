"""Everything behind `sgm-lightning predict`: the module that draws, its data, the run's writer, and early checks."""

from typing import TYPE_CHECKING

from sgm_lightning.lazy import lazy_exports

if TYPE_CHECKING:
    from sgm_lightning.predict.data import Chunk, LowResolution, SampleIndices
    from sgm_lightning.predict.evaluate import Evaluate
    from sgm_lightning.predict.module import SamplingModule
    from sgm_lightning.predict.progress import SamplingProgress
    from sgm_lightning.predict.writer import RunWriter

__all__ = ["Chunk", "Evaluate", "LowResolution", "RunWriter", "SampleIndices", "SamplingModule", "SamplingProgress"]

# Costs and checks are pure torch: they must not load Lightning.
__getattr__ = lazy_exports(
    __name__,
    {
        "Chunk": "data",
        "Evaluate": "evaluate",
        "LowResolution": "data",
        "RunWriter": "writer",
        "SampleIndices": "data",
        "SamplingModule": "module",
        "SamplingProgress": "progress",
    },
)
