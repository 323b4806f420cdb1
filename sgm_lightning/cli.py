"""The command line: a table of commands, and `main`, which runs one and reports how it ended."""

from __future__ import annotations

import gc
import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

from sgm_lightning.commands.pages import PAGES, page
from sgm_lightning.errors import MalformedCommand, told, unforeseen
from sgm_lightning.signals import EXIT_RESUMABLE, Interrupted, stop_signals
from sgm_lightning.version import __version__


class Command(NamedTuple):
    """One command.

    Attributes:
        summary: Short description for the overview.
        example: Arguments of a typical call.
        run: Module and name of the function that takes the command's whole argument list.
    """

    summary: str
    example: str
    run: str


# Modules are named, not imported: help must not wait for torch.
COMMANDS = {
    "predict": Command("draw samples into a run folder", "--config NAME --run_dir DIR", "commands.predict:predict"),
    "show": Command("show the rarest samples of a run", "RUN --rarest 10", "commands.show:run"),
    "fit": Command("train or fine-tune a model", "--config NAME --run_dir DIR", "commands.fit:fit"),
    "fit_classifier": Command(
        "train a classifier of noisy images", "--config NAME --run_dir DIR", "commands.fit_classifier:run"
    ),
    "fit_reader": Command("train a reader of the emoji world", "--config NAME --run_dir DIR", "commands.fit_reader:run"),
    "read": Command("read pictures of the emoji world", "PICTURES --output FILE.csv", "commands.read:run"),
    "test": Command("evaluate finished images", "--config NAME --data.images PATH", "commands.test:test"),
    "compare": Command("compare methods on the same seeds", "--config NAME --output DIR", "compare.command:run"),
    "score": Command("score a data set, find minority levels", "--config NAME --output FILE", "commands.score:run"),
    "features": Command("save features of real images", "--config NAME --output FILE", "commands.features:run"),
    "estimate": Command("estimate the cost of a run", "--config NAME --devices 8 --tflops 312", "commands.estimate:run"),
    "convert": Command("change a checkpoint's layout", "--config NAME --output DIR", "commands.convert:run"),
    "configs": Command("list the shipped configurations", "[NAME --show]", "commands.configs:run"),
}


def usage() -> str:
    """Return the overview that `--help` prints."""
    lines = [
        f"  {name:<14} {command.summary:<39} sgm-lightning {name} {command.example}" for name, command in COMMANDS.items()
    ]
    return "\n".join(["usage: sgm-lightning COMMAND --help", "", *lines, ""])


def markdown_table() -> str:
    """Return the same as a table of Markdown, as README.md and the documentation show it."""
    rows = [f"| `{name}` | {command.summary} | `{name} {command.example}` |" for name, command in COMMANDS.items()]
    return "\n".join(["| command | purpose | typical call: `sgm-lightning …` |", "|---|---|---|", *rows])


def main(args: list[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Arguments of the command line; default: those of the process.

    Returns:
        Exit status: 0 after success; 1 after an error, which is printed in one sentence; 75 after a signal, if the same
        command resumes. Malformed command lines and YAML files give exit status 2.
    """
    own = args is None
    for stream in (sys.stdout, sys.stderr):  # a terminal without ± shows another sign, and nothing ends for it
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(usage(), end="")
        return 0
    if args[0] == "--version":
        print(f"sgm-lightning {__version__}")
        return 0
    if args[0] not in COMMANDS:
        near = "".join(f" (did you mean `{name}`?)" for name in get_close_matches(args[0], COMMANDS, 1))
        names = ", ".join(COMMANDS)
        print(f"error: The command must be one of {names}, got {args[0]}{near}; see --help.", file=sys.stderr)
        return 2
    if args[0] in PAGES and set(args[1:]) & {"-h", "--help"}:
        print(page(args[0]), end="")
        return 0
    args = ["--help" if arg == "--help.all" else arg for arg in args]
    try:
        # If the command line is that of the process, the process ends next. Late signals from peers that stop as well must
        # neither change its exit status nor suppress its message.
        with stop_signals.handling(for_good=own), _short_thread_errors():
            with _no_search_for_garbage(for_good=own):
                function = _function(COMMANDS[args[0]])
            function(args)
    except Interrupted as stop:
        if _first_process():
            print(f"interrupted ({stop}): what is finished is safe; the same command resumes.", file=sys.stderr)
        return EXIT_RESUMABLE
    except Exception as error:
        sentence = told(error) or unforeseen(error, args)
        print(f"error: {sentence}", file=sys.stderr)
        return 2 if isinstance(sentence, MalformedCommand) else 1
    return 0


def _function(command: Command) -> Callable[[list[str]], object]:
    """Import the function of a command."""
    module, name = command.run.split(":")
    function: Callable[[list[str]], object] = getattr(import_module(f"sgm_lightning.{module}"), name)
    return function


@contextmanager
def _no_search_for_garbage(for_good: bool) -> Iterator[None]:
    """Look for no garbage meanwhile; if `for_good`, never among what is made meanwhile.

    What imports make stays: almost a million objects for `predict`, and each search among them takes a second.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        if for_good:
            gc.freeze()
    finally:
        if enabled:
            gc.enable()


def _first_process() -> bool:
    """Return whether this is the process that prints messages for its group."""
    lightning = sys.modules.get("lightning.pytorch.utilities")  # without it there is no group
    return lightning is None or lightning.rank_zero_only.rank == 0


@contextmanager
def _short_thread_errors() -> Iterator[None]:
    """Print one line instead of a traceback when TensorBoard's thread cannot write, as on a full disk."""
    before = threading.excepthook

    def tell(error: threading.ExceptHookArgs) -> None:
        if isinstance(error.exc_value, OSError):
            print(f"warning: logging stopped ({error.exc_value})", file=sys.stderr)
        else:
            before(error)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before
