"""The exceptions whose message is shown to the user, and what is shown of all others."""

import os
import tempfile
import traceback
from itertools import pairwise
from pathlib import Path


class SGMError(Exception):
    """Bad input or a failed run. The message is one sentence: the subject, the rule, the given value, the usual remedy.

    The command line prints the message without a traceback and exits with status 1.

    Args:
        message: Text of the message, which may hold names and values out of files. It is kept on one line, and without the
            control characters that a terminal would obey.
    """

    def __init__(self, message: str) -> None:
        # Names of files that are not UTF-8 keep their bytes, as surrogates.
        super().__init__("".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else " " for c in message))


class MalformedCommand(SGMError):
    """A command line that cannot be run. The exit status is 2, as for arguments that the parser refuses."""


def reason_of(error: BaseException, most: int = 160) -> str:
    """Return the message of an error of any library in one line of at most so many characters, or the name of its type."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def told(error: BaseException | None) -> SGMError | None:
    """Return the message for the user inside an error, or None. jsonargparse wraps errors that a constructor raises."""
    disk: OSError | None = None
    while error is not None and not isinstance(error, SGMError):
        disk = error if isinstance(error, OSError) and error.filename else disk
        error = error.__cause__ or error.__context__
    if error is None and disk is not None:
        return SGMError(f"{disk.filename} cannot be read or written ({disk.strerror}); check the path and the disk.")
    if error is not None and "in DataLoader worker" in str(error):  # torch passes on the worker's traceback
        return SGMError(str(error).split("SGMError: ")[-1].strip())
    return error


def unforeseen(error: BaseException, args: list[str]) -> SGMError:
    """Return the message for the user about an error that nobody foresaw, and write its traceback to a file.

    Args:
        error: Error, which is raised again if the variable SGM_DEBUG is set.
        args: Arguments of the command; the file goes into the folder of `--run_dir` or `--output` if there is one.
    """
    if os.environ.get("SGM_DEBUG"):
        raise error
    lines = "".join(traceback.format_exception(error))
    given = dict(pairwise(args)) | dict(arg.split("=", 1) for arg in args if "=" in arg)
    folders = [Path(given[key]) for key in ("--run_dir", "--output") if given.get(key)]
    for folder in [*(folder for folder in folders if folder.is_dir()), Path(tempfile.gettempdir())]:
        file = folder / f"error-{os.getpid()}.txt"
        try:
            file.write_text(f"sgm-lightning {' '.join(args)}\n\n{lines}", encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        place = f"its traceback is in {file}"
        break
    else:
        place = "its traceback could not be written; set SGM_DEBUG=1 to see it"
    text = str(error) and f": {reason_of(error, 300)}"
    return SGMError(f"This was not foreseen: {type(error).__name__}{text}; {place}, which belongs in a report of the fault.")
