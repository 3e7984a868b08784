"""What a report shows: items, each with a name and perhaps a picture, explained by one or more methods."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation

__all__ = ["Columns", "Front", "Item", "ItemList", "StoreItems", "items_of", "label"]

_EXPLAINED = "explained"
_NOT_DONE = 255
"""The status of an item that has no result yet, in a store."""


@dataclass(frozen=True)
class Item:
    """One item of a report.

    Attributes:
        name: of the file or row, any text.
        explanations: by the name of the method, each of this one item; none where the item failed.
        picture: what the model saw, at any resolution: an image of Pillow, (H, W, 3) uint8 RGB, the content of an image
            file, the path of one, or a function that gives one of these for a side in pixels; or None. Of a pair of
            pictures a tuple of two.
        heading: the class that was explained, or "".
        question: a line above the picture, or "".
        classes: the strongest predicted classes with their probabilities, the strongest first.
        facts: what is known about the item beside the facts of its explanations, such as "wrong answer".
        notes: further labels and texts.
        words: of a text, up to as many as its explanations have positions; the rest is padding. Of a pair of texts the
            words of each.
        status: what became of the item.
        error: why it failed, or "".
    """

    name: str
    explanations: Mapping[str, Explanation] = field(default_factory=dict)
    picture: Any = None
    heading: str = ""
    question: str = ""
    classes: Sequence[tuple[str, float]] = ()
    facts: Mapping[str, bool] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    words: Sequence[Any] = ()
    status: str = _EXPLAINED
    error: str = ""


@dataclass(frozen=True)
class Front:
    """The text of a report that is not about one item; what is empty is filled in from the source.

    Attributes:
        title: the heading.
        kicker: a line above it: method and model.
        reading: how to read the report, a sentence or two.
        warning: a sentence above everything else, or "".
        summary: labels and numbers at the top.
        settings: the options of the run.
        versions: of the software that made the results.
        notes: sentences at the foot, each on a line, such as what is not shown.
        run: the identity of the run; `xai_fast.plot.report` refuses to replace the report of another one. By default
            kicker and settings.
    """

    title: str = ""
    kicker: str = ""
    reading: str = ""
    warning: str = ""
    summary: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    run: str = ""


@dataclass(frozen=True)
class Columns:
    """The values of N consecutive items that a reader filters and sorts by.

    ``statuses`` (N,) uint8 are positions in ``labels``; ``classes`` (N,) int32 are positions in ``headings``, or -1.
    ``numbers`` are label to (N,) float32, NaN where unknown; ``facts`` are label to (N,) bool.
    """

    statuses: NDArray[np.uint8]
    labels: Sequence[str]
    classes: NDArray[np.int32]
    headings: Sequence[str]
    numbers: Mapping[str, NDArray[np.float32]]
    facts: Mapping[str, NDArray[np.bool_]]


class ItemList:
    """Items in memory, as a source of a report; see `StoreItems` for what a source has."""

    def __init__(self, items: Sequence[Item], front: Front | None = None) -> None:
        self.items = items
        self.numbered = all(item.name == str(i) for i, item in enumerate(items))
        self.front = front or Front()
        self.methods = list(dict.fromkeys(name for item in items for name in item.explanations))

    def __len__(self) -> int:
        return len(self.items)

    def item(self, index: int) -> Item:
        """Return an item."""
        return self.items[index]

    def name(self, index: int) -> str:
        """Return the name of an item."""
        return self.items[index].name

    def columns(self, span: range) -> Columns:
        """Read the values of consecutive items."""
        chosen = [self.items[i] for i in span]
        fields: dict[str, NDArray[np.float64]] = {}
        for row, item in enumerate(chosen):
            found: dict[str, Any] = {f"facts.{name}": value for name, value in item.facts.items()}
            for method, explanation in item.explanations.items():
                prefix = f"{method}." if len(self.methods) > 1 else ""
                found |= {
                    prefix + name: values[0] for name, values in explanation.tensors().items() if values.ndim == 1
                }
            for name, value in found.items():
                fields.setdefault(name, np.full(len(chosen), np.nan))[row] = value
        statuses, labels = _numbered([item.status for item in chosen])
        classes, headings = _numbered([item.heading for item in chosen])
        return Columns(statuses.astype(np.uint8), labels, classes, headings, *_numbers_and_facts(fields))

    def refresh(self) -> None:
        """Do nothing: items in memory do not change."""


class StoreItems:
    """The items of a store of a job, complete or not, as a source of a report; several threads may read.

    A store is whatever has ``len(store)``, ``store[i]`` with a ``reason``, ``items.id(i)``, ``methods`` (name to what
    is the same for all items), ``explanation(method, positions)``, ``statuses`` (labels by number, 0 for items that are
    explained), ``refresh()`` and ``columns(start, stop)``: the number of the status of each of those items (255 where
    there is no result yet), and by field name their numbers and facts.

    Args:
        store: such as `xai_fast.jobs.open` gives.
        front: the text of the report.
        class_names: by the number of the class.
        pictures: gives the picture of an item, by its position and the side in pixels that is wanted, or None.

    Attributes:
        methods: the names of the methods.
        numbered: whether the name of an item is its position.
        front: the text of the report.
    """

    def __init__(
        self,
        store: Any,
        front: Front | None = None,
        class_names: Sequence[str] = (),
        pictures: Callable[[int, int], Any] | None = None,
    ) -> None:
        self.store = store
        self.front = front or Front()
        self.methods = list(store.methods)
        self.numbered = bool(getattr(store.items, "numbered", False))
        self._class_names = class_names
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self.store)

    def item(self, index: int) -> Item:
        """Read an item; its picture is read when it is drawn."""
        name, picture = self.name(index), self._pictures and functools.partial(self._pictures, index)
        code = int(self.store.columns(index, index + 1)[0][0])
        if code:
            error = "" if code == _NOT_DONE else self.store[index].reason or ""
            return Item(name, picture=picture, status=self._status(code), error=error)
        found = {method: self.store.explanation(method, [index]) for method in self.methods}
        return Item(name, found, picture, _heading(found, self._class_names))

    def name(self, index: int) -> str:
        """Return the name of an item."""
        return str(self.store.items.id(index))

    def columns(self, span: range) -> Columns:
        """Read the values of consecutive items."""
        codes, fields = self.store.columns(span.start, span.stop)
        known = codes == 0
        present, statuses = np.unique(codes, return_inverse=True)
        labels = [self._status(code) for code in present.tolist()]
        targets = next((values[known] for name, values in fields.items() if name.endswith("targets")), codes[:0])
        numbers, positions = np.unique(targets, return_inverse=True)
        headings = [_class_name(int(number), self._class_names) for number in numbers]
        classes = np.full(len(codes), -1, np.int32)
        if len(targets):
            classes[known] = positions
        fields = {name: np.where(known, values, np.nan) for name, values in fields.items()}
        return Columns(statuses.astype(np.uint8), labels, classes, headings, *_numbers_and_facts(fields))

    def refresh(self) -> None:
        """Look which items are done by now; before the first of them a store may know no method."""
        self.store.refresh()
        self.methods = list(self.store.methods)

    def _status(self, code: int) -> str:
        named = {0: _EXPLAINED, _NOT_DONE: "to do"}
        return named.get(code) or str(self.store.statuses[code]).replace("_", " ")


def items_of(
    explanations: Explanation | Mapping[str, Explanation],
    *,
    pictures: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
    words: Sequence[Sequence[str]] | None = None,
) -> list[Item]:
    """Take explanations of a batch apart.

    Args:
        explanations: of B items, or several of the same items by the name of the method.
        pictures: B of them, see `Item`.
        names: B of them; by default the positions.
        class_names: by the number of the class.
        words: B texts, see `Item`.

    Returns:
        B items.

    Raises:
        InputError: the numbers of explanations, pictures, names and texts differ, or a text is not a list of words.
    """
    if isinstance(explanations, Explanation):
        explanations = {explanations.method or "explanation": explanations}
    count = max(map(len, explanations.values()), default=0)
    for what, values in {**explanations, "pictures": pictures, "names": names, "words": words}.items():
        if values is not None and len(values) != count:
            raise bad_argument(what, f"{count} of them, one per item", str(len(values)))
    whole = next((text for text in words or () if isinstance(text, str)), None)
    if whole is not None:
        raise bad_argument("words", "a list of words per item", repr(whole))
    items = []
    for i in range(count):
        found = {method: explanation[i] for method, explanation in explanations.items()}
        picture = None if pictures is None else pictures[i]
        name, text = str(i) if names is None else names[i], () if words is None else words[i]
        items.append(Item(name, found, picture, _heading(found, class_names), words=text))
    return items


def label(name: str) -> str:
    """Give the flat name of a field as readers see it, such as "score" for "scores"."""
    method, dot, field = name.rpartition(".")  # a method may have dots, such as "lrp(gamma=0.25)"
    return re.sub(r"\bscores$", "score", f"{method}{': ' if dot else ''}{field}".replace("_", " "))


def _numbers_and_facts(
    fields: Mapping[str, NDArray[np.float64]],
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.bool_]]]:
    """Sort fields with one number per item, NaN where unknown, into numbers and facts, by label."""
    numbers, facts = {}, {}
    for name, values in fields.items():
        before, is_fact, fact = name.rpartition("facts.")
        if is_fact:
            facts[label(before + fact)] = np.nan_to_num(values).astype(bool)
        elif not name.endswith("targets"):
            numbers[label(name)] = values.astype(np.float32)
    return numbers, facts


def _heading(found: Mapping[str, Explanation], class_names: Sequence[str]) -> str:
    targets = [int(one.targets[0]) for one in found.values() if one.targets is not None]
    return _class_name(targets[0], class_names) if targets else ""


def _class_name(number: int, class_names: Sequence[str]) -> str:
    return class_names[number] if 0 <= number < len(class_names) else f"class {number}"


def _numbered(values: Sequence[str]) -> tuple[NDArray[np.int32], list[str]]:
    """Give the position of each text among those that there are, -1 for "", and these."""
    found = [value for value in dict.fromkeys(values) if value]
    position = {value: i for i, value in enumerate(found)} | {"": -1}
    return np.array([position[value] for value in values], np.int32), found
