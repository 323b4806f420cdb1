"""The package's version, apart so that recording it imports nothing else."""

__version__ = "0.2.0"
