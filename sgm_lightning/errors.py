"""The one exception that speaks to users."""


class SGMError(Exception):
    """Bad input or a failed run, told in one sentence: what, the rule, the value given, the usual remedy.

    The command line prints the sentence without a traceback and exits with status 1.
    """
