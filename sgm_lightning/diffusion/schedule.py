"""Noise schedules of the training chain and the choice of train steps that a sampling chain keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, repeat
from typing import Any

import torch
from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.files.values import is_number, is_whole, shown

LONGEST = 1_000_000  # steps of a training chain


def make_betas(
    schedule: str | Sequence[float],
    num_train_steps: int = 1000,
    beta_start: float | None = None,
    beta_end: float | None = None,
) -> Tensor:
    """Return β_t of the training chain.

    Args:
        schedule: Noise schedule: `linear` (Ho et al. 2020, end points rescaled by 1000 / T as in ADM), `scaled_linear`
            (linear in √β), `cosine` (Nichol & Dhariwal 2021, β ≤ 0.999), `sigmoid` (β rises from `beta_start` to `beta_end`
            along a sigmoid), `laplace` (Hang et al. 2024: log-SNR of a Laplace distribution, β ≤ 0.999), or the values
            themselves.
        num_train_steps: Length T of the training chain.
        beta_start: First value of the linear and sigmoid schedules; default 1e-4 · 1000 / T.
        beta_end: Last value of the linear and sigmoid schedules; default 0.02 · 1000 / T.

    Returns:
        The betas, (T,) float64 in (0, 1].

    Raises:
        SGMError: If the length cannot be meant, or the schedule is unknown or no list of betas.
    """
    if not isinstance(schedule, str):
        return _checked(torch.tensor(list(schedule), dtype=torch.float64), "explicit betas")
    if not is_whole(num_train_steps, LONGEST):
        raise SGMError(f"A training chain must have 1 to {LONGEST} steps, got {shown(num_train_steps)}; 1000 are usual.")
    start = 0.1 / num_train_steps if beta_start is None else beta_start
    end = 20.0 / num_train_steps if beta_end is None else beta_end
    if schedule == "linear":
        betas = torch.linspace(start, end, num_train_steps, dtype=torch.float64)
    elif schedule == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, num_train_steps, dtype=torch.float64) ** 2
    elif schedule == "sigmoid":
        betas = torch.linspace(-6, 6, num_train_steps, dtype=torch.float64).sigmoid() * (end - start) + start
    elif schedule in _ALPHA_BARS:
        alpha_bar, steps = _ALPHA_BARS[schedule], range(num_train_steps)
        betas = torch.tensor(
            [min(1 - alpha_bar((t + 1) / num_train_steps) / alpha_bar(t / num_train_steps), 0.999) for t in steps],
            dtype=torch.float64,
        )
    else:
        raise SGMError(f"Schedule must be {', '.join(SCHEDULES)} or a list of betas, got {shown(schedule)}; correct it.")
    return _checked(betas, f"the {schedule} schedule of {num_train_steps} steps")


def ends_of(schedule: str, betas: Tensor) -> tuple[float, float] | None:
    """Return the end points with which a named schedule has these betas; None if it has others.

    Args:
        schedule: Name of the schedule, as for `make_betas`.
        betas: Betas of a training chain, (T,) float64.
    """
    start, end = float(betas[0]), float(betas[-1])
    if schedule == "sigmoid":  # its first and last values lie within its end points
        low = 1 / (1 + math.exp(6))
        rise = (end - start) / (1 - 2 * low)
        start, end = start - low * rise, start + (1 - low) * rise
    return (start, end) if torch.allclose(betas, make_betas(schedule, len(betas), start, end), rtol=1e-6, atol=0) else None


def is_list_of_betas(value: Any) -> bool:
    """Return whether a value, of any type, is a list of betas of a chain."""
    return isinstance(value, list) and 1 <= len(value) <= LONGEST and all(is_number(b) and 0 < b <= 1 for b in value)


def _checked(betas: Tensor, source: str) -> Tensor:
    """Return betas if they are those of a chain."""
    wrong = betas[~((betas > 0) & (betas <= 1))]
    if betas.ndim != 1 or not 1 <= len(betas) <= LONGEST or len(wrong):
        given = f"{float(wrong[0]):g} in {source}" if len(wrong) else f"the shape {tuple(betas.shape)}"
        raise SGMError(
            f"Betas must be 1 to {LONGEST} numbers in (0, 1], got {given}; correct the schedule's values, or its length."
        )
    return betas


def with_zero_terminal_snr(betas: Tensor) -> Tensor:
    """Return the betas of the chain whose √ᾱ is shifted and scaled so that the last is 0 and the first stays.

    See Lin et al. 2024, algorithm 1. The last ᾱ becomes 2⁻²⁴ rather than 0, as in diffusers' solvers, because formulas
    divide by it.

    Args:
        betas: Betas of the training chain, (T,) float64.
    """
    root = torch.cumprod(1 - betas, 0).sqrt()
    alpha_bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    alpha_bar[-1] = 2.0**-24
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def _cosine(u: float) -> float:
    return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2


def _laplace(u: float) -> float:
    log_snr = -0.5 * math.copysign(1, 0.5 - u) * math.log(1 - 2 * abs(0.5 - u) + 1e-6)
    return math.sqrt(1 / (1 + math.exp(-log_snr)))


# ᾱ at the share u of the chain.
_ALPHA_BARS = {"cosine": _cosine, "laplace": _laplace}
# Names of all schedules.
SCHEDULES = ("linear", "scaled_linear", "sigmoid", *_ALPHA_BARS)


def spaced_steps(num_train_steps: int, spacing: str | int | None) -> list[int]:
    """Return the train steps (ascending) that a respaced chain keeps; respaced index i stands for the i-th of them.

    Args:
        num_train_steps: Length T of the training chain.
        spacing: Rule of the choice. `"250"`: that many steps, evenly from 0 to T − 1; `"10,15,20"`: T cut into equal
            sections with that many steps each; `"ddim25"`: every k-th step from 0, where k gives exactly 25; empty or
            None: all steps.
    """
    text = str(spacing or num_train_steps).replace(" ", "")
    try:
        if text.startswith("ddim"):
            count = int(text[4:])
            strides = [k for k in range(1, num_train_steps + 1) if len(range(0, num_train_steps, k)) == count]
            if not strides:
                raise SGMError(
                    f"No integer stride takes exactly {count} of {num_train_steps} train steps; choose another number "
                    f"or the spacing '{count}'."
                )
            return list(range(0, num_train_steps, strides[0]))
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise SGMError(f"Spacing must look like '250', '10,15,20' or 'ddim25', got {spacing!r}.") from None
    steps: list[int] = []
    base, extra = divmod(num_train_steps, len(counts))
    start = 0
    for section, count in enumerate(counts):
        size = base + (section < extra)
        if not 1 <= count <= size:
            raise SGMError(
                f"Each part of a spacing must be between 1 and its share of the chain ({size} train steps), got {count} "
                f"in {spacing!r}."
            )
        stride = (size - 1) / (count - 1) if count > 1 else 1
        # Added up step by step as in the released code, so that halves round alike.
        positions = accumulate(repeat(stride, count - 1), initial=0.0)
        steps += [start + round(position) for position in positions]
        start += size
    return steps
