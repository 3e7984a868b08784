"""One paged report for maps, pairs, features and rankings: ``report.html``, and its data in a folder beside it."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.explanation import FACTS, Explanation
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.plot.colormap import PAIR_COLORS, colormap, signed_colormap
from xai_fast.plot.drawing import Look, entry, kind_of, plain_text
from xai_fast.plot.heatmap import BRIGHTNESS, GREY
from xai_fast.plot.items import Front, Item, ItemList, StoreItems, items_of
from xai_fast.plot.page import DATA, hex_colors, packed, page, plain_json, run_of, script
from xai_fast.plot.ranking_page import RankingPages
from xai_fast.progress import Progress

__all__ = ["ItemPages", "Pages", "pages_of", "report"]

MOST = 1_000_000
"""Items in a report: the page holds their numbers in the memory of the browser."""

_FEW = 1000
_SIDES = (448, 128)
"""Of pictures in pixels, for few items and for many."""

_LARGE = 672
_CHUNK = 16
"""Items per file: a page of neighbours needs few files, and a page sorted by score does not read much in vain."""

_FOLDER = 1000
_STATIONS = 33

_READINGS = {
    "heat": "Bright pixels are those that the explained score depends on most.",
    "words": "Words on red speak for the explained score, words on blue against it; pointing at one shows its number.",
    "pairs": "Frames mark cells that act together; point at a cell of an opened picture to see its partners.",
    "links": "Lines join parts that make both inputs similar, red, or different, blue. Cells are (row, column) from 0.",
    "walks": "Lines are walks from node to node that speak for the explained score, red, or against it, blue.",
    "bars": "Bars are the effects of each feature, up where they are positive and down where they are negative.",
    "numbers": "",
}
_SIGNED_READING = (
    "Red pixels speak for the explained score, blue pixels against it; a map without negative pixels is bright where "
    "the score depends on them most."
)
_CHANNELS = {
    "sum_of_abs": "The absolute values of the channels are summed.",
    "abs_sum": "The channels are summed, and the sign is left out.",
    "signed_sum": "The channels are summed.",
}


class ItemPages:
    """The page about items and the scripts that it loads, each made when it is asked for.

    Args:
        source: of the items.
        look: how explanations are drawn.
        first: position of the first item that is shown.
        limit: items, at most; None for all, where there are no more than `MOST`.
        side: longer side of the pictures in pixels; None for 448 where there are up to 1,000 items, else 128.
        chunk: items per script.
        large: whether there are scripts with larger pictures for the viewer.

    Raises:
        InputError: a number is out of range, or there are too many items to show them all.
    """

    def __init__(
        self,
        source: ItemList | StoreItems,
        look: Look | None = None,
        *,
        first: int = 0,
        limit: int | None = None,
        side: int | None = None,
        chunk: int = _CHUNK,
        large: bool = False,
    ) -> None:
        self._source = source
        self._look = look or Look()
        self._span = _chosen(len(source), first, limit)
        self._side = _SIDES[len(self._span) > _FEW] if side is None else check_integer("side", side, 16, 1024)
        self._chunk = chunk
        self._large = large

    @property
    def front(self) -> Front:
        """The text of the page, completed."""
        given, found = self._source.front, list(self._sample().explanations.values())
        rest = _rest(self._span, len(self._source))
        return dataclasses.replace(
            given,
            title=given.title or f"{len(self._span):,} item{'' if len(self._span) == 1 else 's'}",
            kicker=given.kicker or ", ".join(self._source.methods),
            reading=given.reading or self._reading(_READINGS),
            settings=given.settings or (found[0].settings if found else {}),
            notes=[*([rest] if rest else []), *given.notes],
        )

    def page(self) -> bytes:
        """Render the page."""
        front, kinds = self.front, self._kinds()
        low, high = self._look.clip
        legends = {
            "heat": f"from percentile {low:g} to percentile {high:g} of each picture; weaker pixels stay clear. "
            f"{_CHANNELS.get(self._look.ranking, '')}",
            "pairs": "from no interaction to the strongest one of the picture.",
        }
        legend = next((text for kind, text in legends.items() if kind in kinds), "")
        signed = None
        if "heat" in kinds:
            reading = self._source.front.reading or self._reading({**_READINGS, "heat": _SIGNED_READING})
            scale = (
                f"from negative to positive, clear up to percentile {low:g} of the magnitudes in each picture and full "
            )
            signed = reading, f"{scale}from percentile {high:g} on. The channels are summed with their signs."
        values = {"grey": f"{GREY:g}", "darkening": f"{1 - BRIGHTNESS:.2f}"}
        values["signs"] = ", ".join(hex_colors(signed_colormap(), _STATIONS))
        return page(front, "items", ["pairs.js", "items.js", "beside.js"], legend=legend, signed=signed, values=values)

    def names(self) -> Iterator[str]:
        """List the scripts of the page."""
        yield from ("index", "names")
        for number in range(-(-len(self._span) // self._chunk)):
            yield _chunk_name(number)

    def script(self, name: str) -> bytes | None:
        """Write the script of a name, which may come from anywhere; None where there is none."""
        if name == "index":
            return self._index()
        if name == "names":
            return script(name, [plain_text(self._source.name(i)) for i in self._span])
        match = re.fullmatch(r"(\d{3,9})/(\d{3})(-large)?", name, re.ASCII)
        number = int(match[1]) * _FOLDER + int(match[2]) if match else -1
        large = name.endswith("-large")
        if name.removesuffix("-large") != _chunk_name(number) or large > self._large:
            return None
        side = max(_LARGE, self._side) if large else self._side
        chosen = self._span[number * self._chunk : (number + 1) * self._chunk]
        drawn = [entry(self._source.item(i), self._source.methods, side, self._look) for i in chosen]
        return script(name, drawn) if drawn else None

    def refresh(self) -> None:
        """Read again what may have changed since."""
        self._source.refresh()

    def _index(self) -> bytes:
        columns, found = self._source.columns(self._span), self._sample().explanations
        facts = {name: values for name, values in columns.facts.items() if values.any()}
        content = {
            "first": self._span.start,
            "count": len(self._span),
            "chunk": self._chunk,
            "large": self._large,
            "range": self._source.numbered,
            "many": self._side < _SIDES[0],
            "signed": self._look.signed,
            "beside": self._look.beside,
            "methods": self._source.methods,
            "operations": [getattr(found.get(method), "operations", ()) for method in self._source.methods],
            "colors": {"pairs": PAIR_COLORS, "heat": hex_colors(colormap(), _STATIONS)},
            "statuses": columns.labels,
            "status": packed(columns.statuses),
            "headings": columns.headings,
            "classes": packed(columns.classes),
            "numbers": [_number(n, values) for n, values in columns.numbers.items() if not np.isnan(values).all()],
            "facts": [
                {
                    "label": name,
                    "text": FACTS.get(name.replace(" ", "_"), ""),
                    "values": packed(values.astype(np.uint8)),
                }
                for name, values in facts.items()
            ],
        }
        return script("index", plain_json(content))

    def _reading(self, texts: Mapping[str, str]) -> str:
        return " ".join(dict.fromkeys(texts[kind] for kind in self._kinds()))

    def _kinds(self) -> list[str]:
        found = self._sample()
        return [kind_of(one, found.words) for one in found.explanations.values()]

    def _sample(self) -> Item:
        """Give the first item that has explanations, among the first of them."""
        items = map(self._source.item, self._span[:_FEW])
        return next((item for item in items if item.explanations), Item(""))


Pages = ItemPages | RankingPages


def pages_of(source: Any, *, front: Front | None = None, **options: Any) -> Pages:
    """Make the pages of whatever a report can be about; see `report` for the arguments."""
    if isinstance(source, InteractionRanking):
        return RankingPages(source, front, **options)
    given = {name: options.pop(name) for name in ("pictures", "names", "class_names", "words") if name in options}
    if isinstance(source, Explanation | Mapping):
        source = ItemList(items_of(source, **given), front)
    elif isinstance(source, Sequence) and all(isinstance(item, Item) for item in source):
        source = ItemList(source, front)
    elif hasattr(source, "explanation") and hasattr(source, "columns"):
        source = StoreItems(source, front, **given)
    if not isinstance(source, ItemList | StoreItems):
        raise bad_argument("source", "explanations, items, a store or an InteractionRanking", type(source).__name__)
    return ItemPages(source, **options)


def report(source: Any, out: str | os.PathLike[str], *, front: Front | None = None, **options: Any) -> Path:
    """Write a report: ``report.html``, and the data that it loads in the folder ``report-data`` beside it.

    The data are scripts, so nobody takes the pictures of a report for inputs.

    Args:
        source: an `xai_fast.Explanation`, or several of the same items by the name of the method; a sequence of `Item`;
            a store of a job; or an `xai_fast.interaction.InteractionRanking`.
        out: the folder, which is made if need be.
        front: title, settings and other text; what is empty is filled in from the source.
        **options: "look", "first", "limit" and "side", see `ItemPages`; for explanations also "pictures", "names",
            "class_names" and "words", see `items_of`; for rankings "fit", "top_k" and others, see `RankingPages`.

    Returns:
        The page. The report of an earlier call for the same run is replaced.

    Raises:
        InputError: ``out`` holds the report of another run, or a folder of that name which is none, or an option does
            not fit.
    """
    pages = pages_of(source, front=front, **options)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "report.html"
    _check_replaceable(target, folder / DATA, run_of(pages.front))
    # A new folder each time: nothing of an older report stays, and no link that somebody else made is followed.
    made = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
    try:
        (made / DATA).mkdir()
        _write_scripts(pages, made / DATA)
        (made / target.name).write_bytes(pages.page())
        if (folder / DATA).exists():
            shutil.rmtree(folder / DATA)
        (made / DATA).rename(folder / DATA)
        (made / target.name).replace(target)  # the page last: it is there when its data are
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _write_scripts(pages: Pages, folder: Path) -> None:
    def write(name: str) -> None:
        path = folder / f"{name}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pages.script(name) or b"")

    names = list(pages.names())
    with Progress(len(names), "drawing") as progress, ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(write, names):
            progress.advance(1)


def _check_replaceable(target: Path, data: Path, run: str) -> None:
    if data.is_symlink() or (data.exists() and not (data / "index.js").is_file()):
        raise InputError(f"out: expected no folder {DATA}, or that of a report, got another one in {data.parent}")
    if not target.exists():
        return
    found = None
    if target.is_file():  # a pipe would keep its reader waiting
        with target.open("rb") as file:
            found = re.search(rb'<meta name="xai_fast-run" content="(\w+)">', file.read(1 << 14))
    if found is None or found[1].decode() != run:
        raise InputError(
            f"out: expected no report of another run, got {target}; choose another folder, or remove the report"
        )


def _chosen(count: int, first: int, limit: int | None) -> range:
    check_integer("first", first, 0, max(count - 1, 0))
    if limit is not None:
        return range(first, min(first + check_integer("limit", limit, 1, MOST), count))
    if count - first > MOST:
        expected = f"a number up to {MOST:,} (--limit), from the item `first` (--first) on, of {count:,} items"
        raise bad_argument("limit", expected, "None")
    return range(first, count)


def _rest(shown: range, count: int) -> str:
    if len(shown) == count:
        return ""
    if shown.start == 0:
        return f"These are the first {len(shown):,} of {count:,} items."
    return f"These are {len(shown):,} of {count:,} items, from item {shown.start:,} on."


def _chunk_name(number: int) -> str:
    return f"{number // _FOLDER:03d}/{number % _FOLDER:03d}"


def _number(name: str, values: np.ndarray) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    share = len(known) > 0 and bool(((known >= 0) & (known <= 1)).all())
    return {"label": name, "share": share and name.endswith("score"), "values": packed(values.astype(np.float32))}
