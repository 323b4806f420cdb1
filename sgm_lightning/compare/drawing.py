"""The runs of a comparison: ordinary runs of `predict`, one after the other in this process and its ranks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from sgm_lightning.backbones import Backbone
from sgm_lightning.compare.settings import Setting, predict_arguments
from sgm_lightning.errors import SGMError
from sgm_lightning.modules import SamplingModule
from sgm_lightning.run import RunDir, weights_sha256


@dataclass
class Planned:
    """A setting that has been resolved, and can be drawn.

    Attributes:
        setting: Which.
        run: Its folder.
        arguments: Of `predict`.
        config: The whole configuration, as the run's `config.yaml` will hold it.
        module: Sampler, guidance and chain, not set up.
        num_samples: N.
    """

    setting: Setting
    run: RunDir
    arguments: list[str]
    config: str
    module: SamplingModule
    num_samples: int
    _backbone: Backbone | None = None

    @property
    def backbone(self) -> Backbone:
        """The network, read once."""
        self._backbone = self._backbone or self.module.backbone.load()
        return self._backbone

    def finished(self) -> bool:
        """Whether the run holds all samples, of this configuration and these weights: then nothing is touched."""
        try:
            known = (self.run.path / "config.yaml").read_text()
            weights = json.loads((self.run.path / "manifest.json").read_text())["weights"]
        except (OSError, ValueError, KeyError):
            return False
        return (
            known == self.config
            and self.run.merged(self.num_samples)
            and weights == weights_sha256(self.backbone.network.state_dict())
        )

    def draw(self) -> None:
        """Draw, or go on, or be refused, as `predict` does it.

        Raises:
            SGMError: If `predict` refuses; the sentence names the setting.
        """
        from sgm_lightning.cli import predict  # the command line knows this command

        try:
            predict(self.arguments)
        except SGMError as error:
            raise SGMError(f"Setting {self.setting.name}: {error}") from None


def plan(base: Setting, setting: Setting, output: Path) -> Planned:
    """Resolve a setting, by the parser of `predict`."""
    from sgm_lightning.cli import SamplingCLI, predict

    class Parsed(SamplingCLI):
        """Stops short of the Trainer."""

        def instantiate_classes(self) -> None: ...

        def _run_subcommand(self, subcommand: str) -> None: ...

    arguments = predict_arguments(base, setting, output)
    cli = predict(arguments, Parsed)
    module = _sampling_module(cli.config["predict"]["model"].as_dict())
    num_samples = base.content["data"]["init_args"]["num_samples"]
    return Planned(setting, RunDir(output / setting.folder), arguments, cli.resolved(), module, num_samples)


def draw_all(planned: list[Planned]) -> None:
    """Draw what is not finished, in order. The number of threads that a run asks for ends with it."""
    threads = torch.get_num_threads()
    for number, plan in enumerate(planned):
        title = f"[{number + 1}/{len(planned)}] {plan.setting.name}"
        if plan.finished():
            print(f"{title}: finished", flush=True)
            continue
        print(f"{title}: drawing", flush=True)
        try:
            plan.draw()
        finally:
            torch.set_num_threads(threads)


def _sampling_module(config: dict[str, Any]) -> SamplingModule:
    parser = ArgumentParser()
    parser.add_class_arguments(SamplingModule, "model")
    module: SamplingModule = parser.instantiate_classes(parser.parse_object({"model": config})).model
    return module
