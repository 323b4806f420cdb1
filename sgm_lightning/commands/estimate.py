"""`sgm-lightning estimate`: operations and hours of a `predict` run before it is started."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from lightning.pytorch.cli import LightningArgumentParser

from sgm_lightning.commands.predict import ResolvedCLI, resolve
from sgm_lightning.errors import SGMError
from sgm_lightning.predict.cost import sampling_cost
from sgm_lightning.predict.module import SamplingModule


@dataclass
class Machine:
    """Images to draw and devices to draw them on. Without the weights, `--model.backbone NewNetwork` has the same cost.

    Args:
        num_samples: Number of images to draw.
        devices: Number of devices that share the images.
        tflops: Peak rate of a device at the run's precision, in 10¹² operations per second: 19.5 for an A100 in float32, 156
            in TF32, 312 in bfloat16; see its data sheet.
        utilization: Share of the peak rate that is reached; measure it with `benchmarks/speed/sampling.py`.
    """

    num_samples: int = 50_000
    devices: int = 1
    tflops: float = 19.5
    utilization: float = 0.35

    def check(self) -> None:
        """Raise unless all values are positive."""
        for name, value in asdict(self).items():
            if value <= 0:
                raise SGMError(f"{name} must be positive, got {value}; set `--{name}`.")


class EstimateCLI(ResolvedCLI):
    """The command line of `predict` with a machine. It makes only the model: data and devices may be elsewhere."""

    command = "estimate"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(Machine)

    def instantiate_classes(self) -> None:
        config = self.config[self.subcommand].clone()
        for part in ("data", "trainer"):
            config.pop(part)
        with self.placed():
            self.model = self._parser(self.subcommand).instantiate(config)["model"]

    def before_predict(self) -> None:
        """Print the estimate at the point where `predict` would get ready to draw."""
        config = self.config[self.subcommand]
        estimate(self.model, Machine(**{field.name: config[field.name] for field in fields(Machine)}))


def estimate(model: SamplingModule, machine: Machine) -> None:
    """Print the cost of a `predict` configuration."""
    machine.check()
    backbone = model.backbone.load()
    cost = sampling_cost(backbone, model.spacing, model.sampler, model.guidance)
    if model.baseline:
        plain = sampling_cost(backbone, model.spacing, model.sampler.plain, None)
        cost.forwards += plain.forwards
        cost.other_flops += plain.other_flops
    cost.forwards += model.score.calls * (2 if model.baseline else 1)
    least = cost.flops / (machine.tflops * 1e12)
    hours = machine.num_samples * least / machine.utilization / machine.devices / 3600
    print(f"Network calls of an image: {cost.forwards} forwards, {cost.backwards} backwards (scores included)")
    print("Not counted: `Evaluate`, and what `checkpointing` computes again.")
    print(f"Operations: {cost.forward_flops / 1e9:.3g} GFLOP a forward, {cost.backward_flops / 1e9:.3g} a backward, ")
    print(f"            {cost.other_flops / 1e9:.3g} outside the network, {cost.flops / 1e12:.3g} TFLOP an image")
    print(f"At {machine.tflops:g} TFLOP/s an image takes no less than {least:.3g} s")
    shares = f"{machine.num_samples} images on {machine.devices} device(s) at {machine.utilization:.0%} of that"
    print(f"{shares}: {hours:.3g} hours")


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    resolve(["predict", *args[1:]], EstimateCLI)
