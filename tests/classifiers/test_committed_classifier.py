"""The committed classifier of minority levels."""

import torch
from support.closed_forms import Listed
from support.paths import FASHION, ROOT

from sgm_lightning import DiffusersCheckpoint, MinorityScore, NoiseLevel
from sgm_lightning.classifiers import TrainedClassifier
from sgm_lightning.diffusion.pixels import from_uint8
from sgm_lightning.images import FashionMNIST

CLASSIFIER = ROOT / "checkpoints/fashion_mnist_minority_classifier"


def test_the_committed_classifier_knows_rare_images():
    """Of images that it was not trained on: the level that it expects follows the score."""
    classifier = TrainedClassifier(str(CLASSIFIER)).load().eval()
    x = from_uint8(FashionMNIST("test", limit=60).images)
    denoiser = DiffusersCheckpoint(str(FASHION)).load().denoiser(100)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        score = MinorityScore(level=NoiseLevel(ratio=0.6), clip=True)
        scores = score(denoiser, x, Listed([torch.randn(x.shape, generator=source)]))
    with torch.no_grad():
        logits = classifier(denoiser.process.q_sample(x, 10, torch.randn(x.shape, generator=source)), torch.full((60,), 100))
    expected = logits.softmax(1) @ torch.arange(10.0)
    assert float(torch.corrcoef(torch.stack([expected, scores]))[0, 1]) > 0.6
