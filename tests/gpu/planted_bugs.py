"""Bugs that are put into the text of the kernels, to see that the checks turn red."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

__all__ = ["PLANTED_BUGS", "PlantedBug", "planted"]


@dataclass(frozen=True)
class PlantedBug:
    """A change of a kernel's text, and the case that has to notice it."""

    kernel: str
    what: str
    old: str
    new: str
    case: str
    emulator_only: bool = False  # an access out of bounds that crashes the interpreter, or changes no result


PLANTED_BUGS = (
    PlantedBug(
        "random_points",
        "the store has no mask",
        "tl.fma(z, scale + tl.zeros_like(z), x), mask=offset < count)",
        "tl.fma(z, scale + tl.zeros_like(z), x))",
        "tail of a block",
    ),
    PlantedBug(
        "random_points",
        "the norm counts what is behind the end",
        "second = tl.where(rest > 1, second, 0.0)",
        "second = tl.where(rest > 0, second, 0.0)",
        "odd",
    ),
    PlantedBug(
        "random_points",
        "a wrong row stride",
        "tl.store(points + row * entries + start",
        "tl.store(points + row * (entries + 1) + start",
        "odd",
    ),
    PlantedBug(
        "random_points",
        "the center of the row, not of its item",
        "tl.load(centers + index * entries",
        "tl.load(centers + row * entries",
        "around items",
    ),
    PlantedBug(
        "random_points",
        "a box takes the numbers of a normal",
        "        if BOX:\n",
        "        if BOX and entries < 0:\n",
        "box tail of a block",
    ),
    PlantedBug(
        "random_points",
        "the radius is left out",
        "scale = number_of(radius_bits)\n",
        "scale = tl.full((), 1.0, tl.float64)\n",
        "normal image",
    ),
    PlantedBug(
        "random_points",
        "a box has another order than a sphere",
        "even = tl.join(tl.join(z0, z4), tl.join(z2, z6))",
        "even = tl.join(tl.join(z0, z2), tl.join(z4, z6))",
        "box around items",
    ),
    PlantedBug(
        "random_points",
        "every block draws the first block's numbers",
        "octet = ((start // 8) + tl.arange(0, BLOCK // 8)).to(tl.uint32)",
        "octet = tl.arange(0, BLOCK // 8).to(tl.uint32)",
        "several blocks",
    ),
    PlantedBug(
        "flux_accumulate",
        "the store of the mean has no mask",
        "tl.store(mean + of_item, average, mask=inside)",
        "tl.store(mean + of_item, average)",
        "odd",
    ),
    PlantedBug(
        "flux_accumulate",
        "rows that are not negative are read",
        "same = is_negative & (tl.load(item + other, mask=is_negative, other=-1) == mine)",
        "same = (other < rows) & (tl.load(item + other, mask=is_negative, other=mine) == mine)",
        "image",
        emulator_only=True,
    ),
    PlantedBug(
        "flux_accumulate",
        "a row that is not negative is an item's first",
        "if tl.load(negative + row):",
        "if row >= 0:",
        "image",
    ),
    PlantedBug(
        "flux_accumulate",
        "a wrong row offset",
        "of_row = row * entries + start",
        "of_row = leader * entries + start",
        "many rows of one item",
    ),
    PlantedBug(
        "flux_accumulate",
        "rows behind the end are read",
        "mask=other < rows, other=0) != 0",
        "mask=other < rows + 1, other=0) != 0",
        "many rows of one item",
        emulator_only=True,
    ),
)


@contextmanager
def planted(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the kernel from a changed text; the original file stays as it is."""
    backend = importlib.import_module(f"xai_fast.kernels.{bug.kernel}.triton")
    original = importlib.import_module(f"xai_fast.kernels.{bug.kernel}.triton_kernels")
    text = Path(original.__file__).read_text()
    if bug.old not in text:
        raise AssertionError(f"{original.__file__} no longer has the text to break: {bug.old}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{bug.kernel}_with_a_bug.py"
        path.write_text(text.replace(bug.old, bug.new))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        broken = importlib.util.module_from_spec(spec)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, path.stem, broken)
            spec.loader.exec_module(broken)
            patch.setattr(backend, "kernels", broken)
            yield
