"""Writes Lightning's checkpoints to the disk, and reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from sgm_lightning.files.atomic import write
from sgm_lightning.files.weights import load_content


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, by way of a temporary file beside them, and reads none that run code.

    Lightning itself makes them in the system's temporary folder, which is on another disk than the run, and maybe a smaller
    one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: Content of the checkpoint.
            path: File to write.
            storage_options: Function that is called right before the file gets its name; it may raise.

        Raises:
            SGMError: If the file cannot be written; the previous file is kept then.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write(Path(path), content.getbuffer(), last_check=storage_options or (lambda: None))

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint to the CPU, as tensors and plain types only.

        Args:
            path: File to read.
            *args: Arguments of Lightning's own reader, which are not needed.
            **kwargs: The same, by name.

        Raises:
            SGMError: If the file is missing or damaged.
        """
        return load_content(path, "restore it, or choose another run_dir")
