"""Sets of images, of one size or any: folders, CSV files, archives, run folders, data sets, and sets derived from them."""

from sgm_lightning.images.archive import NpzImages, RunImages
from sgm_lightning.images.base import ArrayImages, Images
from sgm_lightning.images.emoji_world import EmojiWorld
from sgm_lightning.images.fashion_mnist import FashionMNIST
from sgm_lightning.images.files import CSVImages, ImageFolder
from sgm_lightning.images.levels import MinorityLevels
from sgm_lightning.images.medmnist import MedMNIST
from sgm_lightning.images.open import open_images
from sgm_lightning.images.real_and_drawn import RealAndDrawn
from sgm_lightning.images.subset import LongTail, Subset, long_tail_counts
from sgm_lightning.images.torchvision import TorchvisionImages

__all__ = [
    "ArrayImages",
    "CSVImages",
    "EmojiWorld",
    "FashionMNIST",
    "ImageFolder",
    "Images",
    "LongTail",
    "MedMNIST",
    "MinorityLevels",
    "NpzImages",
    "RealAndDrawn",
    "RunImages",
    "Subset",
    "TorchvisionImages",
    "long_tail_counts",
    "open_images",
]
