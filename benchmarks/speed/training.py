"""What the framework costs beside the training, and whether the data keep up.

python -m benchmarks.speed.training                  default network, batch 64; loader at 64 × 64
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from jsonargparse import auto_cli
from PIL import Image
from torch import Tensor

from sgm_lightning.backbones import ADMFlags, Checkpoint, DiffusersCheckpoint, NewNetwork
from sgm_lightning.commands.trainer import RunTrainer
from sgm_lightning.diffusion.pixels import from_uint8
from sgm_lightning.fit import (
    FolderData,
    SampleGrid,
    TrainingBatch,
    TrainingData,
    TrainingModule,
    TrainingRun,
    WeightAverage,
    ema_update,
)
from sgm_lightning.images import FashionMNIST


class Stopwatch(pl.Callback):
    """Times the steps of a fit, from one's end to the next one's."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return np.diff(self.ends).tolist()


def module_of(backbone: Checkpoint) -> TrainingModule:
    return TrainingModule(backbone, optimizer=lambda weights: torch.optim.AdamW(weights, 1e-5), nelbo_images=0)


def framework(backbone: Checkpoint, steps: int, batch_size: int, folder: Path) -> list[float]:
    """Seconds of every step of `fit`, with data, logs every 20 steps, average and run folder."""
    watch = Stopwatch()
    data = TrainingData(FashionMNIST(), held_out_share=0, batch_size=batch_size)
    trainer = RunTrainer(
        accelerator="cpu", max_steps=steps + 1, max_epochs=-1, gradient_clip_val=1.0, log_every_n_steps=20,
        use_distributed_sampler=False, check_val_every_n_epoch=None, enable_model_summary=False,
        logger=pl.loggers.TensorBoardLogger(folder, name="", version="tensorboard"),
        callbacks=[WeightAverage(), SampleGrid(), TrainingRun(str(folder), save_every=10**9), watch],
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module_of(backbone), datamodule=data)
    return watch.seconds


def bare(backbone: Checkpoint, steps: int, batch: TrainingBatch) -> list[float]:
    """Seconds of every step of a loop of torch alone: loss, backward, clipping, AdamW, average."""
    module = module_of(backbone).train()
    denoiser, objective = module.denoiser, module.objective
    weights = list(denoiser.parameters())
    optimizer = torch.optim.AdamW(weights, 1e-5)
    average, update = [weight.detach().clone() for weight in weights], ema_update(0.999)
    index = (batch.step * 1000).long()
    seconds = []
    for step in range(steps + 1):
        begun = time.perf_counter()
        loss: Tensor = objective(denoiser, batch.images, index, batch.noise).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        update(average, weights, step + 1)
        seconds.append(time.perf_counter() - begun)
    return seconds[1:]


def loader(folder: Path, cache: bool, batch_size: int) -> float:
    """Images a second that one process prepares from files."""
    module = module_of(NewNetwork(FLAGS_64))
    data = FolderData(str(folder), held_out_share=0, batch_size=batch_size, cache=cache)
    trainer = RunTrainer(accelerator="cpu", max_steps=30, max_epochs=-1, logger=False, enable_checkpointing=False)
    trainer.strategy._lightning_module = module
    data.trainer = trainer
    data.prepare_data()
    data.setup("fit")
    batches = iter(data.train_dataloader())
    next(batches)
    begun, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch.images)
    return count / (time.perf_counter() - begun)


FLAGS_64 = ADMFlags(image_size=64, num_channels=64, num_res_blocks=2, num_head_channels=32, learn_sigma=True)


def training(
    repeats: int = 5,
    steps: int = 6,
    batch_size: int = 64,
    threads: int = 2,
    checkpoint: str = "checkpoints/fashion_mnist_28",
) -> None:
    """Measure, in turns.

    Args:
        repeats: Pairs of fit and bare loop.
        steps: Steps of each, after one that is not counted.
        batch_size: Images a step.
        threads: CPU threads.
        checkpoint: The network.
    """
    torch.set_num_threads(threads)
    backbone = DiffusersCheckpoint(checkpoint)
    images = from_uint8(FashionMNIST(limit=batch_size).images)
    uniform = torch.rand(batch_size, dtype=torch.float64)
    batch = TrainingBatch(images, None, torch.randn_like(images), uniform, uniform, *2 * [torch.arange(batch_size)])
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            fit = statistics.median(framework(backbone, steps, batch_size, Path(folder) / str(number)))
            loop = statistics.median(bare(backbone, steps, batch))
            ratios.append(fit / loop)
            print(f"fit {fit:.3f} s a step, bare loop {loop:.3f} s: {fit / loop - 1:+.1%}", flush=True)
        print(f"overhead of the framework: median {statistics.median(ratios) - 1:+.1%} of {repeats} pairs")
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        source = np.random.default_rng(0)
        for i in range(256):
            small = Image.fromarray(source.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            small.resize((218, 178), Image.Resampling.BICUBIC).save(pictures / f"{i}.jpg", quality=90)
        x, steps_64 = torch.randn(16, 3, 64, 64), torch.full((16,), 500)
        denoiser = module_of(NewNetwork(FLAGS_64)).denoiser
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            denoiser(x, steps_64).x0_hat.square().mean().backward()
            times.append(time.perf_counter() - begun)
        consumed = len(x) / statistics.median(times)
        size = sum(p.numel() for p in denoiser.parameters()) / 1e6
        print(f"64 × 64: the network of {size:.0f} M takes {consumed:.1f} images/s")
        for cache in (True, False):
            served = loader(pictures, cache, batch_size)
            kind = "decoded once, from the cache" if cache else "178 × 218 JPEG, decoded every time"
            print(f"  loader, one process, {kind}: {served:.0f} images/s, {served / consumed:.0f} ×")


if __name__ == "__main__":
    auto_cli(training)
