"""The exceptions whose message is shown to the user."""


class SGMError(Exception):
    """Bad input or a failed run. The message is one sentence: the subject, the rule, the given value, the usual remedy.

    The command line prints the message without a traceback and exits with status 1.
    """


class MalformedCommand(SGMError):
    """A command line that cannot be run. The exit status is 2, as for arguments that the parser refuses."""


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
