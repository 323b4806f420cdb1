"""`sgm-lightning configs`: lists the configurations that ship with the package."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from sgm_lightning.errors import MalformedCommand
from sgm_lightning.files.locate import CONFIGS, shipped_configs, shipped_root

_HELP = """usage: sgm-lightning configs [NAME [--show]]

Lists the configurations that ship with the package, grouped by command. Those of `methods` and `presets` are given after
one of `predict`; those of `evaluation` are read by those of `compare`. --config takes a name with its folder, as in
predict/fashion_mnist, or without it if the folder is that of the command.

  NAME      Print the path of the configuration's file (of every one of that name, without a folder).
  --show    Print its text instead.
"""


def summary(text: str) -> str:
    """Return the comment line that a shipped YAML file begins with."""
    return text.partition("\n")[0].removeprefix("#").strip().removesuffix(".")


def overview() -> str:
    """Return all shipped configurations, one line each."""
    configs = shipped_configs()
    column = max((len(name.partition("/")[2]) for name in configs), default=0)
    lines = []
    for folder, names in groupby(configs, key=lambda name: name.partition("/")[0]):
        lines += ["", folder]
        for name in names:
            lines.append(f"  {name.partition('/')[2]:<{column}}  {summary(configs[name].read_text(encoding='utf-8'))}")
    return "\n".join([*lines[1:], ""])


def matching(name: str) -> list[Path]:
    """Return the files of that name: one if the name has a folder, else all."""
    bare = name.removeprefix(f"{CONFIGS}/").removesuffix(".yaml")
    return [file for full, file in shipped_configs().items() if bare in (full, full.partition("/")[2])]


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    names = [arg for arg in args[1:] if arg != "--show"]
    if set(names) & {"-h", "--help"}:
        print(_HELP, end="")
        return
    if len(names) > 1 or (not names and "--show" in args):
        raise MalformedCommand(f"`sgm-lightning configs` takes one name, got {' '.join(args[1:])}; see --help.")
    if not names:
        print(overview(), end="")
        return
    files = matching(names[0])
    if not files:
        raise MalformedCommand(
            f"There is no configuration {names[0]} in {shipped_root() / CONFIGS}; `sgm-lightning configs` lists what is "
            "shipped."
        )
    for file in files:
        print(file.read_text(encoding="utf-8") if "--show" in args else file, end="" if "--show" in args else "\n")
