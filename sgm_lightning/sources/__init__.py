"""Pictures to train on: of any size, decoded one by one."""

from sgm_lightning.sources.base import Source
from sgm_lightning.sources.files import CSVSource, FolderSource
from sgm_lightning.sources.images import ImagesSource
from sgm_lightning.sources.levels import MinorityLevels
from sgm_lightning.sources.long_tail import LongTail, long_tail_counts
from sgm_lightning.sources.real_and_drawn import RealAndDrawn

__all__ = [
    "CSVSource",
    "FolderSource",
    "ImagesSource",
    "LongTail",
    "MinorityLevels",
    "RealAndDrawn",
    "Source",
    "long_tail_counts",
]
