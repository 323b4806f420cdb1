"""Runs the command line as `python -m sgm_lightning`."""

import sys

from sgm_lightning.cli import main

sys.exit(main())
