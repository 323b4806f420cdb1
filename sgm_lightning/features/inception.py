"""InceptionV3 of 2015, the feature extractor of FID, in torch-fidelity's port."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.normalise import Normalise
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import load_tensors


class InceptionV3(FeatureExtractor):
    """FID's features (Heusel et al. 2017): torch-fidelity's port of TensorFlow's graph, with its resize to 299 pixels.

    Args:
        features: Layer of the features. `pool`: the 2048 of the last pooling; `spatial`: the first 7 channels of mixed_6's
            1 × 1 branch, 17 × 17 each, for sFID (Nash et al. 2021, as in ADM's evaluator).
        weights: File `weights-inception-2015-12-05-6726825d.pth` of torch-fidelity; default: downloaded.
        repeat_gray: Whether to repeat one channel to three instead of refusing gray images.
    """

    def __init__(
        self, features: Literal["pool", "spatial"] = "pool", weights: str | None = None, repeat_gray: bool = False
    ) -> None:
        super().__init__()
        try:
            from torch_fidelity import feature_extractor_inceptionv3 as port
        except ImportError:
            raise SGMError("InceptionV3 needs torch-fidelity; install it with `pip install 'sgm-lightning[fid]'`.") from None
        self.name = f"InceptionV3 {features}"
        self.prepare = Normalise(channels=3, repeat_gray=repeat_gray)
        self.spatial = features == "spatial"
        path = locate(weights) if weights else _downloaded(port.URL_INCEPTION_V3)
        # torch-fidelity unpickles the file, so check first that it holds tensors only.
        load_tensors(path, f"get it from {port.URL_INCEPTION_V3}")
        try:
            self.network = port.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=path)
        except RuntimeError as error:
            raise SGMError(
                f"{path} holds other weights than {Path(port.URL_INCEPTION_V3).name} ({reason_of(error)})."
            ) from None
        self._mixed_6: Tensor | None = None
        if self.spatial:
            self.network.Mixed_6d.branch1x1.register_forward_hook(self._keep)

    def forward(self, images: Tensor) -> Tensor:
        # The port takes uint8 images, and resizes and scales them itself, as TensorFlow 1 did.
        self.network.eval()
        with torch.no_grad():
            return self.features(self.prepare.fit_channels(images))

    def of_floats(self, x: Tensor) -> Tensor:
        raise SGMError(
            "InceptionV3 takes uint8 images, as TensorFlow's graph did, and cannot guide, got floating-point ones; use "
            "EfficientNetLite, TimmFeatures, TorchvisionFeatures or ModuleFeatures in the distance."
        )

    def features(self, x: Tensor) -> Tensor:
        pool: Tensor = self.network(x)[0]
        if not self.spatial:
            return pool.float()
        assert self._mixed_6 is not None
        kept, self._mixed_6 = self._mixed_6, None
        return kept[:, :7].flatten(1).float()

    def describe(self) -> dict[str, Any]:
        text = super().describe()
        text["prepare"]["resize"] = "299, bilinear as in TensorFlow 1 (torch-fidelity)"
        return text

    def _keep(self, module: object, given: object, found: Tensor) -> None:
        self._mixed_6 = found


def _downloaded(url: str) -> str:
    """Return the path of the file in torch's cache, after downloading it if it is not there."""
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not target.is_file():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(target))
        except OSError as error:
            reason = reason_of(error)
            raise SGMError(
                f"InceptionV3's weights are not here and cannot be downloaded ({reason}); get {url} and set `weights` to "
                "its path."
            ) from None
    return str(target)
