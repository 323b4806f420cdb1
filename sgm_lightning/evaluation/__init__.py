"""Evaluates images: measures every image, compares the sets, and writes the results."""

from sgm_lightning.evaluation.evaluation import Evaluation
from sgm_lightning.evaluation.loaded_space import LoadedSpace
from sgm_lightning.evaluation.measures import MEASURES, Measure
from sgm_lightning.evaluation.per_image import ImageMeasurements
from sgm_lightning.evaluation.report import Report
from sgm_lightning.evaluation.results import Results, Value
from sgm_lightning.evaluation.spaces import Space, load_spaces

__all__ = [
    "MEASURES",
    "Evaluation",
    "ImageMeasurements",
    "LoadedSpace",
    "Measure",
    "Report",
    "Results",
    "Space",
    "Value",
    "load_spaces",
]
