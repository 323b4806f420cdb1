"""The evidence protocol of the Fashion-MNIST pages: spaces, what is measured, and how it is compared.

The feature extractors are trained on half A of the training images (or on ImageNet), the reference is half B, and the test
images appear as rows only. A tail is chosen in one space and scored in another.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from sgm_lightning import DiffusersCheckpoint, MinorityScore
from sgm_lightning.diffusion import NoiseLevel
from sgm_lightning.evaluation import Evaluation, ImageMeasurements, LoadedSpace, Results, Space, load_spaces
from sgm_lightning.features import EfficientNetLite, FashionMNISTClassifier, RandomConvolutions, Reference
from sgm_lightning.images import ArrayImages, FashionMNIST, Images
from sgm_lightning.metrics import avg_knn

CHECKPOINT = "checkpoints/fashion_mnist_28"
FEATURES = "checkpoints/fashion_mnist_features"


def spaces(imagenet: bool = True) -> dict[str, LoadedSpace]:
    """Three spaces, or the two whose features are kept; the tails of these are chosen in each other."""
    training, held_out = Reference(FashionMNIST("half_b", limit=10_000)), Reference(FashionMNIST("test"))
    known = {
        "classifier": Space(
            FashionMNISTClassifier(),
            Reference(file=f"{FEATURES}/classifier_half_b.safetensors"),
            tail_from="random",
            training=training,
            held_out=held_out,
        ),
        "random": Space(
            RandomConvolutions(), Reference(file=f"{FEATURES}/random_half_b.safetensors"), tail_from="classifier"
        ),
    }
    if imagenet:
        features = EfficientNetLite(size=96, repeat_gray=True)
        known["imagenet"] = Space(features, Reference(FashionMNIST("half_b", limit=10_000)))
    return load_spaces(known)


def degraded(images: Tensor, of: str) -> dict[str, Images]:
    """(N, C, H, W) uint8 samples with noise, blur and more contrast: what a measure of rarity must not be won by."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    made = {
        "noise (σ = 16 levels)": images.float() + 16 * noise,
        "blur (σ = 1 pixel)": gaussian_blur(images, [5, 5], [1.0, 1.0]).float(),
        "contrast × 1.5": images.float() * 1.5,
    }
    return {
        f"{of} + {name}": ArrayImages(values.round().clamp(0, 255).to(torch.uint8), name=name)
        for name, values in made.items()
    }


def rare_test_images(known: dict[str, LoadedSpace], count: int = 1000) -> list[int]:
    """The tenth of the test images that is farthest from the reference in ImageNet's features."""
    features = Reference(FashionMNIST("test")).features(known["imagenet"].extractor)[0]
    rarity = avg_knn(features, known["imagenet"].real)
    return sorted(rarity.topk(count).indices.tolist())


def measure(
    file: Path,
    images: Images,
    known: dict[str, LoadedSpace],
    score_draws: int | None = None,
    strata: int = 10,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Rows of every image of a set, kept in `file`. Without `score_draws` a score that the images came with is kept."""
    if file.is_file():
        return torch.load(file, weights_only=True)
    print(f"measuring {file.stem}", flush=True)
    denoiser = DiffusersCheckpoint(CHECKPOINT).load().denoiser(100)
    taker = ImageMeasurements({key: space.extractor for key, space in known.items()}, nelbo_strata=strata)
    score = MinorityScore(level=NoiseLevel(ratio=0.8), num_draws=score_draws or 8)
    rows: dict[str, list[Tensor]] = {}
    for indices, batch in images.batches(50):
        found = taker(batch, indices, denoiser, seed=seed)
        if images.scores is None or score_draws is not None:
            found["minority_score"] = score.of_images(batch, denoiser, seed, indices)
        else:
            found["minority_score"] = images.scores[indices]
        for key, row in found.items():
            rows.setdefault(key, []).append(row)
    whole = {key: torch.cat(parts) for key, parts in rows.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(whole, file.with_suffix(f".{os.getpid()}"))
    os.replace(file.with_suffix(f".{os.getpid()}"), file)
    return whole


def evaluate(rows: dict[str, Tensor], known: dict[str, LoadedSpace], index: Tensor | None = None) -> Results:
    evaluation = Evaluation(known, kid_subset_size=500)
    evaluation.update(rows, torch.arange(len(rows["nelbo"])) if index is None else index)
    return evaluation.compute()


def best_of(rows: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The rarest by the model's own score: K = 1 / share ancestral samples for the price of one."""
    keep = rows["minority_score"].topk(round(share * len(rows["minority_score"]))).indices.sort().values
    return {key: row[keep] for key, row in rows.items()}


def markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---", *["--:"] * (len(head) - 1)], *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def fill(page: Path, made: dict[str, str]) -> None:
    """Put each table between its markers in the page; print one that has none."""
    text = page.read_text()
    for name, table in made.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        if start not in text:
            print(f"\n{name}\n{table}")
            continue
        before, _, rest = text.partition(start)
        text = before + start + table + "\n" + end + rest.partition(end)[2]
    page.write_text(text)
