"""The calls on the page for users of other packages, run side by side."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers import pytorch_grad_cam, quantus, zennit

import xai_fast
from xai_fast import metrics, relevance

PAGE = Path(__file__).parent.parent / "docs" / "coming-from.md"
PEERS: dict[str, Callable[[], Any]] = {
    "captum": lambda: pytest.importorskip("sklearn") and vars(pytest.importorskip("captum.attr")),
    "pytorch-grad-cam": lambda: vars(pytorch_grad_cam()),
    "zennit": lambda: {k: v for n in ("types", "rules", "composites") for k, v in vars(getattr(zennit(), n)).items()},
    "Quantus": lambda: vars(quantus()),
    "shapiq": lambda: vars(pytest.importorskip("shapiq")),
}
FIRST, *SECTIONS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """Two calls, the difference that they may have, or have at least."""

    section: str
    theirs: str
    ours: str
    at_least: bool
    difference: float


ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| (> )?([\d.e-]+) \| .*\|$", re.MULTILINE)
TEXT = {text.split("\n", 1)[0].strip(): text for text in SECTIONS}
ROWS = [
    Row(section, theirs, ours, bool(more), float(number))
    for section, text in TEXT.items()
    for theirs, ours, more, number in ROW.findall(text)
]


def run_blocks(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def columns(section: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the names that the two columns of a section have."""
    peer = PEERS[section]()
    shared = run_blocks(FIRST + TEXT[section])
    here = {name: getattr(module, name) for module in (metrics, relevance, xai_fast) for name in module.__all__}
    return {**peer, **shared}, {**shared, **here}


def value(call: str, names: dict[str, Any]) -> torch.Tensor:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # what peers draw from
    torch.manual_seed(0)
    found = eval(call, names)
    return torch.as_tensor(np.asarray(found.detach() if isinstance(found, torch.Tensor) else found)).double()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.theirs}")
def test_both_calls_give_the_same(row: Row) -> None:
    theirs, ours = (value(call, of) for call, of in zip((row.theirs, row.ours), columns(row.section), strict=True))
    assert theirs.shape == ours.shape
    difference = float((theirs - ours).abs().max() / theirs.abs().max().clamp(min=1e-300))
    assert (difference > row.difference) if row.at_least else (difference <= row.difference), difference


def explainers(section: str, peer: dict[str, Any]) -> set[str]:
    """Name what users of a package call."""
    classes = {name: one for name, one in peer.items() if isinstance(one, type) and not name.startswith("_")}
    if section == "captum":
        bases = {kind + "Attribution" for kind in ("", "Gradient", "Perturbation", "Neuron", "Layer")}
        return {name for name, one in classes.items() if issubclass(one, peer["Attribution"])} - bases
    if section == "pytorch-grad-cam":
        base = sys.modules["pytorch_grad_cam.base_cam"].BaseCAM
        return {name for name, one in classes.items() if issubclass(one, base)} | {"GuidedBackpropReLUModel"}
    if section == "zennit":
        rules = sys.modules["zennit.rules"]
        given = {name for name, one in classes.items() if one.__module__ == rules.__name__}
        return {one.__name__ for one in peer["COMPOSITES"].values()} | {n for n in given if "Mod" not in n}
    if section == "Quantus":
        found = sys.modules["quantus.helpers.constants"].AVAILABLE_METRICS
        return {one.__name__ for group in found.values() for one in group.values()}
    return set()


@pytest.mark.parametrize("section", list(PEERS)[:4])
def test_what_users_of_a_peer_call_is_named(section: str) -> None:
    names = explainers(section, PEERS[section]())
    assert len(names) > 10
    assert names - set(re.findall(r"\w+", TEXT[section])) == set()


def test_all_tables_are_read() -> None:
    calls = sum(line.startswith("| `") for line in PAGE.read_text(encoding="utf-8").splitlines())
    assert len(ROWS) == calls > 80
    assert list(TEXT) == list(PEERS)
