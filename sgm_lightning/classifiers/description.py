"""The description of a classifier as plain data, which is saved with its weights, and its reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sgm_lightning.classifiers.base import NoisyClassifier
from sgm_lightning.classifiers.encoder import EncoderClassifier
from sgm_lightning.classifiers.flags import ClassifierFlags
from sgm_lightning.classifiers.stacked import StackedNetwork
from sgm_lightning.diffusion.schedule import LONGEST, SCHEDULES
from sgm_lightning.errors import SGMError
from sgm_lightning.files.values import is_number, is_whole, shown

_LARGEST, _CLASSES = 16_384, 10_000_000
_DEEPEST = 4  # classifiers on the features of one another
_FEWEST = 8  # tensors of a residual block


def description(classifier: NoisyClassifier) -> dict[str, Any]:
    """Return all but the weights of a classifier, and its chain."""
    return {"classifier": classifier.describe(), "chain": None if classifier.chain is None else list(classifier.chain)}


def read_description(text: Any, file: Path) -> tuple[dict[str, Any], tuple[str, int] | None]:
    """Return the description of a classifier without its chain, for `from_description`, and the chain, if it is known.

    Args:
        text: Description, of any type.
        file: File of the classifier, for errors.

    Raises:
        SGMError: If it is no result of `description`.
    """
    if not isinstance(text, dict) or set(text) != {"classifier", "chain"}:
        raise _must_be("The description", file, "a mapping of classifier and chain", text)
    chain = text["chain"]
    if chain is not None:
        if not isinstance(chain, list) or len(chain) != 2 or not is_whole(chain[1], LONGEST):
            raise _must_be("chain", file, f"null, or a noise schedule and its length from 1 to {LONGEST}", chain)
        if not isinstance(chain[0], str) or chain[0] not in SCHEDULES:
            raise _must_be("The noise schedule of chain", file, f"one of {', '.join(SCHEDULES)}", chain[0])
        chain = (chain[0], chain[1])
    return text["classifier"], chain


def from_description(text: Any, file: Path, tensors: int, depth: int = 1) -> NoisyClassifier:
    """Return the classifier of a description, with random weights. The inverse of `describe`.

    Args:
        text: Result of `describe`.
        file: File of the classifier, for errors.
        tensors: Number of tensors in the file, more than which no classifier can be made of.
        depth: Number of classifiers in which this one is a part, itself included.

    Raises:
        SGMError: If the description is none, or has values that cannot be meant.
    """
    kinds = {"encoder": {"kind", "flags"}, "stacked": {"kind", "extractor", "head"}}
    kind = text.get("kind") if isinstance(text, dict) else None
    if not isinstance(kind, str) or set(text) != kinds.get(kind):
        raise _must_be("The description", file, "of the kind encoder, with flags, or stacked, with extractor and head", text)
    if kind == "stacked":
        if depth >= _DEEPEST:
            raise _must_be("The description", file, f"at most {_DEEPEST} classifiers deep", text)
        parts = [from_description(text[part], file, tensors, depth + 1) for part in ("extractor", "head")]
        with _naming(file):
            return StackedNetwork(*parts)
    flags = _flags(text["flags"], file)
    with _naming(file):
        return _encoder(flags, tensors)


def _encoder(flags: ClassifierFlags, tensors: int) -> EncoderClassifier:
    """Return an encoder if there are tensors enough for it."""
    blocks = flags.classifier_depth * len(flags.of_unet().multipliers)
    if _FEWEST * blocks > tensors:
        raise SGMError(
            f"classifier_depth must be that of the weights, got {flags.classifier_depth} for {tensors} tensors; save the "
            "classifier again."
        )
    return EncoderClassifier(flags)


def _flags(given: Any, file: Path) -> ClassifierFlags:
    """Return flags if each is known and of its type."""
    hints = get_type_hints(ClassifierFlags)
    if not isinstance(given, dict) or not set(given) <= set(hints):
        raise _must_be("flags", file, f"a mapping of {', '.join(field.name for field in fields(ClassifierFlags))}", given)
    for name, value in given.items():
        kind, largest = hints[name], _CLASSES if name == "out_channels" else _LARGEST
        if get_origin(kind) is Literal:
            fits, rule = isinstance(value, str) and value in get_args(kind), f"one of {', '.join(get_args(kind))}"
        elif kind is int:
            smallest = -1 if name == "num_head_channels" else 1
            fits, rule = is_whole(value, largest, smallest), f"a whole number from {smallest} to {largest}"
        elif kind is float:
            fits, rule = is_number(value), "a number"
        else:
            fits, rule = type(value) is kind, {str: "a text", bool: "true or false"}[kind]
        if not fits:
            raise _must_be(name, file, rule, value)
    return ClassifierFlags(**given)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Name the file in errors about what it describes."""
    try:
        yield
    except SGMError as error:
        raise SGMError(f"The classifier that {file} describes cannot be made: {error}") from None


def _must_be(what: str, file: Path, rule: str, given: Any) -> SGMError:
    return SGMError(f"{what} in {file} must be {rule}, got {shown(given)}; save the classifier again.")
