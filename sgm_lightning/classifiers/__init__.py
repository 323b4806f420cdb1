"""Classifiers of noisy images, and their sources. Their bodies consist of diffusers' blocks."""

from sgm_lightning.classifiers.adm import ADMClassifier, NewClassifier
from sgm_lightning.classifiers.base import Classifier, NoisyClassifier
from sgm_lightning.classifiers.encoder import EncoderClassifier
from sgm_lightning.classifiers.flags import ClassifierFlags
from sgm_lightning.classifiers.stacked import StackedClassifier, StackedNetwork
from sgm_lightning.classifiers.trained import TrainedClassifier, save_classifier

__all__ = [
    "ADMClassifier",
    "Classifier",
    "ClassifierFlags",
    "EncoderClassifier",
    "NewClassifier",
    "NoisyClassifier",
    "StackedClassifier",
    "StackedNetwork",
    "TrainedClassifier",
    "save_classifier",
]
