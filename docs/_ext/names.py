"""Names in single backticks: links where a page has them, code where none has, a warning where there is no such name.

Docstrings name what they speak of as it is called where they stand, such as `SampledMethod`; `xai_fast.Method` in full;
or a file of the repository.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).parent.parent.parent


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the search for names to a build."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement) -> nodes.Node | None:
    """Resolve a name of Python that the domain has not found.

    Args:
        app: the build.
        env: its environment.
        node: the reference.
        shown: what is shown in its place.

    Returns:
        A link, the text as it is, or None for a name that does not exist.
    """
    if node.get("refdomain") != "py":
        return None
    name, domain = node["reftarget"], env.domains.python_domain
    found = domain.find_obj(env, node.get("py:module"), node.get("py:class"), name, "obj", 1)
    if len({(entry.docname, entry.node_id) for _, entry in found}) == 1:
        target = found[0][0]
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, shown)
    # An annotation may name what other packages define.
    return shown if found or node["reftype"] != "obj" or exists(name) else None


@functools.cache
def exists(name: str) -> bool:
    """Say whether there is such a file in the repository, or such a name in a module of the package."""
    if "/" in name or name.endswith(".py"):
        return (ROOT / name).exists() or any(ROOT.glob(f"xai_fast/**/{name}"))
    path, _, last = name.rpartition(".")
    if path.startswith("xai_fast."):  # also in modules that need what is not installed, such as Ray
        file = ROOT / path.replace(".", "/")
        for source in (file.with_suffix(".py"), file / "__init__.py"):
            if source.exists() and re.search(rf"^(def|class) {last}\b|^{last}\b", source.read_text(), re.MULTILINE):
                return True
        if (file / f"{last}.py").exists() or (file / last).is_dir():
            return True
    modules = [module for path, module in sys.modules.items() if path.split(".")[0] == "xai_fast" or path == "torch"]
    return any(_has(module, name.removeprefix(f"{module.__name__}.").split(".")) for module in modules)


def _has(value: Any, parts: list[str]) -> bool:
    if len(parts) > 1 and hasattr(value, parts[0]):
        return _has(getattr(value, parts[0]), parts[1:])
    return len(parts) == 1 and (hasattr(value, parts[0]) or parts[0] in getattr(value, "__annotations__", {}))
