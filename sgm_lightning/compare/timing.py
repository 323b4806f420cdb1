"""Seconds of an image, timed once a run on the machine at hand."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

from sgm_lightning.compare.drawing import Planned
from sgm_lightning.diffusion import Condition
from sgm_lightning.rng import SampleNoise, random_labels
from sgm_lightning.run.atomic import write_atomically


def seconds_per_image(planned: Planned, count: int, device: torch.device) -> float:
    """Of a batch of `count` images, the second one: the first warms up, and compiles. Kept in the run's `timed.json`.

    An upsampler, whose inputs are another run's, is not timed: NaN.
    """
    file = Path(planned.run.path) / "timed.json"
    wanted = {"images": count, "device": device.type, "threads": torch.get_num_threads()}
    try:
        kept = json.loads(file.read_text())
        if {key: kept[key] for key in wanted} == wanted:
            return float(kept["seconds"])
    except (OSError, ValueError, KeyError):
        pass
    module, backbone = planned.module, planned.backbone
    if backbone.upsampler:
        return float("nan")
    denoiser = backbone.denoiser(module.spacing)
    denoiser.execute(module.execution)
    denoiser.to(device)
    sampler, guidance = module.sampler.to(device), None if module.guidance is None else module.guidance.to(device)
    indices = list(range(count))
    labels = None if denoiser.num_classes is None else random_labels(0, indices, denoiser.num_classes).to(device)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        sampler(denoiser, SampleNoise(0, indices, denoiser.image_shape, device), guidance, Condition(labels)).cpu()
        seconds = (time.perf_counter() - started) / count
    write_atomically(file, lambda out: out.write(json.dumps({**wanted, "seconds": seconds}).encode()))
    return seconds
