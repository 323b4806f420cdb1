"""The metrics as torchmetrics: order, batches, repetition and processes do not matter."""

import os

import pytest
import torch
import torch.multiprocessing as multiprocessing
from support.closed_forms import mixture

from sgm_lightning import MinorityScore, NoiseLevel, SGMError
from sgm_lightning.metrics import (
    AvgKNN,
    FrechetDistance,
    KernelDistance,
    LocalOutlierFactor,
    Memorised,
    MinorityScoreMetric,
    NegativeELBO,
    PrecisionRecall,
    RarityScore,
    density,
    frechet,
)

GENERATOR = torch.Generator().manual_seed(3)
REAL = torch.randn(300, 6, generator=GENERATOR) + 100.0
FAKE = 1.2 * torch.randn(101, 6, generator=GENERATOR) + 100.3
IMAGES = torch.randint(0, 256, (9, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8)


def metrics():
    return {
        "avg_knn": AvgKNN(REAL),
        "lof": LocalOutlierFactor(REAL),
        "rarity": RarityScore(REAL, 5),
        "fidelity": PrecisionRecall(REAL),
        "frechet": FrechetDistance(REAL),
        "kid": KernelDistance(REAL, subsets=3, subset_size=50),
        "memorised": Memorised(REAL[:150], REAL[150:]),
    }


def values(found):
    found = found if isinstance(found, dict) else {"value": found}
    return {name: float(value) for name, value in found.items()}


def fed(parts):
    """Every metric after updates with the rows of each part."""
    known = metrics()
    for rows in parts:
        for metric in known.values():
            metric.update(FAKE[rows], rows)
    return known


def whole():
    return {name: values(metric.compute()) for name, metric in fed([torch.arange(len(FAKE))]).items()}


def test_values_are_those_of_the_functions():
    found = whole()
    assert found["avg_knn"]["value"] == pytest.approx(float(density.avg_knn(FAKE, REAL).mean()))
    assert found["lof"]["value"] == pytest.approx(float(density.local_outlier_factor(FAKE, REAL).mean()))
    rarity = density.rarity_score(FAKE, REAL, 5)
    assert found["rarity"]["outside"] == pytest.approx(float((rarity == 0).double().mean()))
    assert found["rarity"]["rarity"] == pytest.approx(float(rarity[rarity > 0].mean()))
    assert found["fidelity"] == pytest.approx(density.prdc(FAKE, REAL)._asdict())
    expected = frechet.frechet_distance(frechet.moments(FAKE), frechet.moments(REAL))
    assert found["frechet"]["value"] == pytest.approx(expected, rel=1e-9)  # streamed around another centre
    assert found["kid"]["kid"] == pytest.approx(frechet.kernel_distance(FAKE, REAL, 3, 50).value)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_order_and_repetition_do_not_matter(size):
    order = torch.randperm(len(FAKE), generator=GENERATOR)
    known = fed([*order.split(size), order[:5]])  # the last five come again, as after a restart
    for name, expected in whole().items():
        assert values(known[name].compute()) == pytest.approx(expected, rel=1e-6), name
    column = known["avg_knn"].per_sample()
    assert column.index.tolist() == list(range(len(FAKE)))
    assert torch.equal(column.values, density.avg_knn(FAKE, REAL))


def levels(*ratios, num_draws=8):
    return [MinorityScore(level=NoiseLevel(ratio=ratio), num_draws=num_draws) for ratio in ratios]


def _worker(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    known = fed(torch.arange(rank, len(FAKE), 2).split(8))
    found = {name: values(metric.compute()) for name, metric in known.items()}
    found["per_sample"] = known["lof"].per_sample().values
    alone = AvgKNN(REAL)
    if rank == 0:
        alone.update(FAKE[:4], torch.arange(4))
    found["alone"] = float(alone.compute())
    scores = MinorityScoreMetric(levels(0.2, 0.6, num_draws=2), mixture(25))
    if rank == 1:  # the other process has no image at all
        scores.update(IMAGES, torch.arange(len(IMAGES)))
    found["score"] = float(scores.compute())
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.xdist_group("processes")
def test_two_processes_equal_one(tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(_worker, (port, tmp_path), nprocs=2, start_method="fork")  # spares their imports
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, expected in whole().items():
        assert one[name] == pytest.approx(expected, rel=1e-6) and two[name] == one[name], name
    assert torch.allclose(one["per_sample"], density.local_outlier_factor(FAKE, REAL), rtol=1e-9)
    assert one["alone"] == two["alone"] == pytest.approx(float(density.avg_knn(FAKE[:4], REAL).mean()))
    alone = MinorityScoreMetric(levels(0.2, 0.6, num_draws=2), mixture(25))
    for rows in torch.arange(len(IMAGES)).split(4):
        alone.update(IMAGES[rows], rows)
    assert one["score"] == pytest.approx(float(alone.compute()), rel=1e-6) and one["score"] == two["score"]


def test_scores_of_the_model():
    """Any batching gives each image its own draws; the reported score is the bound's, of the same draws."""
    metric = NegativeELBO(mixture(25), clip=False)
    for rows in torch.randperm(len(IMAGES), generator=GENERATOR).split(4):
        metric.update(IMAGES[rows], rows)
    whole = NegativeELBO(mixture(25), clip=False)
    whole.update(IMAGES, torch.arange(len(IMAGES)))
    assert torch.allclose(metric.per_sample().values, whole.per_sample().values, rtol=1e-6)
    found = values(metric.compute())
    assert found["standard_error"] == 0 and 0 < found["score"] < found["nelbo"]
    single = MinorityScoreMetric(levels(0.4)[0], mixture(25))
    several = MinorityScoreMetric(levels(0.4, 0.4), mixture(25))
    for scorer in (single, several):
        scorer.update(IMAGES, torch.arange(len(IMAGES)))
    assert float(single.compute()) == pytest.approx(float(several.compute()))


def test_the_real_tail_is_far_from_the_rest():
    real = torch.cat([0.1 * torch.randn(90, 2, generator=GENERATOR), 5 * torch.randn(10, 2, generator=GENERATOR) + 20])
    from sgm_lightning.metrics import RealFeatures

    assert RealFeatures(real).tail(0.1).tolist() == list(range(90, 100))


def test_too_few_and_broken_samples():
    known = metrics()
    with pytest.raises(SGMError, match="AvgKNN has seen no samples"):
        known["avg_knn"].compute()
    with pytest.raises(SGMError, match="at least 2 samples, got 0"):
        known["frechet"].compute()
    for metric in known.values():
        metric.update(FAKE[:3], torch.arange(3))
    with pytest.raises(SGMError, match="at least 4 samples, got 3"):
        known["fidelity"].compute()
    with pytest.raises(SGMError, match="at least 50 samples, got 3"):
        known["kid"].compute()
    with pytest.raises(SGMError, match="NaN or infinite"):
        known["frechet"].update(FAKE[:3] * float("nan"), torch.arange(3, 6))
    with pytest.raises(SGMError, match="3 rows and 2 indices"):
        known["lof"].update(FAKE[:3], torch.arange(2))
