"""Feature extractors, which map real and generated images to vectors in the same way."""

from sgm_lightning.features.efficientnet import EfficientNetLite
from sgm_lightning.features.extractor import FeatureExtractor, ModuleFeatures
from sgm_lightning.features.fashion_mnist import FashionMNISTClassifier
from sgm_lightning.features.inception import InceptionV3
from sgm_lightning.features.library import TimmFeatures, TorchvisionFeatures
from sgm_lightning.features.noisy_classifier import NoisyClassifierFeatures
from sgm_lightning.features.normalise import Normalise
from sgm_lightning.features.random_convolutions import RandomConvolutions
from sgm_lightning.features.reference import Reference
from sgm_lightning.features.st_lpips import STLPIPSFeatures

__all__ = [
    "EfficientNetLite",
    "FashionMNISTClassifier",
    "FeatureExtractor",
    "InceptionV3",
    "ModuleFeatures",
    "NoisyClassifierFeatures",
    "Normalise",
    "RandomConvolutions",
    "Reference",
    "STLPIPSFeatures",
    "TimmFeatures",
    "TorchvisionFeatures",
]
