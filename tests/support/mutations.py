"""Seeded mutations of values, arrays and files, and the promise that holds for each: the right result or one sentence."""

import math
import resource
import signal
import struct
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from sgm_lightning.errors import told
from support.configs import places


class _Removed:
    """A place to be removed; its name is the same in every process, as names of tests must be."""

    def __repr__(self):
        return "removed"


REMOVED = _Removed()


def deep(depth=10_000):
    """A list in a list in a list …"""
    value = []
    for _ in range(depth):
        value = [value]
    return value


def torch_save(content, file):
    """Write content of any depth with `torch.save`, which recurses, in a thread with a stack that is large enough."""
    size, limit = threading.stack_size(2**29), sys.getrecursionlimit()
    sys.setrecursionlimit(200_000)
    try:
        thread = threading.Thread(target=torch.save, args=(content, file))
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(size)
    assert file.is_file()


# What no field of a file is meant to hold.
STRANGE = [
    *(None, True, 0, -1, 10**5, 10**9, 10**30, 0.5, math.nan, math.inf, "", "text", "\x1b[2J\n", "~", "../.."),
    *([], [None], {}, {"a": 1}, [[[]]], deep(50)),
]
# … nor one that holds weights.
TENSORS = [
    *(torch.zeros(()), torch.zeros(0), torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.complex64)),
    *(torch.full((3,), math.nan), torch.zeros(1).expand(10**10), torch.zeros(3, device="meta"), torch.eye(3).to_sparse()),
]


def mutated(tree, source, strange=STRANGE, most=2):
    """A tree of dictionaries and lists with some of its places replaced, removed, renamed or doubled.

    Args:
        tree: Tree; it stays as it is.
        source: Source of random numbers, a `random.Random`.
        strange: Values to put in place of others.
        most: Largest number of changes.
    """
    tree = _copied(tree)
    for _ in range(source.randint(1, most)):
        found = list(places(tree))
        if not found:
            break
        path = source.choice(found)
        inside = tree
        for key in path[:-1]:
            inside = inside[key]
        change = source.choice(["replace", "replace", "remove", "rename", "double"])
        if change == "replace":
            # A copy: what is put into the tree may change in turn, and one list inside itself is no mutation of a file.
            inside[path[-1]] = _copied(source.choice(strange))
        elif change == "remove":
            del inside[path[-1]]
        elif isinstance(inside, dict):
            inside[f"{path[-1]}x" if change == "rename" else "extra"] = inside[path[-1]]
            if change == "rename":
                del inside[path[-1]]
        else:
            inside.append(inside[path[-1]])
    return tree


def _copied(tree):
    """The tree with dictionaries and lists of its own; what they hold is shared."""
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def damaged(data, source):
    """The bytes of a file with some of them changed, removed, doubled or made zero."""
    data = bytearray(data)
    for _ in range(source.choice([1, 1, 2, 5])):
        place, count = source.randrange(len(data) or 1), source.choice([1, 4, 50])
        # Formats have what matters at their ends.
        place = source.choice([place, min(place, 300), max(0, len(data) - 1 - place % 300)])
        change = source.choice(["flip", "flip", "flip", "set", "cut", "insert", "remove", "zero", "double"])
        if change == "flip":
            data[place : place + 1] = bytes(byte ^ (1 << source.randrange(8)) for byte in data[place : place + 1])
        elif change == "set":
            data[place : place + 1] = bytes([source.choice([0, 1, 127, 128, 255])])
        elif change == "cut":
            del data[place:]
        elif change == "insert":
            data[place:place] = source.choice([source.randbytes(count), struct.pack("<q", 2**62), b"[" * 5000])
        elif change == "remove":
            del data[place : place + count]
        elif change == "zero":
            data[place : place + count] = bytes(len(data[place : place + count]))
        else:
            data[place:place] = data[place : place + count]
    return bytes(data)


def damaged_array(array, source):
    """An array of another type or shape, or with other values."""
    array = np.asarray(array)
    changes = [
        lambda: array.astype(source.choice([np.int64, np.float32, np.float64, np.complex64, np.bool_, np.int8, "U3", "S2"])),
        lambda: array.reshape(source.choice([(-1,), (1, *array.shape), (*array.shape, 1)])),
        lambda: array[: source.randrange(len(array) + 1)] if array.ndim else array[None],
        lambda: np.concatenate([array, array]) if array.ndim else array,
        lambda: np.full(array.shape, source.choice([math.nan, math.inf, -1, 1e30])),
        lambda: np.broadcast_to(array, (source.choice([1, 5]), *array.shape)),
        lambda: np.asarray(source.choice([0, "x", None, 10**30, True]), dtype=None),
        lambda: array.byteswap().view(array.dtype.newbyteorder()),
        lambda: np.zeros(array.shape, [("a", "u1"), ("b", "f4")]),
    ]
    return source.choice(changes)()


SECONDS, MEMORY = 10, 2**30


class _TooLong(BaseException):
    """Not to be caught by what is tried."""


@contextmanager
def limits(seconds=SECONDS, memory=MEMORY):
    """What happens inside takes no longer on a processor, and no more memory.

    Where it asks for more memory, torch and Python raise. Of the clock, which runs for other programs as well, it may take
    six times as long.
    """

    def stop(*_):
        raise _TooLong

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, 6 * seconds))
    before = [signal.signal(number, stop) for _, number, _ in timers]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, hard))
    for timer, _, most in timers:
        signal.setitimer(timer, most)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for (_, number, _), handler in zip(timers, before, strict=True):
            signal.signal(number, handler)


def refusal(work, given=None):
    """The sentence that ends a piece of work, or None if it gives a result; anything else fails.

    Args:
        work: Function to call.
        given: Mutation that it is called on, for the failing test.
    """
    try:
        with limits():
            work()
    except _TooLong:
        raise AssertionError(f"longer than {SECONDS} s: {_text(given)}") from None
    except Exception as error:
        sentence = told(error)
        assert sentence is not None, f"{error!r:.500} for {_text(given)}"
        check_sentence(str(sentence), given)
        return str(sentence)
    return None


def check_sentence(sentence, given=None):
    """Fail unless it is one line, and of a length that can be read, and does not tell of tensors that found no memory.

    Python's own MemoryError may be told: where a pickle says that 4 GiB of text follow, reading the file asks for so much
    address space, which the limit here refuses, and of which a reader without it would touch no more than the file has.
    """
    assert sentence.isprintable() and 20 < len(sentence) < 1500, f"{sentence!r:.2000} for {_text(given)}"
    assert "alloc" not in sentence, f"{sentence} for {_text(given)}"


def _text(given):
    try:
        return repr(given)[:2000]
    except RecursionError:
        return "what is nested too deeply to be shown"
