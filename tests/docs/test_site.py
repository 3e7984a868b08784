"""The built site: every public name has a page, links lead somewhere, and it can be read by everybody."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

import xai_fast

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
INSIDE = ("cli", "engine")
"""Packages whose names are not for users."""
WIDER = """
[document.documentElement, ...document.querySelectorAll("main, main div, article, section")]
  .filter((box) => box.scrollWidth > box.clientWidth + 1 && !box.closest(".highlight, pre, table"))
  .filter((box) => getComputedStyle(box).display !== "inline" && box.checkVisibility({checkVisibilityCSS: true}))
  .map((box) => `${box.tagName}.${box.className} ${box.scrollWidth} > ${box.clientWidth}`)
"""
"""What is wider than its place, but for code and tables, which scroll by themselves."""
COLOURS = """
(() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * below[i]);
  const luminance = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const c = rgb[i] / 255;
    return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (node) => {
    if (!node) return [255, 255, 255];
    const own = parse(getComputedStyle(node).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(node.parentElement));
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const weak = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({checkVisibilityCSS: true})) continue;
    if (element.closest("script, style, [aria-hidden=true]")) continue;
    const below = ground(element);
    const ink = parse(getComputedStyle(element).color);
    for (let node = element; node; node = node.parentElement) ink[3] *= Number(getComputedStyle(node).opacity);
    const [one, two] = [luminance(over(ink, below)), luminance(below)];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) weak.add(element.tagName + "." + element.className + " " + ratio.toFixed(2));
  }
  return [...weak];
})()
"""


class Page(HTMLParser):
    """Tags with their attributes, and the identities that a link can lead to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.identities = {"", "top"}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.identities |= {str(attributes[key]) for key in ("id", "name") if attributes.get(key)}

    def links(self) -> set[tuple[str, str]]:
        keys = ("href", "src")
        return {(tag, str(of[key])) for tag, of in self.tags for key in keys if of.get(key)}


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html") if "_static" not in file.relative_to(site).parts}


def public() -> Iterator[tuple[ModuleType, str]]:
    packages = [found.name for found in pkgutil.iter_modules(xai_fast.__path__) if found.ispkg]
    for name in ["xai_fast", *(f"xai_fast.{name}" for name in packages if name not in INSIDE), "xai_fast.axioms"]:
        module = importlib.import_module(name)
        yield from ((module, public) for public in getattr(module, "__all__", ()))


def test_every_public_name_has_a_page(site: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", os.path.join)
    documented = {name for kind in inventory for name in inventory[kind] if kind.startswith("py:")}
    pages: dict[int, bool] = {}
    for module, name in public():  # a name that several packages have is documented in one of them
        key = id(getattr(module, name))
        pages[key] = pages.get(key, False) or f"{module.__name__}.{name}" in documented
    missing = {f"{module.__name__}.{name}" for module, name in public() if not pages[id(getattr(module, name))]}
    assert len(pages) > 200
    assert not missing


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_every_example_ran_and_is_in_the_gallery(site: Path, example: Path) -> None:
    page = (site / "gallery" / f"{example.stem}.html").read_text(encoding="utf-8")
    ran = "Total running time of the script" in page
    assert ran or os.environ.get("XAI_FAST_EXAMPLES") == "0"

    # Without a figure the gallery shows a placeholder.
    assert not ran or (site / "_images" / f"sphx_glr_{example.stem}_001.png").exists()


def test_every_link_leads_somewhere_and_nothing_is_fetched(site: Path, pages: dict[Path, Page]) -> None:
    files = {str(file) for file in site.rglob("*") if file.suffix != ".md"}
    wrong = []
    for file, page in pages.items():
        for tag, link in page.links():
            if re.match(r"https?:|data:", link):
                if tag != "a" and link.startswith("http"):
                    wrong.append(f"{file.relative_to(site)}: {tag} fetches {link}")
                continue
            path, anchor = urldefrag(re.sub(r"\?[^#]*", "", unquote(link)))
            target = os.path.normpath(file.parent / path) if path else str(file)
            if target not in files:
                wrong.append(f"{file.relative_to(site)}: {link}")
            elif anchor and anchor not in pages[Path(target)].identities:
                wrong.append(f"{file.relative_to(site)}: no anchor {link}")
    assert not wrong
    assert len(pages) > 250


def test_pictures_have_texts_and_the_keyboard_reaches_the_content(site: Path, pages: dict[Path, Page]) -> None:
    wrong = []
    for file, page in pages.items():
        for tag, attributes in page.tags:
            decoration = "../_images/sphx_glr_" in str(attributes.get("src")) and "thumb" in str(attributes.get("src"))
            if tag == "img" and not (attributes.get("alt") or (decoration and "alt" in attributes)):
                wrong.append(f"{file.relative_to(site)}: {attributes.get('src')}")
            if (attributes.get("tabindex") or "0").strip() not in ("0", "-1"):
                wrong.append(f"{file.relative_to(site)}: tabindex of {tag}")
        names = {str(attributes.get("href")) for tag, attributes in page.tags if tag == "a"}
        if not names & {"#main-content"}:
            wrong.append(f"{file.relative_to(site)}: no link past the navigation")
    assert not wrong


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (420, True)], ids=["wide-light", "narrow-dark"])
@pytest.mark.parametrize(
    "page",
    [
        "index",
        "which-method",
        "results",
        "generated/methods/quantitative_input_influence",
        "generated/api/xai_fast.plot",
        "generated/api/xai_fast.plot.report",
        "generated/metrics",
        "gallery/index",
        "gallery/photo_pixels",
    ],
)
def test_pages_can_be_read_on_wide_and_narrow_screens(
    browser: Any, site: Path, page: str, width: int, dark: bool
) -> None:
    browser.open(site / f"{page}.html", width=width, dark=dark)
    assert browser.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    assert browser.evaluate(WIDER) == []
    assert browser.evaluate(COLOURS) == []
    assert [complaint for complaint in browser.complaints() if "exceptionDetails" in complaint] == []
    assert all(request.startswith(("file:", "data:", "about:")) for request in browser.requests())


def test_spelling() -> None:
    program = Path(sys.executable).with_name("codespell")
    if not (shutil.which("codespell") or program.exists()):
        pytest.skip("needs codespell, which requirements/docs.txt lists")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    # Tests misspell on purpose.
    files = [name for name in listed.split("\0") if re.fullmatch(r"(?!tests/).*\.(md|py|rst|css|toml)", name)]
    command = [str(program) if program.exists() else "codespell", *files]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.stdout + done.stderr == ""


def _modules_with_doctests() -> list[str]:
    found = []
    for path in sorted((ROOT / "xai_fast").rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.parametrize("name", _modules_with_doctests())
def test_examples_of_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
