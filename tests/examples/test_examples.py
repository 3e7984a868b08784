"""Recipes have one form, are listed, and say what they need; the documentation's build runs them."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
HEADER = (ROOT / "examples" / "GALLERY_HEADER.rst").read_text(encoding="utf-8")
pytestmark = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def distribution(name: str) -> str:
    """Give a requirement's name as pip compares it, without versions and markers."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name).group()).lower()  # type: ignore[union-attr]


def provided(requirements: list[str], extras: dict[str, list[str]]) -> set[str]:
    """List the distributions that requirements ask for, those of the package's own extras among them."""
    found: set[str] = set()
    for requirement in requirements:
        found.add(distribution(requirement))
        for extra in re.findall(r"xai-fast\[([\w,]+)\]", requirement):
            found |= provided([one for name in extra.split(",") for one in extras[name]], extras)
    return found


def test_has_the_form_of_a_recipe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    title, line, *lead = (ast.get_docstring(ast.parse(text)) or "\n").splitlines()
    cells = re.findall(r"\n# %%\n(.)", text)
    form = {
        "title": line == "=" * len(title) != "",
        "question": "\n".join(lead).count("\n\n") >= 1,
        "needs": "\nNeeds ``pip install" in "\n".join(lead),
        "prose": len(cells) > 2 and set(cells) == {"#"},
        "shows": "\nplt.show()\n" in text or bool(re.search(r"\n(coloured_words|\w+_svg)\(.*\)\n", text)),
    }
    assert [name for name, good in form.items() if not good] == []


def test_is_listed_once(path: Path) -> None:
    assert HEADER.count(f":doc:`{path.stem}`") == 1
    assert HEADER.count(":doc:") == len(EXAMPLES)


def test_says_which_packages_it_needs(path: Path) -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    command = re.search(r"Needs ``pip install ([^`]+)``", ast.get_docstring(tree) or "").group(1)  # type: ignore[union-attr]
    stated = [word.strip("'") for word in command.split()]
    needed = provided([*stated, *project["dependencies"]], project["optional-dependencies"])
    imported = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports(tree)}
    missing = []
    for module in sorted({str(name).partition(".")[0] for name in imported} - sys.stdlib_module_names):
        sources = installed().get(module, [module])
        if not needed & {distribution(source) for source in sources}:
            missing.append(module)
    assert missing == []


def test_imports_what_exists(path: Path) -> None:
    ours = [node for node in imports(ast.parse(path.read_text(encoding="utf-8"))) if "xai_fast" in ast.unparse(node)]
    exec(compile(ast.Module(ours, []), str(path), "exec"), {})
    assert ours


@functools.cache
def installed() -> Mapping[str, list[str]]:
    """List the distributions that have each module."""
    return importlib.metadata.packages_distributions()


def imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
