"""How Lightning's checkpoints reach the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from sgm_lightning.files.atomic import write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that exist whole or not at all, made beside their place.

    Lightning's own are made in the system's temporary folder, which is another disk than the run's, and maybe a smaller one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What Lightning keeps.
            path: The file.
            storage_options: Not used.

        Raises:
            SGMError: If the disk refuses; the file that was there is still there then.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write(Path(path), content.getbuffer())
