"""Metrics against independent implementations, and their properties."""

import numpy as np
import pytest
import torch

from sgm_lightning import SGMError
from sgm_lightning.metrics import density, frechet
from sgm_lightning.metrics.neighbours import nearest

GENERATOR = torch.Generator().manual_seed(0)
REAL = torch.randn(700, 12, generator=GENERATOR) + 5.0
FAKE = 1.3 * torch.randn(400, 12, generator=GENERATOR) + 5.2


def test_neighbours_equal_scikit_learn():
    from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

    reference = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(REAL.double().numpy())
    distances, indices = reference.kneighbors(FAKE.double().numpy())
    found = nearest(FAKE, REAL, 5)
    assert np.allclose(found.distances, distances, rtol=1e-9) and np.array_equal(found.indices, indices)
    assert np.allclose(density.avg_knn(FAKE, REAL), distances.mean(1), rtol=1e-5)
    own, _ = reference.kneighbors()
    assert np.allclose(nearest(REAL, REAL, 5, exclude_self=True).distances, own, rtol=1e-9)
    outlier = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(REAL.double().numpy())
    expected = -outlier.score_samples(FAKE.double().numpy())
    assert np.allclose(density.local_outlier_factor(FAKE, REAL), expected, rtol=1e-5)


@pytest.mark.parametrize("k", [3, 5])
def test_prdc_equals_its_reference(k):
    from prdc import compute_prdc

    expected = compute_prdc(REAL.double().numpy(), FAKE.double().numpy(), k)
    found = density.prdc(FAKE, REAL, k)._asdict()
    assert found == pytest.approx(expected, abs=1e-12)
    single = density.fidelity(FAKE, REAL, k)
    assert float(single.precision.mean()) == pytest.approx(found["precision"])
    assert float(single.density.mean()) == pytest.approx(found["density"])


def test_fid_and_kid_equal_torch_fidelity():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    statistics = [fid_features_to_statistics(features.double()) for features in (FAKE, REAL)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet.frechet_distance(frechet.moments(FAKE), frechet.moments(REAL)) == pytest.approx(expected, rel=1e-3)
    options = {"kid_subsets": 1, "kid_subset_size": 400, "verbose": False, "rng_seed": 1}
    expected = kid_features_to_metric(FAKE.double(), REAL[:400].double(), **options)["kernel_inception_distance_mean"]
    assert frechet.kernel_distance(FAKE, REAL[:400], 1, 400).value == pytest.approx(expected, rel=1e-3)


def test_blocks_do_not_matter(monkeypatch):
    whole = density.rarity_score(FAKE, REAL), density.local_outlier_factor(FAKE, REAL), density.prdc(FAKE, REAL)
    monkeypatch.setattr("sgm_lightning.metrics.neighbours._BLOCK", 3000)
    parts = density.rarity_score(FAKE, REAL), density.local_outlier_factor(FAKE, REAL), density.prdc(FAKE, REAL)
    assert torch.allclose(whole[0], parts[0], rtol=1e-12) and torch.allclose(whole[1], parts[1], rtol=1e-12)
    assert whole[2] == parts[2]


def test_identical_sets():
    assert abs(frechet.frechet_distance(frechet.moments(REAL), frechet.moments(REAL))) < 1e-3
    found = density.prdc(REAL, REAL)
    assert found.precision == found.recall == found.coverage == 1
    assert (density.avg_knn(REAL, REAL, 1) == 0).all()


def test_close_calls_are_decided_in_float64():
    """A sample a hair outside or inside a ball, far from the origin, where float32 distances are noise."""
    real = torch.tensor([[0.0, 0], [1, 0], [50, 0], [51, 0]], dtype=torch.float64) + 1000
    inside, outside = (
        real[:1] + torch.tensor([[0.0, 1 - 1e-9]], dtype=real.dtype),
        real[:1] + torch.tensor([[0.0, 1 + 1e-9]], dtype=real.dtype),
    )
    assert density.rarity_score(torch.cat([inside, outside]), real, k=1).tolist() == [1.0, 0.0]


def test_memorised_share():
    training, held_out = REAL[:350], REAL[350:]
    assert density.memorised_share(training + 1e-3, training, held_out).all()
    assert not density.memorised_share(held_out + 1e-3, training, held_out).any()
    assert abs(float(density.memorised_share(FAKE, training, held_out).double().mean()) - 0.5) < 0.1


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: density.avg_knn(FAKE, REAL[:4], 5), "at least 5 reference samples, got 4"),
        (lambda: density.local_outlier_factor(FAKE, REAL[:20], 20), "at least 21 reference samples, got 20"),
        (lambda: density.avg_knn(FAKE.clone().fill_(float("nan")), REAL), "NaN"),
        (lambda: density.avg_knn(FAKE[:, :, None], REAL), r"\(400, 12, 1\)"),
        (lambda: frechet.moments(FAKE[:1]), "at least 2 reference samples, got 1"),
        (lambda: frechet.kernel_distance(FAKE, REAL, 10, 1000), "at least 1000 samples, got 400"),
    ],
)
def test_bad_features(call, word):
    with pytest.raises(SGMError, match=word):
        call()
