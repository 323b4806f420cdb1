"""Processes that tests start."""

import subprocess
import sys


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
