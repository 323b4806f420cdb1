"""Metrics against independent implementations, and their properties."""

import numpy as np
import pytest
import torch
from support.closed_forms import Mixture, closed_form, mixture

from sgm_lightning import SGMError
from sgm_lightning.diffusion import from_uint8, make_betas
from sgm_lightning.metrics import density, frechet
from sgm_lightning.metrics.neighbours import nearest
from sgm_lightning.scores import elbo

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
        (lambda: frechet.moments(FAKE[:1]), "at least 2 features, got 1"),
        (lambda: frechet.kernel_distance(FAKE, REAL, 10, 1000), "at least 1000 samples, got 400"),
    ],
)
def test_bad_features(call, word):
    with pytest.raises(SGMError, match=word):
        call()


# The bound.


def test_the_weighted_score_is_the_bound():
    """Under fixed-small variance, unclipped: w_s ‖x_0 − x0_hat(x_s)‖² is L_s, on the same draws."""
    denoiser = mixture(25)
    alphas = torch.cumprod(1 - make_betas("cosine"), 0)[denoiser.process.step_list]
    snr = alphas / (1 - alphas)
    x_0 = from_uint8(torch.randint(0, 256, (6, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8))
    for index in range(1, 25):
        assert elbo.score_weight(denoiser.process, index) == pytest.approx(
            0.5 * (snr[index - 1] - snr[index]).item(), rel=1e-5
        )
        noise = torch.randn(x_0.shape, generator=GENERATOR)
        term = elbo.bound_term(denoiser, x_0, index, noise, clip=False)
        x_s = denoiser.process.q_sample(x_0, index, noise)
        squared = (x_0 - denoiser(x_s, index).x0_hat).square().mean((1, 2, 3))
        expected = elbo.score_weight(denoiser.process, index) * squared / np.log(2)
        assert torch.allclose(term.vb, expected.float(), rtol=1e-5, atol=1e-7) and torch.equal(term.vb, term.score)


def test_what_is_no_score_is_reported_apart():
    """Fixed-large variance: the rest of the term is a constant, the bracket of the variances' ratio."""
    denoiser = mixture(25, "fixed_large")
    x_0 = from_uint8(torch.randint(0, 256, (6, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8))
    term = elbo.bound_term(denoiser, x_0, 12, torch.randn(x_0.shape, generator=GENERATOR))
    rest = term.vb - term.score
    ratio = float(denoiser.process.posterior_variance[12] / denoiser.process.betas[12])
    assert torch.allclose(rest, torch.full_like(rest, 0.5 * (ratio - 1 - np.log(ratio)) / np.log(2)), atol=1e-6)


def test_strata_estimate_the_full_sum():
    denoiser = mixture(41)
    images = torch.randint(0, 256, (16, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8)
    ratios = []
    for seed in range(16):
        full = elbo.negative_elbo(images, denoiser, seed, range(16))
        assert (full.standard_error == 0).all() and (full.score <= full.total).all()
        part = elbo.negative_elbo(images, denoiser, seed, range(16), num_strata=8)
        ratios.append(((part.total - full.total).mean() / part.standard_error.mean()).item())
    assert abs(np.mean(ratios)) < 3 * np.std(ratios) / 16**0.5 + 0.1  # unbiased
    assert np.std(ratios) < 2  # and the error it states is of the right size
    with pytest.raises(SGMError, match="between 1 and 40"):
        elbo.negative_elbo(images, denoiser, 0, range(16), num_strata=41)


def test_the_bound_finds_a_gaussian():
    """Where the model is exact, the bound on 1000 steps is −log p of the level, in bits per dimension."""
    betas = make_betas("cosine")
    network = Mixture(torch.zeros(1, 4, 4), 0.1, torch.cumprod(1 - betas, 0).float())
    denoiser = closed_form(network, schedule="cosine", variance="fixed_large")
    levels = torch.tensor([50, 100, 127, 180, 250], dtype=torch.uint8)
    images = levels.view(5, 1, 1, 1, 1).expand(5, 64, 1, 4, 4).reshape(320, 1, 4, 4)
    found = elbo.negative_elbo(images, denoiser, 0, list(range(64)) * 5, clip=False).total.view(5, 64).mean(1)
    x = from_uint8(levels)
    truth = (0.5 * x.square() / 0.1 + 0.5 * np.log(2 * np.pi * 0.1) - np.log(2 / 255)) / np.log(2)
    assert torch.allclose(found, truth, atol=0.2)
    # What one level has over another hardly depends on the noise, which all levels share.
    assert torch.allclose(found - found[2], truth - truth[2], atol=0.06)
