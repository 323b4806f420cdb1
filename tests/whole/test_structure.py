"""The layers of the package, read from its imports: every arrow points down, and nothing hides one."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import sgm_lightning

ROOT = Path(sgm_lightning.__file__).parent
TESTS = Path(__file__).parents[1]
# From the ground up; a room may import those before it.
LAYERS = [
    *("errors", "version", "lazy", "signals", "progress", "files"),
    *(
        "diffusion",
        "backbones",
        "run",
        "scores",
        "classifiers",
        "world",
        "images",
        "metrics",
        "guidance",
        "features",
        "samplers",
    ),
    *("evaluation", "fit", "predict", "commands", "compare", "cli"),
]
# The only places that know Lightning.
LIGHTNING = {"fit", "predict", "commands", "compare", "cli", "__main__"}
# … and the files inside them that do not, with three in a room that otherwise does not.
PURE = {
    *(f"fit.{name}" for name in ("card", "objective", "schedules", "skill", "step_samplers")),
    *(f"predict.{name}" for name in ("check", "cost", "manifest", "settings")),
    *(f"compare.{name}" for name in ("anchors", "comparison", "plot", "seed_grid", "settings", "tables", "verbatim")),
    *(f"commands.{name}" for name in ("arguments", "configs", "pages", "renamed")),
    *("commands", "compare", "fit", "predict", "cli"),
}
IMPURE = {f"evaluation.{name}" for name in ("data", "module", "progress", "writer")}


@cache
def modules():
    """Dotted name inside the package and file of every module but the package's own two doors."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            found.append((name, file))
    return found


NAMES = {name for name, _ in modules()}


@cache
def imported(file):
    """(module inside the package, whether at the file's top) of every import, wherever it stands."""
    tree, found = ast.parse(file.read_text()), []
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sgm_lightning":
            inside = node.module.partition(".")[2]
            for alias in node.names:
                submodule = f"{inside}.{alias.name}".lstrip(".")
                found.append((submodule if submodule in NAMES else inside, id(node) in top))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("sgm_lightning."):
                    found.append((alias.name.partition(".")[2], id(node) in top))
    return found


def room(name):
    return name.partition(".")[0]


@cache
def arrows():
    found = {(name, target) for name, file in modules() for target, _ in imported(file)}
    from sgm_lightning.cli import COMMANDS  # names its modules as text

    return found | {("cli", command.run.partition(":")[0]) for command in COMMANDS.values()}


def test_every_room_has_a_floor():
    assert {room(name) for name in NAMES} == set(LAYERS)


def test_no_arrow_runs_up():
    assert not {(a, b) for a, b in arrows() if room(a) != room(b) and LAYERS.index(room(a)) < LAYERS.index(room(b))}


def test_files_have_no_circle():
    """Inside a room, too; its `__init__` gathers the files, and they must not come back to it."""
    left: dict[str, set[str]] = {name: set() for name in NAMES}
    for name, target in arrows():
        left[name] |= {target} - {name}
    while left:
        free = {name for name, targets in left.items() if not targets & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {name: targets for name, targets in left.items() if name not in free}


def test_no_import_hides_inside_a_function():
    assert not [
        (name, target)
        for name, file in modules()
        for target, top in imported(file)
        if not top and "__init__" not in file.name
    ]


def pure_modules():
    return {name for name in NAMES if (room(name) not in LIGHTNING and name not in IMPURE) or name in PURE}


def test_the_core_reaches_no_file_that_imports_lightning():
    reached, left = set(), sorted(pure_modules())
    files = dict(modules())
    while left:
        name = left.pop()
        parents = {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}  # their `__init__` runs
        new = ({target for target, top in imported(files[name]) if top} | parents | {name}) & NAMES - reached
        reached |= new
        left += new
    assert len(pure_modules()) > 90 and pure_modules() >= PURE
    knows = {name for name in reached if "lightning" in {package.partition(".")[0] for package in packages(files[name])}}
    assert not knows and "lightning.pytorch" in packages(files["predict.module"])


def packages(file):
    """Dotted names of everything that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.slow
def test_the_core_does_not_load_lightning():
    """Nor do the packages that it imports."""
    code = (
        f"import importlib, sys\nfor name in {sorted(pure_modules())}: importlib.import_module('sgm_lightning.' + name)\n"
        "sys.exit(bool({'lightning', 'pytorch_lightning'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", ["--help", "configs"])
def test_the_command_lines_help_does_not_wait_for_torch(command):
    code = f"import sys\nfrom sgm_lightning.cli import main\nmain(['{command}'])\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_no_test_imports_a_test():
    """What several tests need lies in `support`, fixtures in `conftest.py`, whose names pytest finds itself."""
    files = [file for file in TESTS.rglob("*.py") if file.name.startswith("test_") or file.parent.name == "support"]
    names_of_tests = {file.stem for file in files if file.name.startswith("test_")}
    assert len(names_of_tests) > 40
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            parts = {part for name in names for part in name.split(".")}
            found += [(file.name, part) for part in parts if part == "conftest" or part in names_of_tests]
    assert not found


def test_every_folder_of_tests_is_a_room():
    """Which tests cover a room is told by their folder; what is about all of it, or needs a cluster, lies apart."""
    folders = {file.parent.relative_to(TESTS).parts[0] for file in TESTS.glob("*/**/test_*.py")}
    assert folders - {"whole", "slurm"} <= set(LAYERS) and not list(TESTS.glob("test_*.py"))
