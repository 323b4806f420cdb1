"""The way back to the world: the picture that the program could have drawn and that is nearest to an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sgm_lightning.world.drawing import FINER, draw

_ROUNDS = 6  # of Levenberg's and Marquardt's method
_TRIES = 4  # dampings in a round
_POLISHES = 4


class Nearest(NamedTuple):
    """The nearest picture of the world.

    Attributes:
        picture: (H, H, 3) uint8.
        pose: Its pose, (4,) float64.
        distance: Root of the mean squared difference to the image, in grey levels (0 to 255).
    """

    picture: np.ndarray
    pose: np.ndarray
    distance: float


def nearest(image: np.ndarray, factors: Sequence[int] | np.ndarray, pose: np.ndarray) -> Nearest:
    """Return the nearest picture with these factors, found by a search over poses.

    The distance is least squares in four numbers (Marquardt 1963), and its derivatives are differences of pictures. Because
    the program draws at whole steps, the search ends with single steps in each number.

    Args:
        image: (H, H, 3) uint8.
        factors: Number of the value of object, background, style and turn.
        pose: Pose to start from, as in `Scenes`.
    """
    size = image.shape[0]
    quantum = 1 / (FINER * size)
    step = np.array([quantum, 1.0, quantum, quantum])
    target = image.astype(np.float64)
    place = np.clip(pose, [0.3, -60.0, 0.0, 0.0], [1.2, 60.0, 1.0, 1.0])
    for pool in (4, 1):  # coarse pictures have fewer valleys

        def residual(place: np.ndarray, pool: int = pool) -> np.ndarray:
            return _pooled(draw(factors, place, size) - target, pool).ravel()

        place = _descend(residual, place, step)
    found = residual(place)
    for _ in range(_POLISHES):
        trials = [place + sign * row for row in np.diag(step) for sign in (-1, 1)]
        errors = [residual(trial) for trial in trials]
        best = int(np.argmin([error @ error for error in errors]))
        if errors[best] @ errors[best] >= found @ found:
            break
        place, found = trials[best], errors[best]
    return Nearest(draw(factors, place, size), place, float(np.sqrt((found**2).mean())))


def _descend(residual: Callable[[np.ndarray], np.ndarray], place: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the place that Levenberg's and Marquardt's method reaches from `place`."""
    found, damping = residual(place), 1e-2
    for _ in range(_ROUNDS):
        moved = np.stack([(residual(place + 2 * row) - residual(place - 2 * row)) / 4 for row in np.diag(step)])
        square, slope = moved @ moved.T, moved @ found
        before = found @ found
        for _ in range(_TRIES):
            trial = place - np.linalg.solve(square + damping * np.diag(square.diagonal() + 1e-9), slope) * step
            there = residual(trial)
            if there @ there < found @ found:
                place, found, damping = trial, there, damping / 4
                break
            damping *= 5
        if found @ found > 0.97 * before:
            break
    return place


def _pooled(difference: np.ndarray, pool: int) -> np.ndarray:
    """Return means over squares of `pool` pixels."""
    size = len(difference) // pool
    return difference[: size * pool, : size * pool].reshape(size, pool, size, pool, -1).mean((1, 3))
