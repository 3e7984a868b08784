"""What a notebook shows at the end of a cell is the text that is written to files."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from xai_fast import BiLRP
from xai_fast.datasets.grown_graphs import grown_graphs
from xai_fast.interaction import GNNLRP
from xai_fast.models.grown_graphs import GraphIsomorphismNetwork
from xai_fast.plot import coloured_words, similarity_svg, walks_svg

ENCODER = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
ROWS = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(0))


def walks() -> str:
    nodes, adjacency, _ = grown_graphs([1])
    return walks_svg(GNNLRP(GraphIsomorphismNetwork().eval()).explain(nodes, adjacency, 1), top_k=1)


PICTURES: dict[str, Callable[[], str]] = {
    "words": lambda: coloured_words(["not", "bad"], torch.tensor([0.5, -1.0])),
    "walks": walks,
    "pairs": lambda: similarity_svg("abcde", "abcde", BiLRP(ENCODER, cells="tokens").explain(*ROWS)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_shows_the_text(name: str) -> None:
    text = PICTURES[name]()
    assert text._repr_html_() == text + ""  # type: ignore[attr-defined]
    assert text.startswith(("<svg", "<p"))
