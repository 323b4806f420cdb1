"""Classifiers that `sgm-lightning fit_classifier` trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sgm_lightning.classifiers.base import Classifier, NoisyClassifier
from sgm_lightning.classifiers.encoder import EncoderClassifier
from sgm_lightning.classifiers.flags import ClassifierFlags
from sgm_lightning.classifiers.stacked import StackedNetwork
from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import write
from sgm_lightning.files.averaged import Which, chosen_weights
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import check_weights, load_content, load_tensors

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
        classifier = from_description(text["classifier"])
        if text["chain"] is not None:
            classifier.chain = (str(text["chain"][0]), int(text["chain"][1]))
        try:
            classifier.load_state_dict({name: value.float() for name, value in weights.items()})
        except RuntimeError as error:
            raise SGMError(f"{file} does not fit its own description ({str(error)[:120]}); it is damaged.") from None
        return classifier

    def _checkpoint(self, file: Path, hint: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        content = load_content(file, hint)
        if KEY not in content or "state_dict" not in content:
            raise SGMError(f"{file} is no checkpoint of a classifier's training; use ADMClassifier for ADM's layout.")
        return content[KEY], chosen_weights(content, self.weights, _PREFIX, file)[0]

    @staticmethod
    def _saved(file: Path, hint: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        weights = load_tensors(file, hint)
        with safe_open(file, "pt") as content:
            text = (content.metadata() or {}).get(KEY)
        if text is None:
            raise SGMError(
                f"{file} does not describe the classifier whose weights it holds; write it with `save_classifier`."
            )
        return json.loads(text), weights


def save_classifier(classifier: NoisyClassifier, path: str | Path) -> None:
    """Write weights and description to one `.safetensors` file, which `TrainedClassifier` reads."""
    weights = {name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()}
    data = save(weights, {KEY: json.dumps(description(classifier))})
    write(Path(path), data)


def description(classifier: NoisyClassifier) -> dict[str, Any]:
    """Return all but the weights of a classifier, and its chain."""
    return {"classifier": classifier.describe(), "chain": None if classifier.chain is None else list(classifier.chain)}


def from_description(text: dict[str, Any]) -> NoisyClassifier:
    """Return the classifier of a description, with random weights. The inverse of `describe`."""
    if text["kind"] == "stacked":
        return StackedNetwork(from_description(text["extractor"]), from_description(text["head"]))
    return EncoderClassifier(ClassifierFlags(**text["flags"]))
