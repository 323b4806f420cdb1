"""The package's version, in a separate module so that reading it imports nothing else."""

__version__ = "0.2.0"
