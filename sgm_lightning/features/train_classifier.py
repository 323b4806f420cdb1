"""Trains the default model's reference classifier: `python -m sgm_lightning.features.train_classifier --output FILE`."""

from __future__ import annotations

from pathlib import Path

import torch
from jsonargparse import auto_cli
from safetensors.torch import save_file
from torch.nn import functional

from sgm_lightning.features.fashion_mnist import FashionMNISTClassifier, SmallClassifier
from sgm_lightning.features.prepare import Prepare
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
    labels, prepare, network = data.labels, Prepare(channels=1), SmallClassifier()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = len(data) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        network.train()
        for rows in torch.randperm(len(data))[: steps * batch_size].split(batch_size):
            x = prepare(data.images[rows])
            x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
            loss = functional.cross_entropy(network(x), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}", flush=True)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), output)
    return accuracy(FashionMNISTClassifier(output), root)


def accuracy(classifier: FashionMNISTClassifier, root: str | None = None) -> float:
    """Share of the test images that the classifier names right."""
    data = FashionMNIST("test", root)
    assert data.labels is not None
    found = torch.cat([classifier.classes(images).argmax(1) for _, images in data.batches(500)])
    return float((found == data.labels).double().mean())


if __name__ == "__main__":
    print(f"accuracy on the test images: {auto_cli(train):.4f}")
