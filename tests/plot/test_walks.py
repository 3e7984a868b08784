"""Drawings of walks in graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from html_reader import Reader
from report_data import entries

from xai_fast.errors import InputError
from xai_fast.interaction import WalkRelevance
from xai_fast.plot import report, walks_svg


def relevance() -> WalkRelevance:
    """Two graphs of one step: of the second, padded one, walks stay at 1, or go from 1 to 0 against the target."""
    adjacency = torch.zeros(2, 4, 4)
    adjacency[1, 1, 1], adjacency[1, 0, 1] = 2.0, -1.0
    ones = torch.ones(2, 4, 1)
    return WalkRelevance(
        attributions=torch.zeros(2, 4), scores=torch.ones(2), evaluations=torch.ones(2), top=ones, inputs=ones,
        nodes_per_graph=torch.tensor([4, 3]), adjacencies=(adjacency,), maps=(torch.ones(2, 4, 1, 1),), levels=(1,),
    )  # fmt: skip


def test_walks_lie_on_the_graph() -> None:
    text = walks_svg(relevance(), item=1, positions=np.array([[0, 0], [4, 0], [0, 4]]))
    assert [(text["x"], text["y"]) for text in Reader(text).named("text")] == [
        ("30.0", "35.0"),
        ("450.0", "35.0"),
        ("30.0", "455.0"),
    ]
    edges, against, stays = Reader(text).named("path")  # the strongest is drawn last
    assert edges["d"] == "M30.0 30.0L450.0 30.0"
    assert str(stays["d"]) == "M450.0,30.0a10.0,10.0 0 1 1 0.1,0.1L450.0,30.0"
    assert str(against["d"]).count("L") == 1
    assert [int(str(path["stroke"])[1:3], 16) > 128 for path in (against, stays)] == [False, True]
    assert [float(str(path["stroke-width"])) for path in (against, stays)] == [3.0, 5.0]
    assert "<title>1 \N{RIGHTWARDS ARROW} 0: -1</title>" in text
    assert "<path" not in walks_svg(relevance(), item=0)


def test_nodes_have_places_of_their_own() -> None:
    places = [
        (float(str(c["x"])), float(str(c["y"])) - 5) for c in Reader(walks_svg(relevance(), item=0)).named("text")
    ]
    apart = torch.pdist(torch.tensor(places))
    assert float(apart.min()) > 60
    assert min(map(min, places)) >= 30
    assert max(map(max, places)) <= 450


def test_a_report_draws_the_same_walks(tmp_path: Path) -> None:
    none, some = (entry["layers"][0] for entry in entries(report(relevance(), tmp_path)))
    assert (none["lines"], none["values"], len(none["words"])) == ([], [], 4)
    drawn = [str(path["d"]) for path in Reader(walks_svg(relevance(), item=1)).named("path")[1:]]
    assert some["lines"] == drawn[::-1]  # the strongest first
    assert (some["kind"], some["values"]) == ("links", [2.0, -1.0])
    assert some["names"] == ["1 \N{RIGHTWARDS ARROW} 1", "1 \N{RIGHTWARDS ARROW} 0"]
    assert some["frame"].count("M") == 1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"positions: expected \(3, 2\), got \(4, 2\)"):
        walks_svg(relevance(), item=1, positions=np.zeros((4, 2)))
