"""The reader: from any image to the factors of the emoji world, each with its probability, and to its unreality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sgm_lightning.errors import SGMError
from sgm_lightning.files.averaged import chosen_weights
from sgm_lightning.files.digest import weights_sha256
from sgm_lightning.files.locate import CHECKPOINTS, locate
from sgm_lightning.files.weights import check_weights, load_content, load_exactly
from sgm_lightning.world.nearest import nearest
from sgm_lightning.world.network import SIDE, Read, ReaderNetwork
from sgm_lightning.world.tables import FACTORS, World

READABLE = 0.8  # least probability of a readable image's object
FILE = "reader.safetensors"


class Reading(NamedTuple):
    """Factors of B images, as a reader sees them.

    Attributes:
        factors: Number of the likeliest value of every factor, (B, 4) int64.
        probabilities: Probability of that value, (B, 4) float32.
        unreality: Root of the mean squared difference to the nearest picture of the world, in grey levels, (B,) float64.
    """

    factors: Tensor
    probabilities: Tensor
    unreality: Tensor

    @classmethod
    def of_rows(cls, rows: Tensor) -> Reading:
        """Return the reading that `rows` gave."""
        return cls(rows[:, :4].long(), rows[:, 4:8].float(), rows[:, 8])

    @property
    def rows(self) -> Tensor:
        """All of it in one tensor, (B, 9) float64."""
        return torch.cat([self.factors.double(), self.probabilities.double(), self.unreality[:, None].double()], 1)

    @property
    def readable(self) -> Tensor:
        """Truth of "the object's probability is at least 0.8", for every image, (B,) bool."""
        return self.probabilities[:, 0] >= READABLE


class EmojiReader(nn.Module):
    """Reads object, background, style and turn of an image, and finds the nearest picture of the emoji world.

    The probabilities are softmax(logits / T) with a temperature T for every factor (Guo et al. 2017). Where a checkpoint of
    `fit_reader` is given, all T are 1.

    Args:
        path: Folder with `reader.safetensors`, that file, or the run folder or `last.ckpt` of `fit_reader`.
        world: World whose tables say what is rare: `normal`, `reversed`, `uniform`, or your own weights by factor and value.
        unreality: Whether to search for the nearest picture; the search takes a tenth of a second for an image.

    Raises:
        SGMError: If there is no reader at the path, or it is damaged.
    """

    temperature: Tensor

    def __init__(
        self,
        path: str = f"{CHECKPOINTS}/emoji_reader",
        world: str | dict[str, dict[str, float]] = "normal",
        unreality: bool = True,
    ) -> None:
        super().__init__()
        self.world, self.unreality = World(world), unreality
        self.network = ReaderNetwork()
        self.register_buffer("temperature", torch.ones(len(FACTORS)))
        for name, values in FACTORS.items():  # counts of (true value, value that was read)
            self.register_buffer(f"confusion_{name}", torch.eye(len(values)))
        file = Path(locate(path))
        if file.is_dir():
            file = file / (FILE if (file / FILE).is_file() else "last.ckpt")
        content = load_content(file, "check the path, or train a reader with `sgm-lightning fit_reader`")
        if "state_dict" in content:
            own = {name: value for name, value in self.state_dict().items() if not name.startswith("network.")}
            trained = chosen_weights(content, "auto", "network.", file)[0]
            content = own | {f"network.{name}": value for name, value in trained.items()}
        check_weights(content, file)
        load_exactly(self, content, file)
        self.eval().requires_grad_(False)

    def confusion(self, factor: str) -> np.ndarray:
        """Return P(value read | true value), (K, K) float64, as counted on pictures of the world."""
        counts = getattr(self, f"confusion_{factor}").double().cpu().numpy()
        return counts / counts.sum(1, keepdims=True)

    @torch.no_grad()
    def look(self, images: Tensor) -> Read:
        """Return the network's output for (B, 1 or 3, H, W) uint8 images, which are resized to 32 × 32.

        Raises:
            SGMError: If the images have another number of channels.
        """
        if images.shape[1] not in (1, 3):
            raise SGMError(f"A reader takes images of 1 or 3 channels, got {images.shape[1]}; convert them first.")
        x = images.expand(-1, 3, -1, -1).float() / 127.5 - 1
        if x.shape[-2:] != (SIDE, SIDE):
            x = functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        read: Read = self.network(x)
        return read

    def read(self, images: Tensor) -> Reading:
        """Read (B, 1 or 3, H, W) uint8 images."""
        seen = self.look(images)
        best = [
            functional.softmax(logits / temperature, 1).max(1)
            for logits, temperature in zip(seen.logits.values(), self.temperature, strict=True)
        ]
        factors = torch.stack([found.indices for found in best], 1)
        probabilities = torch.stack([found.values for found in best], 1)
        unreality = torch.full((len(images),), torch.nan, dtype=torch.float64, device=images.device)
        if self.unreality:
            squares = _square(images).cpu().numpy()
            starts, values = seen.pose.double().cpu().numpy(), factors.cpu().numpy()
            for row, image in enumerate(squares):
                unreality[row] = nearest(image, values[row], starts[row]).distance
        return Reading(factors, probabilities, unreality)

    def forward(self, images: Tensor) -> Tensor:
        """Return the rows of `read`, (B, 9) float64."""
        return self.read(images).rows

    def fingerprint(self) -> str:
        """Return a digest of the weights and settings. Equal fingerprints mean equal readings, whatever the world."""
        return weights_sha256(self.state_dict(), json.dumps([type(self).__name__, self.unreality]).encode())


def _square(images: Tensor) -> Tensor:
    """Return the images as (B, H, H, 3) uint8, in which the nearest picture is searched."""
    images = images.expand(-1, 3, -1, -1)
    side = min(images.shape[-2:])
    if images.shape[-2] != images.shape[-1]:
        images = functional.interpolate(images.float(), (side, side), mode="bilinear", antialias=True).round().byte()
    return images.permute(0, 2, 3, 1).contiguous()
