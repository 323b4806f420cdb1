"""The LightningModule that evaluates finished images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from sgm_lightning.backbones import Checkpoint
from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.evaluation.data import ImageBatch
from sgm_lightning.evaluation.evaluation import WORLD, Evaluation
from sgm_lightning.evaluation.measures import check_subset_size, column_names, truth_columns
from sgm_lightning.evaluation.per_image import ImageMeasurements
from sgm_lightning.evaluation.report import Report
from sgm_lightning.evaluation.spaces import Space, load_spaces
from sgm_lightning.images import Images
from sgm_lightning.scores import MinorityScore
from sgm_lightning.world import EmojiReader


class EvaluationModule(pl.LightningModule):
    """Evaluates finished images in Lightning's test loop, on any number of processes.

    Args:
        spaces: Feature spaces by name, each with its real images.
        backbone: Model under which the minority score and the likelihood bound are computed; null for feature spaces alone.
        spacing: Steps of the model's chain, as in `predict`.
        nelbo: Whether to bound the likelihood of the images.
        nelbo_strata: Number of strata of the chain, with two steps drawn from each; null for the full sum.
        score: Minority score of the images under the model; default: L_2 at log-SNR 2, mean of 8 draws.
        keep_scores: Whether to report the scores that came with the images instead.
        seed: Seed of the draws for score and bound.
        kid_subset_size: Number of samples in each of KID's 100 subsets.
        reader: Reader of the emoji world, where the images are of it: measures true rarity and unreality.
    """

    def __init__(
        self,
        spaces: dict[str, Space] | None = None,
        backbone: Checkpoint | None = None,
        spacing: str | int | None = "250",
        nelbo: bool = True,
        nelbo_strata: int | None = 10,
        score: MinorityScore | None = None,
        keep_scores: bool = False,
        seed: int = 0,
        kid_subset_size: int = 1000,
        reader: EmojiReader | None = None,
    ) -> None:
        super().__init__()
        check_subset_size(kid_subset_size)
        if not spaces and backbone is None and reader is None:
            raise SGMError("There is nothing to evaluate: set `model.spaces`, `model.backbone` or `model.reader`.")
        self.spaces = load_spaces(spaces or {})
        extractors = {name: space.extractor for name, space in self.spaces.items()}
        self.measurements = ImageMeasurements(extractors, nelbo, nelbo_strata, reader)
        self.backbone, self.spacing = backbone, spacing
        self.score = MinorityScore(num_draws=8) if score is None else score
        self.keep_scores, self.seed, self.kid_subset_size = keep_scores, seed, kid_subset_size
        self.denoiser: Denoiser | None = None
        self.evaluations = nn.ModuleDict()
        self.report: Report | None = None

    def setup(self, stage: str) -> None:
        """Read the weights, and make one evaluation for every set."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.load(data.sets)
        evaluations = [Evaluation(self.spaces, True, self.kid_subset_size, self.measurements.reader) for _ in data.sets]
        self.evaluations = nn.ModuleDict({str(number): made for number, made in enumerate(evaluations)})

    def load(self, sets: Mapping[str, Images]) -> None:
        """Read the weights unless they have been read, and check that the model can judge the sets."""
        if self.backbone is not None and self.denoiser is None:
            self.denoiser = self.backbone.load().denoiser(self.spacing)
            for name, images in sets.items():
                _check(self.denoiser, name, images.shape, images.labels is not None)
                _check_labels(images, name, self.denoiser.num_classes)

    def per_sample_names(self) -> list[str]:
        """Return the names of all values that every image will have: `minority_score`, `nelbo`, `SPACE/metric`."""
        model = self.backbone is not None
        own = (["minority_score"] if model and not self.keep_scores else []) + (
            ["nelbo"] if model and self.measurements.nelbo else []
        )
        if self.measurements.reader is not None:
            own += [f"{WORLD}/{name}" for name in truth_columns()]
        return own + [f"{name}/{metric}" for name, space in self.spaces.items() for metric in column_names(space)]

    def check(self, kinds: Mapping[str, tuple[tuple[int, ...], bool]]) -> None:
        """Raise unless images that do not exist yet can be measured; the weights are read and not kept.

        Args:
            kinds: Shape (C, H, W) of every set's images, and whether they are labelled.

        Raises:
            SGMError: If the model, or a space's extractor, cannot judge them.
        """
        for name, (shape, _) in kinds.items():
            for space_name, space in self.spaces.items():
                try:
                    space.extractor(torch.zeros(1, *shape, dtype=torch.uint8))
                except RuntimeError as error:
                    raise SGMError(
                        f"The extractor of space {space_name} cannot take images of shape {shape}, as those of {name} "
                        f"({reason_of(error)}); choose another."
                    ) from None
        if self.backbone is not None:
            denoiser = self.denoiser or self.backbone.load().denoiser(self.spacing)
            self.score.check(denoiser)
            for name, (shape, labelled) in kinds.items():
                _check(denoiser, name, shape, labelled)

    def test_step(self, batch: ImageBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure one batch of the set `batch.number`."""
        self.evaluations[str(batch.number)].update(self.rows(batch), batch.indices)  # type: ignore[operator]

    def rows(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Return the `ImageMeasurements` and the `minority_score` of every image of a batch."""
        with torch.autocast(self.device.type, enabled=False):
            indices = batch.indices.tolist()
            labels = batch.labels if self.denoiser is not None and self.denoiser.num_classes else None
            condition = Condition(labels)
            rows = self.measurements(batch.images, indices, self.denoiser, condition, self.seed)
            if self.denoiser is not None and not self.keep_scores:
                rows["minority_score"] = self.score.of_images(batch.images, self.denoiser, self.seed, indices, condition)
            elif batch.scores is not None:
                rows["minority_score"] = batch.scores
        return rows

    def on_test_epoch_end(self) -> None:
        """Compute the results of all sets; all processes take part."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        results = {name: self.evaluations[str(n)].compute() for n, name in enumerate(data.sets)}  # type: ignore[operator]
        text: dict[str, Any] = {"spaces": {name: space.text for name, space in self.spaces.items()}}
        if self.denoiser is not None:
            steps = self.denoiser.process.num_steps
            text["model"] = {"chain": f"{steps} steps", "minority_score": self.score.describe()}
        self.report = Report(results, data.pair, text)


def _check_labels(images: Images, name: str, num_classes: int | None) -> None:
    """Raise unless the model has all classes of the images, if it uses them."""
    if num_classes and images.labels is not None and int(images.labels.max()) >= num_classes:
        raise SGMError(
            f"Labels of {name} must lie in [0, {num_classes}), the classes of the model, got {int(images.labels.max())}; "
            "label the images with its classes, or set `model.backbone: null`."
        )


def _check(denoiser: Denoiser, name: str, shape: tuple[int, ...], labelled: bool) -> None:
    """Raise unless the model can judge a set of images."""
    if denoiser.model.upsampler:
        raise SGMError("An upsampler cannot judge finished images alone; set `model.backbone` to the base model, or null.")
    expected = denoiser.model.codec.pixel_shape(denoiser.image_shape)
    if tuple(shape) != tuple(expected):
        raise SGMError(
            f"The model judges images of shape {tuple(expected)}, got {tuple(shape)} in {name}; resize them, or "
            "set `model.backbone: null`."
        )
    if denoiser.num_classes and not labelled:
        raise SGMError(f"The model needs class labels, but {name} has none; set `model.backbone: null` or label them.")
