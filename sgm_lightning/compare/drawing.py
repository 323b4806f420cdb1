"""The runs of a comparison: ordinary runs of `predict`, one after the other in this process and its ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sgm_lightning.backbones import Backbone
from sgm_lightning.commands.predict import predict, resolve
from sgm_lightning.compare.anchors import Kind
from sgm_lightning.compare.settings import Setting, predict_arguments
from sgm_lightning.errors import told
from sgm_lightning.predict.manifest import run_manifest
from sgm_lightning.predict.module import SamplingModule
from sgm_lightning.run import RunDir


@dataclass
class Planned:
    """A setting that has been resolved and checked, and can be drawn. It holds no network.

    Attributes:
        setting: Setting to draw.
        run: Run folder of the setting.
        arguments: Command line of its `predict`.
        config: Whole configuration, as the run's `config.yaml` will hold it.
        manifest: Manifest of the run, as its `manifest.json` will hold it.
        num_samples: Number of samples, N.
        kind: Shape and labelling of the images.
    """

    setting: Setting
    run: RunDir
    arguments: list[str]
    config: str
    manifest: dict[str, Any]
    num_samples: int
    kind: Kind

    def finished(self) -> bool:
        """Return whether the run holds all samples, by the same checks as `predict`; a finished run is not touched.

        Raises:
            SGMError: If the folder holds a run that `predict` refuses to continue; the sentence names the setting.
        """
        with naming(self.setting):
            return self.run.holds(self.manifest, {"threads": None}) and self.run.merged(self.num_samples)

    def draw(self) -> None:
        """Draw or resume the run, or be refused, as `predict` does it.

        Raises:
            SGMError: If `predict` refuses; the sentence names the setting.
        """
        with naming(self.setting):
            predict(self.arguments)


class Networks:
    """Keeps the last backbone: settings usually share one, and only one at a time has to fit in memory."""

    def __init__(self) -> None:
        self._last: tuple[str, Backbone] | None = None

    def load(self, module: SamplingModule, key: str) -> Backbone:
        """Return the backbone of a module; `key` distinguishes it from others."""
        if self._last is None or self._last[0] != key:
            self._last = None  # before the next is read
            self._last = key, module.backbone.load()
        return self._last[1]

    def forget(self) -> None:
        """Drop the backbone, to free its memory."""
        self._last = None


def plan(base: Setting, setting: Setting, output: Path, networks: Networks) -> Planned:
    """Resolve a setting as `predict` does, and raise any error that `predict` would raise up to its first sample.

    Raises:
        SGMError: If the setting cannot be drawn, or not into its folder; the sentence names the setting.
    """
    arguments = predict_arguments(base, setting, output)
    with naming(setting), same_threads():
        cli = resolve(arguments)
        module: SamplingModule = cli.model
        module.prepare(cli.trainer, cli.datamodule, networks.load(module, network_key(cli)))
        run = RunDir(output / setting.folder)
        cli.datamodule.join(run)
        manifest = run_manifest(module, cli.datamodule, cli.trainer.strategy.root_device, cli.settings)
    assert module.denoiser is not None
    kind = Kind(module.denoiser.image_shape, module.denoiser.num_classes is not None)
    module.denoiser = None  # the parser holds on to what it made last
    return Planned(setting, run, arguments, cli.resolved(), manifest, cli.datamodule.num_samples, kind)


def network_key(cli: Any) -> str:
    """Return a key of the module's network: equal keys mean equal networks."""
    # One name may mean two files, beside two configurations.
    return repr((cli.config["predict"]["model"]["backbone"], str(getattr(cli.model.backbone, "path", ""))))


def draw_all(planned: list[Planned]) -> None:
    """Draw the unfinished runs, in order. All runs are checked before the first one is drawn."""
    finished = [plan.finished() for plan in planned]
    for number, plan in enumerate(planned):
        title = f"[{number + 1}/{len(planned)}] {plan.setting.name}"
        if finished[number]:
            print(f"{title}: finished", flush=True)
            continue
        print(f"{title}: drawing", flush=True)
        with same_threads():
            plan.draw()


@contextmanager
def same_threads() -> Iterator[None]:
    """Restore the number of threads at the end, because a run may change it."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def naming(setting: Setting) -> Iterator[None]:
    """Name the setting in the messages of its errors."""
    try:
        yield
    except Exception as error:
        sentence = told(error)
        if sentence is None:
            raise
        raise type(sentence)(f"Setting {setting.name}: {sentence}") from None
