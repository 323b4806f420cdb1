"""Pages that are generated from the package when the site is built: the Python and command-line reference."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from typing import Any

from mkdocs.structure.files import File, Files

from sgm_lightning.cli import COMMANDS, main, markdown_table
from sgm_lightning.commands.configs import overview

ROOMS = (
    *("diffusion", "scores", "guidance", "samplers", "backbones", "classifiers", "world", "images", "features"),
    *("metrics", "evaluation", "predict", "fit", "run"),
)


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; the function's name is MkDocs' own."""
    pages = {f"reference/api/{room}.md": api_page(room) for room in ROOMS}
    pages |= {"reference/command_line.md": command_line_page(), "reference/configurations.md": configurations_page()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def api_page(room: str) -> str:
    """The page of one subpackage: every public name, in alphabetical order."""
    module = importlib.import_module(f"sgm_lightning.{room}")
    names = sorted(module.__all__, key=str.lower)
    blocks = [f"::: sgm_lightning.{room}.{name}" for name in names]
    return "\n\n".join([f"# {room.capitalize()}", f"`sgm_lightning.{room}`: {module.__doc__}", *blocks, ""])


def command_line_page() -> str:
    """The help of every command."""
    parts = ["# Command line", "Every page below is what `sgm-lightning COMMAND --help.all` prints.", markdown_table()]
    for name, command in COMMANDS.items():
        parts += [f"## {name}", f"{command.summary.capitalize()}.", f"```text\n{help_of(name)}\n```"]
    return "\n\n".join([*parts, ""])


def configurations_page() -> str:
    """The list that `sgm-lightning configs` prints."""
    text = "`sgm-lightning configs` prints this list, and `sgm-lightning configs NAME --show` one of them."
    return f"# Shipped configurations\n\n{text}\n\n```text\n{overview()}```\n"


def help_of(name: str) -> str:
    """The text that `sgm-lightning NAME --help.all` prints, 110 columns wide."""
    out = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "110"
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([name, "--help.all"])
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return out.getvalue().strip()
