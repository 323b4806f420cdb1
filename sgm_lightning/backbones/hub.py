"""Reading of diffusers folders and Hugging Face hub repositories, and writing of diffusers folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from sgm_lightning.backbones.adm_flags import check_size
from sgm_lightning.backbones.base import Checkpoint
from sgm_lightning.backbones.unet import ADMUNet2DModel
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.diffusion import make_betas
from sgm_lightning.errors import SGMError
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import check_weights

_SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
_VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
}


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
        unet_config = self._config("unet/config.json", "config.json")
        scheduler = self.scheduler or self._config("scheduler/scheduler_config.json", "scheduler_config.json")
        cls = ADMUNet2DModel if unet_config.get("_class_name") == "ADMUNet2DModel" else UNet2DModel
        subfolder = "unet" if self._exists("unet/config.json") else None
        try:
            network = cls.from_pretrained(
                self.path, subfolder=subfolder, revision=self.revision, low_cpu_mem_usage=False, use_safetensors=None
            )
        except Exception as error:  # diffusers raises OSError, ValueError, SafetensorError … for a damaged folder
            reason = str(error).split("\n")[0][:160]
            raise SGMError(f"{self.path} cannot be loaded as a diffusers network ({reason}); fetch it again.") from None
        check_weights(network.state_dict(), self.path)
        size = network.config.sample_size
        for side in (size,) if isinstance(size, int) else size:
            check_size(side, len(network.config.block_out_channels))
        return self._backbone(network.float(), scheduler)

    def _backbone(self, network: UNet2DModel, scheduler: dict[str, Any]) -> UNetBackbone:
        schedule = scheduler.get("beta_schedule", "linear")
        variance = scheduler.get("variance_type", "fixed_small")
        explicit = scheduler.get("trained_betas")
        if explicit is None and schedule not in _SCHEDULES:
            raise SGMError(f"beta_schedule must be one of {sorted(_SCHEDULES)} or trained_betas, got {schedule!r}.")
        if variance not in _VARIANCES:
            raise SGMError(f"variance_type must be one of {sorted(_VARIANCES)}, got {variance!r}.")
        steps = scheduler.get("num_train_timesteps", 1000)
        ends = (scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02))
        return UNetBackbone(
            network=network,
            betas=make_betas(explicit) if explicit is not None else make_betas(_SCHEDULES[schedule], steps, *ends),
            prediction=scheduler.get("prediction_type", "epsilon"),
            variance=_VARIANCES[variance],  # type: ignore[arg-type]
            schedule="explicit" if explicit is not None else _SCHEDULES[schedule],
        )

    def _find(self, name: str) -> Path | None:
        if Path(self.path).is_dir():
            file = Path(self.path) / name
            return file if file.is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(self.path, name, revision=self.revision))
        except Exception as error:  # no such file, no connection, no such repository, invalid id …
            # Offline, the hub raises LocalEntryNotFoundError, a subclass of EntryNotFoundError.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            reason = str(error).split("\n")[0][:160]
            raise SGMError(
                f"There is no folder {self.path}, and it could not be had from the hub ({reason}); check "
                "`model.backbone.init_args.path` or fetch the repository and give its folder."
            ) from None

    def _exists(self, name: str) -> bool:
        return self._find(name) is not None

    def _config(self, *names: str) -> dict[str, Any]:
        for name in names:
            file = self._find(name)
            if file is not None:
                try:
                    return json.loads(file.read_text())
                except ValueError:
                    raise SGMError(f"{file} is not valid JSON; fetch the checkpoint again.") from None
        raise SGMError(
            f"{self.path} has no {names[0]}; give a folder in the layout of DDPMPipeline, or set `init_args.scheduler`."
        )


def save_diffusers(backbone: UNetBackbone, folder: str | Path) -> bool:
    """Write a folder in `DDPMPipeline`'s layout.

    Returns:
        Whether plain `DDPMPipeline.from_pretrained` opens it. It does not for an `ADMUNet2DModel`, whose head count, time
        width, time scale, null class and input side only this package's loader restores.
    """
    schedule = {ours: theirs for theirs, ours in _SCHEDULES.items()}
    steps = len(backbone.betas)
    ends = (float(backbone.betas[0]), float(backbone.betas[-1]))
    named = backbone.schedule in schedule
    scheduler = DDPMScheduler(
        num_train_timesteps=steps,
        beta_schedule=schedule.get(backbone.schedule, "linear"),
        beta_start=ends[0] if backbone.schedule != "cosine" else 1e-4,
        beta_end=ends[1] if backbone.schedule != "cosine" else 0.02,
        trained_betas=None if named else backbone.betas.tolist(),
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
