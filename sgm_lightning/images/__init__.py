"""Where finished images come from: folders, archives, run folders, data sets. Any of them can be compared with any."""

from sgm_lightning.images.archive import NpzImages, RunImages
from sgm_lightning.images.base import ArrayImages, Images
from sgm_lightning.images.fashion_mnist import FashionMNIST
from sgm_lightning.images.folder import ImageFolder
from sgm_lightning.images.medmnist import MedMNIST
from sgm_lightning.images.open import open_images
from sgm_lightning.images.torchvision import TorchvisionImages

__all__ = [
    "ArrayImages",
    "FashionMNIST",
    "ImageFolder",
    "Images",
    "MedMNIST",
    "NpzImages",
    "RunImages",
    "TorchvisionImages",
    "open_images",
]
