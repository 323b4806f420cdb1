"""Where the tests find what is not code."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDENS = Path(os.environ.get("SGM_GOLDENS", ROOT / "tests" / "goldens"))
FASHION = ROOT / "checkpoints" / "fashion_mnist_28"
