"""What claims, chunk files, manifest, logging and merge cost beside the demo's sampling.

python -m benchmarks.speed.overhead                  draws the demo (96 images, twice) once
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

from jsonargparse import auto_cli

from benchmarks.speed.clock import parts
from sgm_lightning.commands.predict import predict
from sgm_lightning.predict import RunWriter, SamplingModule, SamplingProgress
from sgm_lightning.run import Claims, RunDir

PARTS: dict[str, Callable[..., object]] = {
    "manifest, fingerprint, scan": RunWriter._open,
    "chunk files, logging": RunWriter.write_on_batch_end,
    "claims taken": Claims.take,
    "claims released": Claims.release,
    "progress of the run": SamplingProgress.on_predict_batch_start,
    "merge": RunDir.merge,
}


def overhead(num_samples: int = 96) -> None:
    """Draw the demo, and say how long its parts took.

    Args:
        num_samples: Images, each of them guided and unguided.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["predict", "--config", "fashion_mnist", "--run_dir", f"{folder}/run"]
        command += ["--data.num_samples", str(num_samples)]
        seconds = parts(lambda: predict(command), {**PARTS, "sampling": SamplingModule.predict_step})
    sampling = seconds.pop("sampling")
    print(f"sampling {sampling:.1f} s")
    for name, value in {**seconds, "together": sum(seconds.values())}.items():
        print(f"  {name:<28} {value:.3f} s  {value / sampling:.3%}")


if __name__ == "__main__":
    auto_cli(overhead)
