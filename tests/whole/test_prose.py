"""Docstrings open with a subject or a verb, arguments are described in words, and lines of documents fit."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sgm_lightning"
LIMIT = 125  # characters, as in the code
FEWEST_WORDS = 3

OPENING = re.compile(r"\s*(What|Whether|How|Of|Where|Which|Who)\b", re.IGNORECASE)
SECTION = re.compile(r"(Args|Attributes):\s*$")
# An entry of a section: `name: text`, `name (type): text`, `*args: text`; the text may begin on the next line.
ENTRY = re.compile(r"(?P<name>\*{0,2}\w+)(?: \([^)]*\))?:(?: (?P<text>.*))?$")
# Folders of tools and of results, and the results that `compare` writes into the documentation.
OUTSIDE = {".git", ".venv", "runs", "site", "dist", "build", "node_modules", "__pycache__"}
GENERATED = "_differences.md"
# Lists, quotes, comments and reference definitions may lead a line that is one link.
MARKER = r"\s*(?:[-*+>#] +|\d+\. +|\[[^\]]+\]: *)*"
LINK = re.compile(MARKER + r"(?:<?\w+://\S+|!?\[[^\]]*\]\(\S+\)\S*)\s*$")


def docstrings(source):
    """First line and text of every docstring of a module."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0].lineno, ast.get_docstring(node, clean=False)


def noun_clauses(source):
    """Lines of the docstrings that open with a question word, or with `Of`."""
    return [line for line, text in docstrings(source) if OPENING.match(text)]


def entries(first_line, docstring):
    """(line, text) of every entry under `Args:` and `Attributes:`, its continuation lines included."""
    section = indent = None  # columns of the section's title and of its entries, once they are known
    found = []
    for line, row in enumerate(docstring.splitlines(), first_line):
        column = len(row) - len(row.lstrip())
        if not row.strip():
            continue
        if section is None or column <= section:
            section, indent = (column, None) if SECTION.match(row.strip()) else (None, None)
        elif indent is None or column == indent:
            indent = column
            entry = ENTRY.match(row.strip())
            found.append([line, (entry["text"] or "") if entry else ""])  # a row that is no entry has no text
        else:
            found[-1][1] += " " + row.strip()
    return found


def thin_entries(source):
    """Lines of the entries whose text has too few words."""
    return [
        line
        for first_line, docstring in docstrings(source)
        for line, text in entries(first_line, docstring)
        if sum(any(map(str.isalnum, word)) for word in text.split()) < FEWEST_WORDS
    ]


def long_lines(text, suffix):
    """Numbers of the lines that are too long, but for rows of Markdown tables and lines that are one link."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > LIMIT and not (suffix == ".md" and line.startswith("|")) and not LINK.match(line)
    ]


def places(files, check):
    """`file:line` of every line that `check` returns, one per line."""
    return "\n".join(f"{file.relative_to(ROOT)}:{line}" for file in files for line in check(file))


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def documents(root=ROOT):
    """Markdown and YAML files that are written by hand. Large folders of tools at the top are not searched."""
    tops = [top for top in root.iterdir() if top.name not in OUTSIDE]
    files = [file for top in tops for file in (top.rglob("*") if top.is_dir() else [top])]
    return sorted(
        file
        for file in files
        if file.suffix in (".md", ".yaml")
        and not file.name.endswith(GENERATED)
        and not OUTSIDE & set(file.relative_to(root).parts)
    )


def test_no_docstring_opens_with_a_noun_clause():
    found = places(modules(), lambda file: noun_clauses(file.read_text(encoding="utf-8")))
    assert not found, f"docstrings that open with a question word, or with `Of`:\n{found}"


def test_every_argument_and_attribute_is_described_in_words():
    found = places(modules(), lambda file: thin_entries(file.read_text(encoding="utf-8")))
    assert not found, f"entries of fewer than {FEWEST_WORDS} words:\n{found}"


def test_lines_of_documents_and_configurations_fit():
    found = places(documents(), lambda file: long_lines(file.read_text(encoding="utf-8"), file.suffix))
    assert not found, f"lines of more than {LIMIT} characters:\n{found}"


def test_a_place_is_a_file_and_a_line():
    assert places([ROOT / "README.md", ROOT / "docs/a.md"], lambda file: [1, 7]).split() == [
        "README.md:1",
        "README.md:7",
        "docs/a.md:1",
        "docs/a.md:7",
    ]


def test_the_checks_see_the_package_and_its_documents():
    assert len(modules()) > 100 and {"README.md", "fashion_mnist.yaml"} <= {file.name for file in documents()}


def test_results_and_folders_of_tools_are_left_out(tmp_path):
    names = ["a.md", "b/c.yaml", ".d.yaml", "e.py", "site/f.md", "b/runs/g.md", ".venv/h.md", "b/i_differences.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {str(file.relative_to(tmp_path)) for file in documents(tmp_path)} == {"a.md", "b/c.yaml", ".d.yaml"}


@pytest.mark.parametrize("word", ["What", "Whether", "How", "Of", "Where", "Which", "Who"])
def test_a_noun_clause_is_found_wherever_a_docstring_may_stand(word):
    source = f'''"""{word} opens the module."""
class A:
    """
    {word} opens the class, on its second line.
    """
    @property
    def b(self):
        """{word} opens the property."""
    async def c(self):
        """Return {word}, which does not open it."""
def d():
    """{word}ever is another word."""
'''
    assert noun_clauses(source) == [1, 3, 8]


def thin(*rows):
    """Numbers of the thin entries among the rows of one docstring."""
    source = ["def f():", '    """Return a thing.', *rows, '    """', "    return 1"]
    return [line - 2 for line in thin_entries("\n".join(source))]


def test_a_thin_entry_is_found():
    assert thin("", "    Args:", "        seed: Of the draws.", "        k: Which.", "        n: T.") == [4, 5]
    assert thin("    Attributes:", "        a (int): A count.", "        **rest: As usual, mostly.", "        b:") == [2, 4]
    assert thin("    Args:", "        shape: (…) → [ ]", "        a row that is no entry") == [2, 3]


def test_a_text_may_begin_or_go_on_in_the_next_lines():
    assert not thin("    Args:", "        seed:", "            Seed of the draws.")
    assert not thin("    Args:", "        a: One", "            of", "            many.", "", "        b: Number of rows.")
    assert thin("    Args:", "        seed:", "            Seed.", "        k: Number of rows.") == [2]


def test_a_section_ends_where_the_next_begins():
    assert not thin("    Args:", "        seed: Seed of the draws.", "    Returns:", "        x: y", "    Note: short")
    assert thin("    Raises:", "        E: If.", "    Attributes:", "        x: y.", "    Args:", "        z: w.") == [4, 6]


def test_a_long_line_is_found():
    long = "word " * 25 + "!"
    assert long_lines(f"short\n{long}\n# {long}", ".yaml") == [2, 3]
    assert long_lines(long[:LIMIT], ".md") == []


def test_tables_and_links_may_be_long():
    url = "https://example.org/" + "a" * LIMIT
    alone = [url, f"- <{url}>", f"[name]: {url}", f"![a figure]({url})", f"# {url}", f"1. [a page]({url})."]
    assert long_lines("\n".join(alone), ".md") == []
    assert long_lines(f"| a | {url} | b |", ".md") == [] and long_lines(f"| a | {url} | b |", ".yaml") == [1]
    assert long_lines(f"See {url}\n[a page]({url}) and more", ".md") == [1, 2]
