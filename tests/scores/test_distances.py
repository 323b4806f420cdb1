"""Distances between images."""

import pytest
import torch
from support.paths import GOLDENS
from torch import nn

from sgm_lightning import LPIPS, FeatureDistance, Lp, SGMError
from sgm_lightning.files.digest import module_settings
from sgm_lightning.scores import PerComplexity


def test_feature_distance_measures_in_the_extractors_space():
    a, b = torch.rand(2, 3, 1, 4, 4)
    double = nn.Conv2d(1, 1, 1, bias=False)
    double.weight.data.fill_(2.0)
    assert torch.allclose(FeatureDistance(double)(a, b), 2 * Lp()(a, b))


@pytest.mark.slow
def test_lpips_on_small_gray_images(caplog):
    distance = LPIPS("squeeze", features=GOLDENS / "squeezenet_features_random.safetensors")
    a, b = torch.rand(2, 3, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(distance(a, a), torch.zeros(3))
    found = distance(a, b)
    assert found.shape == (3,) and bool((found > 0).all()) and "enlarged" in caplog.text
    assert torch.allclose(found, distance(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1)))
    with pytest.raises(SGMError, match="lack"):
        LPIPS("vgg", features=GOLDENS / "squeezenet_features_random.safetensors")


def test_a_name_is_no_setting():
    """Settings on record name what determines a score; words about it may change."""
    for distance in (Lp(1.0), PerComplexity()):
        assert not any("name" in key for key in module_settings(distance)["settings"])
