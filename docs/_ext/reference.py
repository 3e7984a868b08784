"""The pages that are written at each build: a page per public name, per method, per kernel; metrics; the command line.

What they say comes from the registry, the signatures and the docstrings, papers and titles from docs/methods.md.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pictures
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import xai_fast
from xai_fast.axioms import CLAIMS
from xai_fast.metrics import METRICS
from xai_fast.options import HasOptions

DOCS = Path(__file__).parent.parent
GENERATED = DOCS / "generated"
EXAMPLES = sorted((DOCS.parent / "examples").glob("*.py"))
PACKAGES = {
    "xai_fast": "Methods, detectors, results, errors",
    "xai_fast.attribution": "Attribution: the classes that results and methods share",
    "xai_fast.interaction": "Interactions: methods, detectors and their results",
    "xai_fast.relevance": "Rules, composites and the ledger of LRP",
    "xai_fast.neuralize": "Estimators of scikit-learn as networks",
    "xai_fast.metrics": "How good maps are",
    "xai_fast.axioms": "Axioms of attribution",
    "xai_fast.plot": "Pictures and reports",
    "xai_fast.jobs": "Long jobs",
    "xai_fast.taylor": "Mixed derivatives",
    "xai_fast.graph": "The traced graph",
    "xai_fast.datasets": "Data",
    "xai_fast.models": "Networks",
    "xai_fast.kernels": "Kernels",
    "xai_fast.backends": "Choice of the backend",
}
"""The public packages; names are on the page of the first that has them."""
PARTS = (
    "xai_fast.attribution.neflag",
    "xai_fast.attribution.neflag_reference",
    "xai_fast.attribution.sampled",
    "xai_fast.attribution.layer_maps",
    "xai_fast.attribution.sphere_steps",
    "xai_fast.engine.call",
    "xai_fast.engine.layers",
    "xai_fast.engine.objective",
    "xai_fast.engine.points",
    "xai_fast.engine.regions",
    "xai_fast.graph.embeddings",
    "xai_fast.interaction.groups",
    "xai_fast.interaction.representatives",
    "xai_fast.options",
    "xai_fast.registry",
)
"""Modules that docstrings refer to."""
_STATED = r"(?ms)^{}: (.*?)(?=\nLimits: |\n\n|\Z)"


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before a build reads them."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", complete_options, priority=100)
    app.connect("autodoc-process-docstring", set_formulas, priority=101)
    app.connect("include-read", mend_links)
    app.connect("source-read", mend_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(app: Sphinx) -> None:
    """Write all pages, those that changed; those that are no longer wanted are removed."""
    pages = {
        path: text for part in (_api(), _methods(), _kernels(), _metrics(), _command_line()) for path, text in part
    }
    for path, text in pages.items():
        file = GENERATED / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    for file in GENERATED.rglob("*.rst"):
        if str(file.relative_to(GENERATED)) not in pages:
            file.unlink()


def mend_links(_app: Sphinx, _source: object, *content: Any) -> None:
    """Let links of Markdown between folders of the repository lead to pages of the site."""
    text = content[-1]
    text[0] = re.sub(r"\]\((?:\.\./)?examples/?\)", "](gallery/index.rst)", text[0])
    text[0] = re.sub(r"\]\((?:\.\./)?examples/(\w+)\.py\)", r"](gallery/\1.rst)", text[0])
    for folder, page in (("docs/", ""), ("CONTRIBUTING.md", "contributing.md"), ("CHANGELOG.md", "changelog.md")):
        text[0] = text[0].replace(f"]({folder}", f"]({page}")


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _table(rows: list[tuple[str, ...]], widths: str = "auto") -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    lines += [f"   {'  ' if at else '* '}- {cell}" for row in rows for at, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def _summary(name: str, value: Any) -> str:
    """Give the first paragraph of a docstring."""
    text = (inspect.getdoc(value) or "") if callable(value) else "\n".join(_constant(name, value))
    return " ".join(text.partition("\n\n")[0].split())


def _toctree(entries: list[str], *options: str) -> str:
    return "\n".join(
        [".. toctree::", *(f"   {option}" for option in options), "", *(f"   {e}" for e in entries), "", ""]
    )


# API


def _directive(module: str, name: str, value: Any) -> str:
    if inspect.isclass(value):
        return f".. autoclass:: {module}.{name}\n   :members:\n   :inherited-members: {_foreign(value)}\n\n"
    if callable(value) and hasattr(value, "__name__"):
        return f".. autofunction:: {module}.{name}\n\n"
    return f".. py:data:: {module}.{name}\n\n" + "".join(f"   {line}\n" for line in _constant(name, value)) + "\n"


def _constant(name: str, value: object) -> list[str]:
    """Find the docstring of a constant in the source of the module that defines it."""
    for path, module in list(sys.modules.items()):
        if path.startswith("xai_fast") and module.__dict__.get(name) is value:
            analyzer = ModuleAnalyzer.for_module(path)
            analyzer.analyze()
            if found := analyzer.attr_docs.get(("", name)):
                return found
    return []


def _foreign(value: type) -> str:
    """Name the bases whose members are not those of this package."""
    bases = [base.__name__ for base in value.__mro__ if not base.__module__.startswith("xai_fast")]
    return ", ".join(dict.fromkeys([*bases, "HasOptions", "Method", "Detector"]))


def _api() -> Iterator[tuple[str, str]]:
    methods = {method for group in (xai_fast.methods(), xai_fast.detectors()) for method in group.values()}
    seen: dict[int, str] = {}
    for package, title in PACKAGES.items():
        module = importlib.import_module(package)
        pages: dict[str, str] = {}
        rows: list[tuple[str, ...]] = []
        for name in module.__all__:
            value = getattr(module, name)
            where = seen.setdefault(id(value), f"{package}.{name}")
            rows.append((f":py:obj:`{name} <{where}>`", _summary(name, value)))
            known = isinstance(value, type) and value in methods
            if where != f"{package}.{name}" or known or package == "xai_fast.kernels":
                continue
            # Names that differ only by case share a page: some file systems cannot tell two apart.
            page = pages.setdefault(name.lower(), _title(name))
            pages[name.lower()] = page + _directive(package, name, value)
        yield from ((f"api/{package}.{page}.rst", text) for page, text in pages.items())
        table = _table([("name", "what"), *rows])
        about = f".. automodule:: {package}\n   :no-members:\n\n"
        tree = _toctree([f"{package}.{page}" for page in pages], ":hidden:")
        yield f"api/{package}.rst", _title(package) + f"{title}.\n\n" + about + table + (tree if pages else "")
    for part in PARTS:
        module = importlib.import_module(part)
        names = [name for name in module.__all__ if id(getattr(module, name)) not in seen]
        text = "".join(_directive(part, name, getattr(module, name)) for name in names)
        yield f"api/{part}.rst", _title(part) + f".. automodule:: {part}\n   :no-members:\n\n" + text
    text = _title("API") + "Every public name. Methods, detectors and kernels have pages of their own.\n\n"
    text += (
        _toctree(list(PACKAGES), ":maxdepth: 1") + "Parts that these name:\n\n" + _toctree(list(PARTS), ":maxdepth: 1")
    )
    yield "api/index.rst", text


# Methods


def _rows() -> list[list[str]]:
    """Give the rows of the tables of docs/methods.md, cells in the form of reStructuredText."""
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return [[_plain(cell).strip() for cell in re.split(r"\s\|\s?", line[2:])] for line in lines]


def _plain(cell: str) -> str:
    cell = re.sub(r"; see \[.*?\]\(.*?\)", "", cell)
    return cell.replace("`", "``")


def _row_of(method: type[HasOptions]) -> list[str]:
    """Find the row of a method by its name, or its class."""
    wanted = re.compile(rf"``(xai_fast\.(\w+\.)?)?{method.__name__}``")
    found = [row for row in _rows() if wanted.search(row[1])]
    if not found:
        raise LookupError(f"docs/methods.md: expected a row of {method.__name__}")
    return found[0]


def _documented(method: type) -> str:
    for package in ("xai_fast", "xai_fast.interaction"):
        if getattr(importlib.import_module(package), method.__name__, None) is method:
            return f"{package}.{method.__name__}"
    return f"{method.__module__}.{method.__qualname__}"


def _glance(method: type[Any], paper: str) -> str:
    """List what a reader wants to know first."""
    options = method.options()
    layered = "layer" in options and options["layer"].default is inspect.Parameter.empty
    result = getattr(method, "_explain", method.detect if issubclass(method, xai_fast.Detector) else None)
    gives = str(result.__annotations__["return"]).strip("\"'")
    facts = {"Paper": paper, "Cost": _stated(method, "Cost"), "Result": f":py:obj:`{gives}`" if gives != "E" else ""}
    if issubclass(method, xai_fast.Method):
        facts["Call"] = ":py:meth:`xai_fast.Method.explain`"
        facts["Command line"] = f"``xai-fast explain --method {method.name}``"
        inputs = "pairs" if method.pairs else "real numbers"
        inputs += ", token ids" if method.integers else ""
        inputs += ", token ids by ``embeddings=``" if "embeddings" in options else ""
        facts["Inputs"] = inputs
        facts["Needs"] = "a layer" if layered else ""
        facts["Random"] = "yes, by ``seed`` and the identity of the item" if "seed" in options else "no"
        facts["Stops early"] = "at a ``tolerance``" if options.keys() & {"tolerance"} else ""
        facts["Axioms"] = ", ".join(CLAIMS.get(method.name, ())).replace("_", " ")
    else:
        facts["Call"] = ":py:meth:`xai_fast.Detector.detect`, with a table of numbers"
        facts["Groups of columns"] = "yes" if method.takes_groups else "no"
    return "".join(f":{name}: {value}\n" for name, value in facts.items() if value) + "\n"


def _stated(method: type, what: str) -> str:
    """Give what the docstring of a method, or of the next of its bases, has behind "Cost:" or "Limits:"."""
    texts = (inspect.cleandoc(base.__dict__.get("__doc__") or "") for base in method.__mro__)
    found = next(filter(None, (re.search(_STATED.format(what), text) for text in texts)), None)
    text = " ".join(found[1].split()) if found else ""
    return f"{text[:1].upper()}{text[1:]}"


def _methods() -> Iterator[tuple[str, str]]:
    groups = {"methods": xai_fast.methods(), "detectors": xai_fast.detectors()}
    drawn = pictures.draw(GENERATED / "pictures")
    for group, entries in groups.items():
        for name, method in entries.items():
            row = _row_of(method)
            text = _title(method.__name__)
            text += f"{row[0][0].upper()}{row[0][1:]}.\n\n" if row[0] != method.__name__ else ""
            text += _glance(method, row[2]) + drawn.get(name, "") + f".. autoclass:: {_documented(method)}\n\n"
            if limits := _stated(method, "Limits"):
                text += _title("Limits", "-") + f"{limits}\n\n"
            examples = [path for path in EXAMPLES if re.search(rf"\b{method.__name__}\b", path.read_text("utf-8"))]
            if examples:
                text += _title("Examples", "-") + ".. minigallery::\n\n"
                text += "".join(f"   ../examples/{path.name}\n" for path in examples)
            yield f"{group}/{name}.rst", text
        rows = [(f":doc:`{method.__name__} <{name}>`", *_row_of(method)[::2]) for name, method in entries.items()]
        listed = _table([("class", "method", "paper"), *rows])
        title = {"methods": "All methods", "detectors": "All detectors"}[group]
        yield f"{group}/index.rst", _title(title) + listed + "\n" + _toctree(list(entries), ":hidden:")


def complete_options(_app: Sphinx, _what: str, _name: str, value: object, _options: object, lines: list[str]) -> None:
    """Let a method's list of arguments be complete: with types, defaults, and the texts of its bases."""
    if not (isinstance(value, type) and issubclass(value, HasOptions)) or inspect.isabstract(value):
        return
    texts: dict[str, str] = {}
    for base in reversed(value.__mro__):
        for name, about in _arguments(inspect.cleandoc(base.__dict__.get("__doc__") or "")).items():
            seen, _, more = about.partition(";")
            refers = re.match(r"see (`\w+`|there)", seen) and name in texts
            texts[name] = f"{texts[name]} {more.strip().capitalize()}".strip() if refers else about
    entries = [f"    model: {texts['model']}"] if "model" in inspect.signature(value).parameters else []
    for name, option in value.options().items():
        default = "required" if option.default is option.empty else f"default ``{option.default!r}``"
        entries.append(f"    {name} ({default}): {texts[name]}")
    text = re.sub(_STATED.format("(?:Cost|Limits)"), "", "\n".join(lines))  # the page has them
    text = re.sub(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", "", text, flags=re.MULTILINE)
    head, marker, rest = text.partition("\nRaises:")
    lines[:] = [*head.rstrip().splitlines(), "", "Args:", *entries, "", *(marker + rest).splitlines()]


def set_formulas(_app: Sphinx, _what: str, _name: str, _value: object, _options: object, lines: list[str]) -> None:
    """Set indented paragraphs of a description, which are formulas, line by line as they are."""
    set_lines: list[str] = []
    described, before = True, ""
    for at, line in enumerate(lines):
        described = described and not re.match(r"(Args|Attributes|Returns|Raises|Yields):$", line)
        begins = line.startswith("    ") and not lines[at - 1].strip() and not before.startswith((" ", "*", "-", ">>>"))
        if described and begins:
            set_lines += [".. code-block:: text", ""]
        before = line or before
        set_lines.append(line)
    lines[:] = set_lines


def _arguments(text: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    entries = re.split(r"^    (?=\w)", section[1], flags=re.MULTILINE) if section else []
    pairs = (entry.partition(":") for entry in entries)
    return {name: " ".join(about.split()) for name, colon, about in pairs if colon}


# Kernels, metrics, the command line


def _kernels() -> Iterator[tuple[str, str]]:
    names = list(importlib.import_module("xai_fast.kernels").__all__)
    by_module: dict[str, list[str]] = {}
    for name in names:
        contract = getattr(importlib.import_module("xai_fast.kernels"), name)
        by_module.setdefault(contract.__module__, []).append(name)
    for module, functions in by_module.items():
        text = _title(module.rpartition(".")[2]) + f".. automodule:: {module}\n   :no-members:\n   :no-index:\n\n"
        text += "".join(f".. autofunction:: xai_fast.kernels.{name}\n\n" for name in functions)
        yield f"kernels/{module.rpartition('.')[2]}.rst", text
    about = "What each computes, with shapes and dtypes: the contract that every backend keeps.\n\n"
    yield (
        "kernels/index.rst",
        _title("Kernels") + about + _toctree([module.rpartition(".")[2] for module in by_module], ":maxdepth: 1"),
    )


def _metrics() -> Iterator[tuple[str, str]]:
    text = (
        _title("All metrics")
        + "From ``xai_fast.metrics.METRICS``: its names, the function, and the result's field.\n\n"
    )
    head = ("name", "function", "field", "better", "needs", "evaluations per item", "paper")
    rows = [head]
    for name, metric in METRICS.items():
        function = getattr(metric.function, "func", metric.function).__name__
        link = f":py:func:`{function} <xai_fast.metrics.{function}>`"
        rows.append(
            (f"``{name}``", link, f"``{metric.value}``", metric.better, metric.needs, metric.cost, metric.paper)
        )
    yield "metrics.rst", text + _table(rows)


def _command_line() -> Iterator[tuple[str, str]]:
    from xai_fast.cli.entry import _parser

    os.environ["COLUMNS"] = "88"
    text = _title("Commands and options") + "What ``--help`` prints.\n\n"
    for command, parser in _leaves(_parser([])):
        shown = "\n".join(f"   {line}".rstrip() for line in parser.format_help().splitlines())
        text += _title(command, "-") + f".. code-block:: text\n\n{shown}\n\n"
    yield "command-line.rst", text


def _leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield parser.prog, parser
    for group in groups:
        for below in group.choices.values():
            yield from _leaves(below)
