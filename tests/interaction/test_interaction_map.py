"""The map of interactions: its strongest, its sums, and its way into a file and back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from xai_fast import Explanation
from xai_fast.errors import InputError
from xai_fast.interaction import AxisGeometry, CellGeometry, InteractionMap

GRIDS = {"map": (2, 3), "tokens": (5,), "one cell": (1, 1)}


def a_geometry(grid: tuple[int, ...]) -> CellGeometry:
    return CellGeometry(
        tuple(
            AxisGeometry(
                pixels=10 * n + 3,
                start=4.25 + axis,
                stride=10.0,
                low=tuple(max(0, 10 * i - 7) for i in range(n)),
                high=tuple(min(10 * n + 3, 10 * i + 17) for i in range(n)),
            )
            for axis, n in enumerate(grid)
        )
    )


def made(**changes: object) -> InteractionMap:
    saliency = changes.get("attributions", torch.zeros(2, 6, 6))
    ones = torch.ones(len(saliency))
    values = {"attributions": saliency, "evaluations": ones, "grid": (2, 3), "scores": ones, "layer": "conv"}
    return InteractionMap(**values | changes)


def a_map(
    grid: tuple[int, ...] = (2, 3),
    order: int = 2,
    symmetric: bool = True,
    dtype: torch.dtype = torch.float32,
    batch: int = 3,
    **more: object,
) -> InteractionMap:
    n = int(np.prod(grid))
    sums = torch.randn(batch, *[n] * order, dtype=dtype, generator=torch.Generator().manual_seed(order))
    saliency = sums**2
    for index in itertools.product(range(n), repeat=order):
        wanted = all(a < b for a, b in itertools.pairwise(index)) if symmetric else len(set(index)) == order
        if not wanted:
            saliency[(slice(None), *index)] = 0
    options = {"targets": torch.arange(batch), "sums": sums, "geometry": a_geometry(grid)} | more
    return InteractionMap(
        attributions=saliency,
        evaluations=torch.ones(batch),
        grid=grid,
        scores=torch.rand(batch),
        layer="stages.3",
        symmetric=symmetric,
        **options,
    )


def every_interaction(saliency: Tensor, grid: tuple[int, ...]) -> list[tuple[tuple[tuple[int, ...], ...], float]]:
    cells = list(itertools.product(*map(range, grid)))
    entries = [
        (tuple(cells[i] for i in index), float(saliency[index]))
        for index in itertools.product(range(len(cells)), repeat=saliency.ndim)
    ]
    return [entry for entry in entries if entry[1] > 0]


MAPS = list(itertools.product(GRIDS, (1, 2, 3, 4), (True, False)))


@pytest.mark.parametrize(("grid", "order", "symmetric"), MAPS)
def test_top_k_is_a_sorted_list_of_all(grid: str, order: int, symmetric: bool) -> None:
    interactions = a_map(GRIDS[grid], order, symmetric)
    for k in (1, 4, 10**6):
        for item, found in enumerate(interactions.top_k(k)):
            literal = every_interaction(interactions.saliency[item], GRIDS[grid])
            assert [tuple(one) for one in found] == sorted(literal, key=lambda one: (-one[1], one[0]))[:k]


@pytest.mark.parametrize("k", [1, 2, 3, 7, 100])
def test_of_equals_the_smaller_cells_come_first(k: int) -> None:
    saliency = torch.zeros(1, 6, 6)
    saliency[0, [4, 0, 2, 1, 0], [5, 3, 3, 5, 1]] = torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0])
    expected = [((0, 2), (1, 0)), ((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 2)), ((1, 1), (1, 2))]
    interactions = made(attributions=saliency, scores=torch.zeros(1))
    assert [found.cells for found in interactions.top_k(k)[0]] == expected[:k]


@pytest.mark.parametrize(("grid", "order", "symmetric"), MAPS)
def test_marginal_and_partners_are_sums_over_the_list_of_all(grid: str, order: int, symmetric: bool) -> None:
    interactions = a_map(GRIDS[grid], order, symmetric, torch.float64)
    cells = list(itertools.product(*map(range, GRIDS[grid])))
    for item in range(len(interactions)):
        literal = every_interaction(interactions.saliency[item], GRIDS[grid])
        for one in cells:
            total = sum(strength for members, strength in literal if one in members)
            assert float(interactions.marginal()[(item, *one)]) == pytest.approx(total)
            if order > 1:
                for other in cells:
                    shared = sum(s for members, s in literal if one in members and other in members and one != other)
                    assert float(interactions.partners(one)[(item, *other)]) == pytest.approx(shared)


def test_boxes_are_those_of_the_geometry() -> None:
    interactions = a_map()
    for of, box in (("cell", interactions.geometry.cell_box), ("field", interactions.geometry.field_box)):
        expected = [[tuple(map(box, found.cells)) for found in item] for item in interactions.top_k(3)]
        assert interactions.boxes(3, of) == expected
    # Tokens of an image have boxes too, in the order of its rows.
    tokens = a_map((6,), geometry=a_geometry((2, 3)))
    (first, second) = tokens.top_k(1)[0][0].cells
    expected = tuple(tokens.geometry.cell_box(divmod(i, 3)) for (i,) in (first, second))
    assert tokens.boxes(1)[0] == [expected]


def test_items_are_taken_like_those_of_a_list() -> None:
    interactions = a_map()
    assert len(interactions) == 3
    assert [len(one) for one in interactions] == [1, 1, 1]
    for items, expected in ((1, [1]), (-1, [2]), (slice(0, 2), [0, 1]), (slice(None, None, 2), [0, 2])):
        got = interactions[items]
        for name in ("saliency", "sums", "scores", "targets"):
            assert torch.equal(getattr(got, name), getattr(interactions, name)[expected]), (items, name)
        assert (got.grid, got.layer, got.geometry) == (interactions.grid, interactions.layer, interactions.geometry)
    with pytest.raises(IndexError, match="item 3 of 3"):
        interactions[3]


def same(a: Explanation, b: Explanation) -> bool:
    mine, theirs = a.tensors(), b.tensors()
    bits = [(t.dtype, t.shape, t.numpy().tobytes()) for t in (*mine.values(), *theirs.values())]
    return mine.keys() == theirs.keys() and bits[: len(mine)] == bits[len(mine) :] and a.constants() == b.constants()


STORED = {
    "symmetric": lambda: a_map(),
    "float64, directed": lambda: a_map(symmetric=False, dtype=torch.float64, scope="global"),
    "third order": lambda: a_map((5,), 3),
    "without what is optional": lambda: a_map(sums=None, targets=None, geometry=None),
    "a remedy": lambda: a_map(remedy="ReLU swapped for gelu; größer"),
    "no items": lambda: a_map(batch=0),
    "negative zeros": lambda: a_map(sums=-torch.zeros(3, 6, 6)),
    "views": lambda: a_map()[::2],
}


@pytest.mark.parametrize("name", STORED)
def test_what_is_loaded_is_what_was_saved(name: str, tmp_path: Path) -> None:
    interactions = STORED[name]()
    interactions.save(tmp_path / "folder" / "map.bin")
    assert same(interactions, InteractionMap.load(tmp_path / "folder" / "map.bin"))
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["map.bin"]


DAMAGED = {
    "another kind": (lambda t, c: (t, c | {"kind": "photo"}), "kind: expected .*InteractionMap.*, got 'photo'"),
    "a part is missing": (
        lambda t, c: ({k: v for k, v in t.items() if k != "scores"}, c),
        "tensors: .*scores",
    ),
    "another grid": (lambda t, c: (t, c | {"grid": [2, 2]}), "for the grid"),
    "geometry of another kind": (lambda t, c: (t, c | {"geometry": {"axes": [1]}}), "tensors: expected those of"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_parts_that_do_not_fit(name: str) -> None:
    damage, message = DAMAGED[name]
    with pytest.raises(InputError, match=message):
        Explanation.from_parts(*damage(a_map().tensors(), a_map().constants()))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY" + bytes(100)])
def test_files_that_do_not_fit(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=r"^path: expected a file that Explanation\.save wrote"):
        InteractionMap.load(tmp_path / "file")
    safetensors.torch.save_file({"x": torch.zeros(2)}, tmp_path / "file")
    with pytest.raises(InputError, match="other tensors in"):
        InteractionMap.load(tmp_path / "file")


WRONG = {
    r"attributions: expected \(B, 4, ...\)": lambda: made(grid=(2, 2)),
    r"attributions: expected \(B, 6, ...\)": lambda: made(attributions=torch.zeros(2, 6, 5)),
    "attributions: expected dtype": lambda: made(attributions=torch.zeros(2, 6, 6, dtype=torch.bfloat16)),
    r"scores: expected shape \(2,\)": lambda: made(scores=torch.zeros(3)),
    r"targets: expected shape \(2,\)": lambda: made(targets=torch.zeros(2, 1)),
    r"sums: expected shape \(2, 6, 6\)": lambda: made(sums=torch.zeros(2, 6)),
    "scope: expected one of local, global": lambda: made(scope="all"),
    r"geometry: expected one for the grid \(2, 3\), got one for \(4, 4\)": lambda: made(geometry=a_geometry((4, 4))),
    "k: expected an integer, at least 1": lambda: made().top_k(0),
    "attributions: expected finite values": lambda: made(attributions=torch.full((2, 6, 6), torch.nan)).top_k(1),
    "geometry: expected where the cells of conv lie": lambda: made().boxes(1),
    "of: expected one of cell, field": lambda: made(geometry=a_geometry((2, 3))).boxes(1, "pixel"),
    r"cell: expected a position in the grid \(2, 3\), got \(2, 0\)": lambda: made().partners((2, 0)),
    "attributions: expected order 2 or more": lambda: made(attributions=torch.zeros(2, 6)).partners((0, 0)),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(message: str) -> None:
    with pytest.raises(InputError, match="^" + message):
        WRONG[message]()
