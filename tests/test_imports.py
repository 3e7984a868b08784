"""Imports go one way, also those inside functions: no module reaches itself, and no package imports one above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import xai_fast

PACKAGE = Path(xai_fast.__file__).parent
ORDER = (
    ("__main__",),
    ("cli", "doctor"),
    ("compare", "comparison", "jobs"),
    ("plot", "metrics", "registry", "axioms"),
    ("attribution", "interaction", "neuralize"),
    ("taylor", "relevance", "method"),
    ("graph",),
    ("engine", "explanation", "options"),
    ("kernels",),
    ("backends",),
    ("native",),
    ("arguments", "errors", "files", "images", "option_text", "progress", "references", "tables", "terminal", "values"),
)
"""Each may import what stands below it, and what stands beside it as long as that is no circle."""
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
OF_USERS = ("datasets", "models")
"""What the papers' experiments need, which only the command line, benchmarks and tests import."""


def module_name(path: Path) -> str:
    parts = ("xai_fast", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(name: str) -> set[str]:
    """Give the modules of the package that a module names in any import statement."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            only = len(submodules) == len(node.names)
            found |= submodules | (set() if only else {node.module})
    return {target for target in found if target in MODULES and target != name}


GRAPH = {name: imports_of(name) for name in MODULES}


def circle_through(start: str) -> list[str]:
    """Give the shortest way from a module back to itself, or nothing."""
    ways, seen = [[start]], {start}
    for way in ways:  # grows
        for target in sorted(GRAPH[way[-1]]):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def test_no_module_reaches_itself() -> None:
    circles = {" -> ".join(circle_through(name)) for name in MODULES if circle_through(name)}
    assert not circles, "\n".join(sorted(circles, key=len)[:5])


@pytest.mark.parametrize("name", sorted({name.split(".")[1] for name in MODULES if "." in name} & RANK.keys()))
def test_imports_go_down(name: str) -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        if module.split(".")[1:2] == [name]
        for target in targets
        if (part := target.partition(".")[2].partition(".")[0])
        and (RANK.get(part, -1) < RANK[name] if part not in OF_USERS else name != "cli")
    ]
    assert not wrong, "\n".join(wrong)


def test_every_part_has_a_place_in_the_order() -> None:
    parts = {name.split(".")[1] for name in MODULES if "." in name and name != "xai_fast._native"}
    assert parts <= RANK.keys() | set(OF_USERS)
