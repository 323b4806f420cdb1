"""Trains the default model's reference classifier: `python -m benchmarks.studies.train_classifier --output FILE`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from jsonargparse import auto_cli
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from sgm_lightning.features.fashion_mnist import FashionMNISTClassifier, SmallClassifier
from sgm_lightning.features.normalise import Normalise
from sgm_lightning.images import FashionMNIST


def train(output: str, epochs: int = 12, batch_size: int = 128, seed: int = 0, root: str | None = None) -> float:
    """Train a `SmallClassifier` on half A: AdamW under a one-cycle schedule, random mirroring.

    Args:
        output: `.safetensors` file to write.
        epochs: Passes over the 30,000 images.
        batch_size: Images a step.
        seed: Of weights, order and augmentation.
        root: Where Fashion-MNIST is; see `FashionMNIST`.

    Returns:
        Accuracy on the test images.
    """
    torch.manual_seed(seed)
    data = FashionMNIST("half_a", root)
    assert data.labels is not None
    steps = len(data) // batch_size
    rows = (torch.randperm(len(data))[: steps * batch_size] for _ in range(epochs))
    network = fit_classifier(
        data.images, data.labels, (b for epoch in rows for b in epoch.split(batch_size)), epochs * steps
    )
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), output)
    return accuracy(FashionMNISTClassifier(output), root)


def fit_classifier(images: Tensor, labels: Tensor, batches: Iterable[Tensor], num_steps: int) -> SmallClassifier:
    """A new classifier, trained by AdamW under a one-cycle schedule with random mirroring.

    Args:
        images: (N, 1, H, W) uint8.
        labels: (N,) int64.
        batches: Rows of every step.
        num_steps: How many there are.

    Returns:
        The classifier, in evaluation mode; weights and mirroring follow from torch's seed.
    """
    prepare, network = Normalise(channels=1), SmallClassifier()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=num_steps)
    network.train()
    for rows in batches:
        x = prepare(images[rows])
        x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
        loss = functional.cross_entropy(network(x), labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def accuracy(classifier: FashionMNISTClassifier, root: str | None = None) -> float:
    """Share of the test images that the classifier names right."""
    data = FashionMNIST("test", root)
    assert data.labels is not None
    found = torch.cat([classifier.classes(images).argmax(1) for _, images in data.batches(500)])
    return float((found == data.labels).double().mean())


if __name__ == "__main__":
    print(f"accuracy on the test images: {auto_cli(train, as_positional=False):.4f}")
