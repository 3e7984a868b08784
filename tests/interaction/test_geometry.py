"""Cells as boxes in the image; that the numbers are right is tested with what finds them."""

from __future__ import annotations

import json

import pytest

from xai_fast.errors import InputError
from xai_fast.interaction import AxisGeometry, CellGeometry

ROWS = AxisGeometry(pixels=20, start=2.5, stride=8.0, low=(0, 3, 11), high=(9, 17, 20))
TURNED = AxisGeometry(pixels=12, start=9.0, stride=-6.0, low=(6, 0), high=(12, 6))
GEOMETRY = CellGeometry((ROWS, TURNED))

BOXES = {
    (0, 0): ((9.0, 2.5), (6.0, 0.0, 12.0, 6.5), (6.0, 0.0, 12.0, 9.0)),
    (1, 1): ((3.0, 10.5), (0.0, 6.5, 6.0, 14.5), (0.0, 3.0, 6.0, 17.0)),
    (2, 0): ((9.0, 18.5), (6.0, 14.5, 12.0, 20.0), (6.0, 11.0, 12.0, 20.0)),
}


@pytest.mark.parametrize("cell", BOXES)
def test_boxes(cell: tuple[int, int]) -> None:
    assert (GEOMETRY.center(cell), GEOMETRY.cell_box(cell), GEOMETRY.field_box(cell)) == BOXES[cell]
    assert (GEOMETRY.grid, GEOMETRY.image) == ((3, 2), (20, 12))
    signal = CellGeometry((ROWS,))
    assert signal.cell_box((cell[0],)) == ROWS.cell(cell[0])


def test_json_brings_the_same_geometry_back() -> None:
    assert CellGeometry.from_dict(json.loads(json.dumps(GEOMETRY.to_dict()))) == GEOMETRY


AXIS = GEOMETRY.to_dict()["axes"][0]
WRONG = [
    {},
    {"axes": [1]},
    {"axes": [{**AXIS, "start": "x"}]},
    {"axes": [{**AXIS, "stride": float("nan")}]},
    {"axes": [{**AXIS, "low": [0]}]},
    {"axes": [{name: value for name, value in AXIS.items() if name != "pixels"}]},
]


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_other_dictionaries_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^geometry: expected what CellGeometry.to_dict gave"):
        CellGeometry.from_dict(values)


@pytest.mark.parametrize("cell", [(3, 0), (0, -1), (0,), (0, 0, 0)])
def test_cells_outside_are_refused(cell: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"^cell: expected a position in the grid \(3, 2\)"):
        GEOMETRY.cell_box(cell)
