"""Levels of scores as labels of images, and sets that are put together."""

import numpy as np
import pytest
import torch
from support.levels import COUNT

from sgm_lightning import SGMError
from sgm_lightning.images import FashionMNIST, MinorityLevels, RealAndDrawn
from sgm_lightning.images.levels import level_of, thresholds

pytestmark = pytest.mark.usefixtures("own_cache")


def test_levels_are_the_released_ones():
    """The release: level j where q_j < score ≤ q_{j+1}, with the quantiles i / L, the last of them the maximum."""
    scores = torch.rand(1000, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    at = thresholds(scores, 10)
    levels = level_of(scores, at)
    edges = torch.quantile(scores, torch.arange(1, 11) / 10)
    for value, level in zip(scores.tolist(), levels.tolist(), strict=True):
        below = -1.0 if level == 0 else float(edges[level - 1])
        assert below - 1e-6 < value <= float(edges[level]) + 1e-6
    unlike = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.bincount(level_of(unlike, thresholds(unlike, 10))).tolist() == [100] * 10
    with pytest.raises(SGMError, match="num_levels"):
        thresholds(scores[:5], 10)


# The sources


def test_levels_belong_to_their_pictures(scored):
    file = str(scored / "levels.safetensors")
    assert len(MinorityLevels(FashionMNIST(limit=COUNT), file)) == COUNT
    with pytest.raises(SGMError, match="other pictures"):
        MinorityLevels(FashionMNIST("test", limit=COUNT), file)
    with pytest.raises(SGMError, match="got a source of 5"):
        MinorityLevels(FashionMNIST(limit=5), file)
    with pytest.raises(SGMError, match="sgm-lightning score"):
        MinorityLevels(FashionMNIST(limit=COUNT), str(scored / "none.safetensors"))


def test_real_and_drawn():
    drawn, real = FashionMNIST(limit=2), FashionMNIST("test", limit=3)
    both = RealAndDrawn(drawn, real)
    assert len(both) == 5 and both.labels.tolist() == [0, 0, 1, 1, 1]
    assert np.array_equal(both.picture(1), drawn.picture(1)) and np.array_equal(both.picture(2), real.picture(0))
