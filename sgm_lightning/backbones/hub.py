"""Reading of diffusers folders and Hugging Face hub repositories, and writing of diffusers folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from sgm_lightning.backbones.base import Checkpoint
from sgm_lightning.backbones.hub_files import hub_file, is_folder_name
from sgm_lightning.backbones.scheduler import SCHEDULES, read_scheduler
from sgm_lightning.backbones.unet import ADMUNet2DModel
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.backbones.unet_config import check_channels, check_config
from sgm_lightning.backbones.unet_weights import load_unet
from sgm_lightning.diffusion.schedule import ends_of
from sgm_lightning.errors import SGMError
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import load_finite

_PIPELINE = "model_index.json"
_WEIGHTS = "diffusion_pytorch_model"
_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION = re.compile(rf"(?<=\.)({'|'.join(_ATTENTION)})\.(?=(?:weight|bias)$)")


class DiffusersCheckpoint(Checkpoint):
    """A `DDPMPipeline` or `UNet2DModel` folder, or a hub id; the scheduler's configuration gives the process.

    Args:
        path: Folder or hub id, e.g. `checkpoints/fashion_mnist_28` or `google/ddpm-cifar10-32`.
        revision: Branch, tag or commit on the hub.
        scheduler: Scheduler configuration (beta_schedule, prediction_type, variance_type …) for folders that have none; it
            overrides the folder's.
    """

    def __init__(self, path: str, revision: str | None = None, scheduler: dict[str, Any] | None = None) -> None:
        # A hub id stays as it is: there is no folder of that name.
        self.path, self.revision, self.scheduler = locate(path), revision, scheduler

    def load(self) -> UNetBackbone:
        self._check_folder()
        self._check_pipeline()
        folder = "unet/" if self._find("unet/config.json") else ""
        config = self._config(f"{folder}config.json", "network")
        scheduler = self.scheduler or self._config("scheduler/scheduler_config.json", "scheduler", "scheduler_config.json")
        chain = read_scheduler(scheduler, self.path)
        check_config(config, self.path)
        check_channels(config, chain.variance, self.path)
        cls = ADMUNet2DModel if config.get("_class_name") == "ADMUNet2DModel" else UNet2DModel
        network = load_unet(config, _with_names_of_now(self._weights(folder)), self.path, cls)
        return UNetBackbone(network, chain.betas, chain.prediction, chain.variance, chain.schedule)

    def _check_folder(self) -> None:
        folder = Path(self.path)
        if not folder.is_dir() and is_folder_name(self.path):
            raise SGMError(f"There is no folder {self.path}; check `model.backbone.init_args.path`.")
        if (folder / "last.ckpt").is_file() and not (folder / "unet").is_dir():
            raise SGMError(
                f"{self.path} holds a training of `fit`, not a folder of diffusers; give it to the class TrainedCheckpoint "
                "(`model.backbone.class_path`)."
            )

    def _check_pipeline(self) -> None:
        """Raise if the folder's pipeline has parts besides the network and its scheduler, such as a decoder of latents."""
        if self._find(_PIPELINE) is None:
            return
        index = self._config(_PIPELINE, "pipeline")
        parts = sorted(key for key, value in index.items() if isinstance(value, list) and any(value))
        if others := [part for part in parts if part not in ("unet", "scheduler")]:
            raise SGMError(
                f"{self.path} is a {index.get('_class_name', 'pipeline')} with {', '.join(others)} besides the network, "
                "which therefore does not diffuse pixels and cannot be drawn from; give a checkpoint of DDPMPipeline's kind."
            )

    def _weights(self, folder: str) -> dict[str, Tensor]:
        """Return the network's state dict, of one file or of several shards."""
        for name in (f"{folder}{_WEIGHTS}.safetensors", f"{folder}{_WEIGHTS}.bin"):
            if file := self._find(name):
                return load_finite(file)
            if self._find(f"{name}.index.json"):
                shards = self._config(f"{name}.index.json", "weights").get("weight_map")
                if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
                    raise SGMError(f"{self.path}/{name}.index.json must name a file for every tensor; fetch it again.")
                weights: dict[str, Tensor] = {}
                for shard in sorted(set(shards.values())):
                    file = self._find(f"{folder}{shard}")
                    if file is None:
                        raise SGMError(f"{self.path} lacks {folder}{shard}, a part of its weights; fetch it again.")
                    weights |= load_finite(file)
                return weights
        raise SGMError(f"{self.path} has no {folder}{_WEIGHTS}.safetensors (or .bin); fetch the checkpoint again.")

    def _find(self, name: str) -> Path | None:
        if Path(self.path).is_dir():
            file = Path(self.path) / name
            return file if file.is_file() else None
        return hub_file(self.path, name, self.revision)

    def _config(self, name: str, part: str, *others: str) -> dict[str, Any]:
        """Return the content of the first of the JSON files that is there; `part` is what it describes, for errors."""
        for candidate in (name, *others):
            file = self._find(candidate)
            if file is not None:
                try:
                    content = json.loads(file.read_bytes())
                except (OSError, ValueError, RecursionError):
                    raise SGMError(f"{file} is not valid JSON; fetch the checkpoint again.") from None
                if not isinstance(content, dict):
                    raise SGMError(
                        f"{file} must hold a mapping that describes the {part}, got {type(content).__name__}; fetch it "
                        "again."
                    )
                return content
        raise SGMError(
            f"{self.path} has no {name}; give a folder in the layout of DDPMPipeline, or set `init_args.scheduler`."
        )


def _with_names_of_now(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the names that attention layers have in diffusers since version 0.16."""
    return {_OLD_ATTENTION.sub(lambda match: f"{_ATTENTION[match[1]]}.", name): value for name, value in weights.items()}


def save_diffusers(backbone: UNetBackbone, folder: str | Path) -> bool:
    """Write a folder in `DDPMPipeline`'s layout.

    Returns:
        Whether plain `DDPMPipeline.from_pretrained` opens it. It does not for an `ADMUNet2DModel`, whose head count, time
        width, time scale, null class and input side only this package's loader restores.
    """
    schedule = {ours: theirs for theirs, ours in SCHEDULES.items()}.get(backbone.schedule)
    ends = ends_of(backbone.schedule, backbone.betas) if schedule else None
    start, end = (1e-4, 0.02) if ends is None or backbone.schedule == "cosine" else ends
    scheduler = DDPMScheduler(
        num_train_timesteps=len(backbone.betas),
        beta_schedule=schedule if schedule and ends else "linear",
        beta_start=start,
        beta_end=end,
        trained_betas=None if ends else backbone.betas.tolist(),
        variance_type=backbone.variance,
        prediction_type=backbone.prediction,
        clip_sample=True,
    )
    plain = not isinstance(backbone.network, ADMUNet2DModel)
    if plain:
        DDPMPipeline(backbone.network, scheduler).save_pretrained(folder)
    else:
        backbone.network.save_pretrained(Path(folder) / "unet")
        scheduler.save_pretrained(Path(folder) / "scheduler")
    return plain
