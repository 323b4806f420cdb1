"""Random pictures."""

import torch
from PIL import Image

from sgm_lightning.images import ArrayImages

GENERATOR = torch.Generator().manual_seed(0)
GRAY = torch.randint(0, 256, (12, 1, 28, 28), generator=GENERATOR, dtype=torch.uint8)
RGB = torch.randint(0, 256, (4, 3, 32, 32), generator=GENERATOR, dtype=torch.uint8)
# What evaluations compare with.
REAL = torch.randint(0, 256, (60, 1, 28, 28), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def save_images(folder, images, sizes=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        array = image[0].numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(folder / f"{number:03d}.png")


def labelled(counts):
    """So many pictures of each class; the value of a picture is its place."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    return ArrayImages(images, labels)
