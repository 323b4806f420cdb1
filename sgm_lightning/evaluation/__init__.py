"""From images to evidence: measure every image, compare the sets, write it down."""

from sgm_lightning.evaluation.evaluation import Evaluation, Results, Value
from sgm_lightning.evaluation.measure import Measure
from sgm_lightning.evaluation.report import Report
from sgm_lightning.evaluation.spaces import LoadedSpace, Space, load_spaces

__all__ = ["Evaluation", "LoadedSpace", "Measure", "Report", "Results", "Space", "Value", "load_spaces"]
