"""A run on disk: chunk files, manifest, claims and the merge. Several processes on several hosts may share one run."""

from sgm_lightning.run.claims import Claims
from sgm_lightning.run.manifest import DRAW_VERSION
from sgm_lightning.run.parts import Parts
from sgm_lightning.run.queue import ChunkQueue
from sgm_lightning.run.run_dir import RunDir

__all__ = ["DRAW_VERSION", "ChunkQueue", "Claims", "Parts", "RunDir"]
