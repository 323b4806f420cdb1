"""`sgm-lightning convert`: writes a checkpoint in another layout."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from sgm_lightning.backbones import Checkpoint, save_diffusers
from sgm_lightning.backbones.adm_export import export_adm
from sgm_lightning.backbones.adm_flags import ADMFlags
from sgm_lightning.backbones.rebuild import without_classes
from sgm_lightning.backbones.unet_backbone import as_unet
from sgm_lightning.commands.parsing import call
from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import folder_atomically, remove_leftovers, write


def convert(
    backbone: Checkpoint,
    output: str,
    layout: Literal["diffusers", "adm"] = "diffusers",
    new_attention_order: bool = True,
    unconditional: bool = False,
) -> None:
    """Write a checkpoint in another layout.

    Args:
        backbone: Checkpoint to read.
        output: Folder (diffusers) or `.pt` file (adm) to write.
        layout: Layout to write.
        new_attention_order: Whether q, k and v have the order of ADM's flag `use_new_attention_order` (layout `adm` alone).
        unconditional: Whether to write the unconditional network inside one that was trained with label dropout.
    """
    target = Path(output)
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise SGMError(f"output {target} exists already; choose another name or remove it.")
    remove_leftovers(target.parent)
    loaded = as_unet(backbone.load())
    if unconditional:
        loaded = without_classes(loaded)
    if layout == "diffusers":
        with folder_atomically(target) as folder:
            plain = save_diffusers(loaded, folder)
        print(f"Wrote {target}; " + ("DDPMPipeline opens it." if plain else "only DiffusersCheckpoint restores its heads."))
    else:
        weights, flags = export_adm(loaded, new_attention_order)
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        write(target, buffer.getvalue())
        defaults = asdict(ADMFlags())
        text = ", ".join(f"{key}: {value}" for key, value in asdict(flags).items() if value != defaults[key])
        print(f"Wrote {target}. ADMCheckpoint reads it with the flags {{{text}}}.")


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(convert, args)
