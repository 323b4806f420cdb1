"""The part of a chain in which a guidance acts."""

from __future__ import annotations

from dataclasses import dataclass

from sgm_lightning.errors import SGMError


@dataclass(frozen=True)
class Window:
    """The steps of a chain at which a guidance acts; by default all.

    Args:
        start: Share of the chain, in [0, 1), above which the guidance acts (index > num_steps · start); null for all steps
            down to index 0. The less noisy end of the chain is 0.
        stop: Share of the chain, in (0, 1], up to which the guidance acts (index ≤ num_steps · stop).
        interval: Number of steps from one guided step to the next: the guidance acts where index % interval = 0, index 0
            included (released: 5).

    Raises:
        SGMError: If the window is empty or a value is out of its range.
    """

    start: float | None = None
    stop: float = 1.0
    interval: int = 1

    def __post_init__(self) -> None:
        if self.start is not None and not 0 <= self.start < 1:
            raise SGMError(f"start must lie in [0, 1), got {self.start}; leave it out to guide down to the last step.")
        if not 0 < self.stop <= 1:
            raise SGMError(f"stop must lie in (0, 1], got {self.stop}; 1 guides from the first step.")
        if self.start is not None and self.start >= self.stop:
            raise SGMError(f"start must be less than stop, got {self.start} and {self.stop}.")
        if self.interval < 1:
            raise SGMError(f"interval must be at least 1, got {self.interval}; 1 guides every step, the paper uses 5.")

    def contains(self, index: int, num_steps: int) -> bool:
        """Return True if the step at respaced `index` of `num_steps` lies inside the window."""
        inside = (self.start is None or num_steps * self.start < index) and index <= num_steps * self.stop
        return inside and index % self.interval == 0

    def turn(self, index: int) -> int:
        """Return the number of the guided step at `index`, counted from the end of the chain."""
        return index // self.interval
