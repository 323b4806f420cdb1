"""Means of features by class."""

import pytest
import torch
from support.levels import FLAGS
from support.networks import small_model

from sgm_lightning import DiffusersCheckpoint, SGMError
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier
from sgm_lightning.features import NoisyClassifierFeatures
from sgm_lightning.features.class_means import class_means
from sgm_lightning.guidance import LowDensityGuidance
from sgm_lightning.images import FashionMNIST
from sgm_lightning.images.base import ArrayImages

pytestmark = pytest.mark.usefixtures("own_cache")


def test_class_means_are_means_by_class():
    extractor = NoisyClassifierFeatures(NewClassifier(ClassifierFlags(**FLAGS)))
    images = FashionMNIST(limit=40)
    found, features = class_means(extractor, images, batch_size=7), extractor.of(images)
    for label in range(10):
        torch.testing.assert_close(found[label], features[images.labels == label].mean(0), rtol=1e-4, atol=1e-5)


def test_what_has_no_mean_is_refused():
    extractor = NoisyClassifierFeatures(NewClassifier(ClassifierFlags(**FLAGS)))
    pictures = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(SGMError, match=r"none of class 0.*\.$"):
        class_means(extractor, ArrayImages(pictures, torch.tensor([1, 2])))
    with pytest.raises(SGMError, match=r"need classes.*\.$"):
        class_means(extractor, ArrayImages(pictures))
    denoiser = DiffusersCheckpoint(small_model(10)).load().denoiser(3)
    guidance = LowDensityGuidance(NewClassifier(ClassifierFlags(**FLAGS)), torch.ones(9, 32))
    with pytest.raises(SGMError, match=r"got 9 for 10 classes.*\.$"):
        guidance.check(denoiser)
