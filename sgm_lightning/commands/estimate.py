"""`sgm-lightning estimate`: operations and hours of a `predict` that has not been started."""

from __future__ import annotations

from typing import Any

from sgm_lightning.commands.parsing import call
from sgm_lightning.errors import SGMError
from sgm_lightning.predict.cost import sampling_cost
from sgm_lightning.predict.module import SamplingModule


def estimate(
    model: SamplingModule,
    num_samples: int = 50_000,
    devices: int = 1,
    tflops: float = 19.5,
    utilization: float = 0.35,
    trainer: Any = None,
    data: Any = None,
    writer: Any = None,
    run_dir: Any = None,
    verify: Any = None,
    seed_everything: Any = None,
    return_predictions: Any = None,
    ckpt_path: Any = None,
    weights_only: Any = None,
) -> None:
    """Print what a configuration of `predict` will cost.

    Args:
        model: As for `predict`. For a checkpoint that is not here yet, `model.backbone: NewNetwork` with its flags costs
            the same.
        num_samples: How many images.
        devices: How many devices share them.
        tflops: Peak rate of a device at the run's precision, in 10¹² operations a second: 19.5 for an A100 in float32, 156
            in TF32, 312 in bfloat16; see its data sheet.
        utilization: Share of the peak that is reached; measure it with `benchmarks/sampling.py`.
        trainer: Ignored, so that a configuration of `predict` can be given as it is.
        data: Ignored.
        writer: Ignored.
        run_dir: Ignored.
        verify: Ignored.
        seed_everything: Ignored.
        return_predictions: Ignored.
        ckpt_path: Ignored.
        weights_only: Ignored.
    """
    for name, value in (
        ("num_samples", num_samples),
        ("devices", devices),
        ("tflops", tflops),
        ("utilization", utilization),
    ):
        if value <= 0:
            raise SGMError(f"{name} must be positive, got {value}; set `--{name}`.")
    backbone = model.backbone.load()
    cost = sampling_cost(backbone, model.spacing, model.sampler, model.guidance)
    if model.baseline:
        plain = sampling_cost(backbone, model.spacing, model.sampler.plain, None)
        cost.forwards += plain.forwards
        cost.other_flops += plain.other_flops
    cost.forwards += model.score_draws * (2 if model.baseline else 1)
    least = cost.flops / (tflops * 1e12)
    hours = num_samples * least / utilization / devices / 3600
    print(f"Network calls of an image: {cost.forwards} forwards, {cost.backwards} backwards (scores included)")
    print("Not counted: `Evaluate`, and what `checkpointing` computes again.")
    print(f"Operations: {cost.forward_flops / 1e9:.3g} GFLOP a forward, {cost.backward_flops / 1e9:.3g} a backward, ")
    print(f"            {cost.other_flops / 1e9:.3g} outside the network, {cost.flops / 1e12:.3g} TFLOP an image")
    print(f"At {tflops:g} TFLOP/s an image takes no less than {least:.3g} s")
    print(f"{num_samples} images on {devices} device(s) at {utilization:.0%} of that: {hours:.3g} hours")


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(estimate, args)
