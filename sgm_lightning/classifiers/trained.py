"""Classifiers that `sgm-lightning fit_classifier` trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sgm_lightning.classifiers.base import Classifier, NoisyClassifier
from sgm_lightning.classifiers.description import description, from_description, read_description
from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import write
from sgm_lightning.files.averaged import Which, chosen_weights
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import check_fit, check_weights, load_content, load_exactly, load_tensors

KEY = "sgm_lightning_classifier"  # key of this package's part of a Lightning checkpoint, and of a safetensors header
_PREFIX = "classifier."  # prefix of the classifier's weights in the training module


class TrainedClassifier(Classifier):
    """A classifier of `sgm-lightning fit_classifier`; by default its averaged weights (EMA).

    Args:
        path: Path of a run folder, of the `.ckpt` in it, or of the `.safetensors` file that `save_classifier` writes.
        weights: Weights to load from a `.ckpt`. `auto`: averaged if the training averaged, else the current ones; `ema`;
            `current`.
    """

    def __init__(self, path: str, weights: Which = "auto") -> None:
        self.path, self.weights = Path(locate(path)), weights

    def load(self) -> NoisyClassifier:
        file = self.path
        if file.is_dir():
            file = file / "last.ckpt" if (file / "last.ckpt").is_file() else file / "classifier.safetensors"
        hint = "check the path, or train one with `sgm-lightning fit_classifier`"
        text, weights = self._saved(file, hint) if file.suffix == ".safetensors" else self._checkpoint(file, hint)
        check_weights(weights, file)
        described, chain = read_description(text, file)
        with torch.device("meta"):  # shapes alone: no memory is taken that the weights do not account for
            check_fit(from_description(described, file, len(weights)), weights, file)
        classifier = from_description(described, file, len(weights))
        load_exactly(classifier, weights, file)
        classifier.chain = chain
        return classifier

    def _checkpoint(self, file: Path, hint: str) -> tuple[Any, dict[str, Tensor]]:
        content = load_content(file, hint)
        if KEY not in content or "state_dict" not in content:
            raise SGMError(f"{file} is no checkpoint of a classifier's training; use ADMClassifier for ADM's layout.")
        return content[KEY], chosen_weights(content, self.weights, _PREFIX, file)[0]

    @staticmethod
    def _saved(file: Path, hint: str) -> tuple[Any, dict[str, Tensor]]:
        weights = load_tensors(file, hint)
        with safe_open(file, "pt") as content:
            text = (content.metadata() or {}).get(KEY)
        if text is None:
            raise SGMError(
                f"{file} does not describe the classifier whose weights it holds; write it with `save_classifier`."
            )
        try:
            return json.loads(text), weights
        except (ValueError, RecursionError):
            raise SGMError(f"{KEY} in the header of {file} must be valid JSON; save the classifier again.") from None


def save_classifier(classifier: NoisyClassifier, path: str | Path) -> None:
    """Write weights and description to one `.safetensors` file, which `TrainedClassifier` reads."""
    weights = {name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()}
    data = save(weights, {KEY: json.dumps(description(classifier))})
    write(Path(path), data)
