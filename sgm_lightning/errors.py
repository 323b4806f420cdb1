"""The one exception that speaks to users."""


class SGMError(Exception):
    """Bad input or a failed run, told in one sentence: what, the rule, the value given, the usual remedy.

    The command line prints the sentence without a traceback and exits with status 1.
    """


class MalformedCommand(SGMError):
    """A command line that cannot be run; exit status 2, as for what the parser refuses."""


def told(error: BaseException | None) -> SGMError | None:
    """The sentence for the user inside an error; jsonargparse wraps what a constructor raises."""
    disk: OSError | None = None
    while error is not None and not isinstance(error, SGMError):
        disk = error if isinstance(error, OSError) and error.filename else disk
        error = error.__cause__ or error.__context__
    if error is None and disk is not None:
        return SGMError(f"{disk.filename} cannot be read or written ({disk.strerror}); check the path and the disk.")
    if error is not None and "in DataLoader worker" in str(error):  # torch hands the worker's whole traceback on
        return SGMError(str(error).split("SGMError: ")[-1].strip())
    return error
