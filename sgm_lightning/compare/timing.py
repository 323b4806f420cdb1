"""Times the drawing of an image, once for each run, on the machine at hand."""

from __future__ import annotations

import json
import time

import torch

from sgm_lightning.compare.drawing import same_threads
from sgm_lightning.diffusion import Condition
from sgm_lightning.diffusion.noise import SampleNoise, random_labels
from sgm_lightning.files.atomic import write
from sgm_lightning.files.regular import read_regular
from sgm_lightning.files.values import is_number
from sgm_lightning.predict.manifest import recorded_threads
from sgm_lightning.predict.module import SamplingModule
from sgm_lightning.run import RunDir


def seconds_per_image(module: SamplingModule, run: RunDir, count: int, device: torch.device) -> float | None:
    """Return the seconds per image of a batch of `count` images, and keep them in the run's `timed.json`.

    The second of two batches counts: the first warms up, and compiles. The number of threads is that of the run. An
    upsampler, whose inputs come from another run, is not timed: None.
    """
    threads = recorded_threads(run.manifest(), run.path)
    file = run.path / "timed.json"
    wanted = {"images": count, "device": device.type, "threads": threads}
    try:
        kept = json.loads(read_regular(file))
        if {key: kept[key] for key in wanted} == wanted and is_number(kept["seconds"]):
            return float(kept["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # it is missing or damaged
        pass
    backbone = module.backbone.load()  # a separate one: settings of execution stay with a network
    if backbone.upsampler:
        return None
    denoiser = backbone.denoiser(module.spacing)
    denoiser.execute(module.execution)
    denoiser.to(device)
    sampler, guidance = module.sampler.to(device), None if module.guidance is None else module.guidance.to(device)
    indices = list(range(count))
    labels = None if denoiser.num_classes is None else random_labels(0, indices, denoiser.num_classes).to(device)
    seconds = 0.0
    with same_threads():
        torch.set_num_threads(threads)
        for _ in range(2):
            started = time.perf_counter()
            sampler(denoiser, SampleNoise(0, indices, denoiser.image_shape, device), guidance, Condition(labels)).cpu()
            seconds = (time.perf_counter() - started) / count
    write(file, json.dumps({**wanted, "seconds": seconds}))
    return seconds
