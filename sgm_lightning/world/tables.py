"""The factors of the emoji world, and how probable their values are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sgm_lightning.errors import SGMError

# The emoji by their short names, in alphabetical order.
SHORT_NAMES = (
    *("airplane", "apple", "banana", "bear", "bee", "bird", "boar", "boat", "bus", "butterfly", "cake", "car", "cat"),
    *("cherries", "chicken", "cow", "crab", "dog", "elephant", "fox_face", "frog", "grapes", "guitar", "hamburger"),
    *("horse", "house", "key", "lion_face", "monkey_face", "mouse", "octopus", "owl", "panda_face", "penguin", "pig"),
    *("pizza", "rabbit", "rocket", "snail", "strawberry", "tiger", "tractor", "tropical_fish", "turtle"),
    *("unicorn_face", "watermelon", "whale", "wolf"),
)
COLOURS = {
    "white": (255, 255, 255),
    "sky": (135, 206, 235),
    "grass": (124, 190, 90),
    "sand": (237, 210, 150),
    "night": (25, 30, 70),
    "rose": (240, 150, 170),
    "violet": (120, 80, 180),
    "black": (10, 10, 10),
}
# The values of every factor, in the order in which factors are numbered everywhere.
FACTORS: dict[str, tuple[str, ...]] = {
    "object": tuple(name.removesuffix("_face").replace("_", " ") for name in SHORT_NAMES),
    "background": tuple(COLOURS),
    "style": ("noto", "twemoji"),
    "turn": ("upright", "upside down"),
}
_STYLES = ("shaded style", "flat style")


class World:
    """Independent factors with known probabilities: the object, its background, its style, and whether it is turned.

    In the `normal` world, objects follow Zipf's law with exponent 1 and backgrounds with exponent 1.5; 4 of 5 pictures are
    `noto`, and 1 of 20 is upside down. In the `reversed` world, the orders of objects and of backgrounds are turned round.
    In the `uniform` world, all values of a factor are equally probable.

    Args:
        tables: `normal`, `reversed`, `uniform`, or weights by factor and value, such as `{turn: {upright: 1}}`, where values
            that a table leaves out never occur, and factors that are left out are as in the normal world.

    Attributes:
        probabilities: Probability of every value of a factor, in the order of `FACTORS`, by the factor's name.

    Raises:
        SGMError: If a table names a factor or a value that does not exist, or its weights are no weights.
    """

    def __init__(self, tables: str | Mapping[str, Mapping[str, float]] = "normal") -> None:
        if isinstance(tables, str) and tables not in ("normal", "reversed", "uniform"):
            raise SGMError(f"A world is `normal`, `reversed`, `uniform` or a table by factor, got {tables!r}.")
        reverse = tables == "reversed"
        order = np.random.default_rng(0).permutation(len(SHORT_NAMES))
        self.probabilities = {
            "object": _zipf(order[::-1] if reverse else order, 1.0),
            "background": _zipf(np.arange(len(COLOURS))[:: -1 if reverse else 1], 1.5),
            "style": np.array([0.8, 0.2]),
            "turn": np.array([0.95, 0.05]),
        }
        if tables == "uniform":
            tables = {factor: dict.fromkeys(values, 1.0) for factor, values in FACTORS.items()}
        if not isinstance(tables, str):
            for factor, weights in tables.items():
                self.probabilities[factor] = _own(factor, weights)

    def rarity(self, factors: np.ndarray) -> np.ndarray:
        """Return −Σ ln p over the factors, in nats.

        Args:
            factors: Number of the value of every factor, (N, 4) integers.

        Returns:
            (N,) float64; infinite where a value never occurs.
        """
        return self.rarity_by_factor(factors).sum(1)

    def rarity_by_factor(self, factors: np.ndarray) -> np.ndarray:
        """Return −ln p of each factor, whose sum is the rarity: (N, 4) float64 of (N, 4) integers."""
        columns = zip(self.probabilities.values(), factors.T, strict=True)
        with np.errstate(divide="ignore"):
            return np.stack([-np.log(table)[values] for table, values in columns], 1)

    def rarity_quantile(self, share: float) -> float:
        """Return the least rarity, in nats, of the rarest `share` of the world's pictures."""
        rarity, probability = self._all()
        rising = np.argsort(rarity)
        reached = np.cumsum(probability[rising])
        first = int(np.searchsorted(reached, 1 - share))
        return float(rarity[rising][min(first, len(rising) - 1)])

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rarity and probability of every combination that occurs."""
        joint = np.ones(1)
        for table in self.probabilities.values():
            joint = np.outer(joint, table).ravel()
        joint = joint[joint > 0]
        return -np.log(joint), joint


def is_held_out(factors: np.ndarray) -> np.ndarray:
    """Return whether (object + 3 · background) mod 16 = 5: pairs that a training set can leave out, (N,) bool."""
    return (factors[:, 0] + 3 * factors[:, 1]) % 16 == 5


def caption(factors: Sequence[int]) -> str:
    """Return the sentence that describes a picture.

    >>> caption([19, 6, 1, 1])
    'a fox, upside down, on violet, flat style'
    """
    thing, background, turn = (FACTORS[name][factors[i]] for name, i in (("object", 0), ("background", 1), ("turn", 3)))
    article = "an" if thing[0] in "aeio" else "a"  # but "a unicorn"
    words = thing if thing in ("cherries", "grapes") else f"{article} {thing}"
    return f"{words}, {turn}, on {background}, {_STYLES[factors[2]]}"


def _zipf(order: np.ndarray, exponent: float) -> np.ndarray:
    """Return p ∝ rank^−exponent for values whose ranks, from 1, follow `order`."""
    weights = np.empty(len(order))
    weights[order] = np.arange(1, len(order) + 1) ** -exponent
    return weights / weights.sum()


def _own(factor: str, weights: Mapping[str, float]) -> np.ndarray:
    if factor not in FACTORS:
        raise SGMError(f"The factors of the world are {', '.join(FACTORS)}, got {factor!r}.")
    values = FACTORS[factor]
    if unknown := [value for value in weights if value not in values]:
        raise SGMError(f"The values of the factor {factor} are {', '.join(values)}, got {unknown[0]!r}.")
    table = np.array([float(weights.get(value, 0.0)) for value in values])
    if not (np.isfinite(table).all() and (table >= 0).all() and table.sum() > 0):
        raise SGMError(f"The weights of the factor {factor} must not be negative nor all 0, got {dict(weights)}.")
    return table / table.sum()
