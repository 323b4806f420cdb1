"""Noise levels in any of three units."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sgm_lightning.diffusion.denoiser import Denoiser
from sgm_lightning.errors import SGMError

_RANGE = 40.0  # beyond it x_t in float32 is the clean image, or noise alone


@dataclass(frozen=True)
class NoiseLevel:
    """A noise level, given in exactly one unit.

    Args:
        log_snr: Level as log-SNR ln(ᾱ / (1 − ᾱ)), which means the same in every model: 0 is as much noise as image, −6 is
            almost noise alone, 6 almost clean. The nearest step of the training chain is used, whatever the respacing.
        train_step: Level as a step of the training chain.
        ratio: Level as a share of the respaced chain, in (0, 1): the respaced index int(num_steps · ratio), as released. It
            is a different noise level on every schedule and chain: 0.8 is log-SNR −2.4 on 100 cosine steps and −6.5 on a
            linear schedule.
    """

    log_snr: float | None = None
    train_step: int | None = None
    ratio: float | None = None

    # No __post_init__: the parser would report its error among those of all other types that the argument accepts.
    def check(self) -> None:
        """Raise unless exactly one unit is given, and its value is in range."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise SGMError(
                "A noise level takes exactly one unit of log_snr, train_step and ratio, got "
                f"{', '.join(f'{name}: {value}' for name, value in given.items()) or 'none'}; leave the others out, or null "
                "where an earlier file set one."
            )
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise SGMError(f"ratio must lie strictly between 0 and 1, got {self.ratio}; the paper uses 0.8.")
        if self.log_snr is not None and not (math.isfinite(self.log_snr) and abs(self.log_snr) <= _RANGE):
            raise SGMError(f"log_snr must lie in [−{_RANGE:g}, {_RANGE:g}], got {self.log_snr}; 0 is a good start.")
        if self.train_step is not None and self.train_step < 0:
            raise SGMError(f"train_step must be at least 0, got {self.train_step}; the usual chains have 1000 steps.")

    def place(self, denoiser: Denoiser) -> tuple[Denoiser, int]:
        """Return the denoiser on the chain in which the level has an index, and that index.

        Raises:
            SGMError: If the model has no such level.
        """
        self.check()
        if self.ratio is not None:
            return denoiser, denoiser.process.index_of_ratio(self.ratio)
        full = denoiser.full()
        if self.train_step is not None:
            return full, full.process.index_of_train_step(self.train_step)
        assert self.log_snr is not None
        high, low = full.process.log_snr_list[0], full.process.log_snr_list[-1]
        if not low <= self.log_snr <= high:
            raise SGMError(
                f"A log-SNR must lie in the model's range, {low:.3g} … {high:.3g}, got {self.log_snr:g}; choose a level "
                "that the model was trained at."
            )
        return full, full.process.index_of_log_snr(self.log_snr)

    def __str__(self) -> str:
        if self.log_snr is not None:
            return f"log-SNR {self.log_snr:g}"
        return f"train step {self.train_step}" if self.train_step is not None else f"ratio {self.ratio:g} of the chain"
