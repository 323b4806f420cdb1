"""Classifiers of noisy images: flags of small ones, and one that is known in closed form."""

import torch

from sgm_lightning.classifiers import NoisyClassifier

# Of images of 8 × 8 and of 28 × 28.
TINY = {"image_size": 8, "in_channels": 1, "out_channels": 3, "classifier_width": 32, "classifier_depth": 1,
        "channel_mult": "1,1", "classifier_attention_resolutions": "4", "num_head_channels": 32}  # fmt: skip
FLAGS = {
    "image_size": 28,
    "in_channels": 1,
    "out_channels": 3,
    "classifier_width": 32,
    "classifier_depth": 1,
    "classifier_attention_resolutions": "",
    "channel_mult": "1",
    "num_head_channels": 32,
}
# Classifiers do not look at the model's answer.
NONE = object()


class Exact(NoisyClassifier):
    """Which of the two modes of the mixture ±m, of variance v, an x_t came from: known in closed form."""

    def __init__(self, alphas_cumprod, mean=0.4, variance=0.1):
        super().__init__()
        self.alphas, self.mean, self.variance = alphas_cumprod, mean, variance
        self.num_classes, self.image_shape = 2, (1, 4, 4)

    def forward(self, x_t, train_step):
        alpha = self.alphas[train_step]
        dot = alpha.sqrt() * self.mean * x_t.flatten(1).sum(1) / (alpha * self.variance + 1 - alpha)
        return torch.stack([-dot, dot], 1)

    def features(self, x_t, train_step):
        return x_t.flatten(1)

    def describe(self):
        return {}


def exact(denoiser):
    return Exact(denoiser.network.alphas_cumprod)
