"""The ledger of a relevance as a plot, and in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_data import entries, numbers, read_script

from xai_fast.errors import InputError
from xai_fast.explanation import Explanation
from xai_fast.plot import report
from xai_fast.plot.ledger import ledger_of
from xai_fast.relevance.ledger import Relevance

HOSTILE = "<script>alert(1)</script> & \"q\" 's'"
NAMES = ("blocks.15.depthwise_conv convolution", HOSTILE, "classifier addmm")
#        arrives, bias, stabiliser, rule: from the input to the score, 8 of which 0.002 arrive at the input
ROWS = [[2.002, 1.2, 0.6, 0.2], [1.002, 0.5, -1.5, 0.0], [8.0, 6.0, 0.5, 0.498]]
REACHES = 8.0 - 1.2 - 0.6 - 0.2 - 0.5 + 1.5 - 6.0 - 0.5 - 0.498


def relevance(scale: tuple[float, ...] = (1.0,), reaches: float = REACHES, **more: Any) -> Relevance:
    """Items whose ledgers are multiples of `ROWS`, with maps of 3 x 4 x 4 of both signs."""
    factors = torch.tensor(scale, dtype=torch.float64)
    maps = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps += (reaches - maps.sum()) / maps.numel()
    values = {
        "attributions": factors[:, None, None, None] * maps,
        "scores": factors,
        "evaluations": torch.ones(len(scale)),
        "ledger": factors[:, None, None] * torch.tensor(ROWS, dtype=torch.float64),
        "operations": NAMES,
        "method": "lrp",
    }
    return Relevance(**(values | more))


def with_classes() -> Relevance:
    """Two classes of one item, of which the second has three times the relevance."""
    two = relevance((1.0, 3.0))
    return relevance((1.0,), attributions=two.attributions[None], ledger=two.ledger[None])


def with_two_inputs() -> Relevance:
    whole = relevance().attributions
    return relevance(attributions=(whole - 1.0, torch.ones(1, 48, dtype=torch.float64)))


def shares(ledger: dict[str, Any]) -> np.ndarray:
    return numbers(ledger["rows"], np.float32).reshape(-1, 4)


SAME = {
    "one item": relevance,
    "of a score below zero": lambda: relevance((-0.5,)),
    "the mean of several": lambda: relevance((1.0, 2.0, -4.0)),
    "with one that has no relevance": lambda: relevance((0.0, 2.0)),
    "classes": with_classes,
    "two inputs": with_two_inputs,
    "single precision that needs a gradient": lambda: relevance(ledger=torch.tensor([ROWS], requires_grad=True)),
    "read back": lambda: Explanation.from_parts(relevance().stored(), json.loads(json.dumps(relevance().constants()))),
}


@pytest.mark.parametrize("name", SAME)
def test_shares_are_those_of_the_relevance_that_the_walk_began_with(name: str) -> None:
    ledger = ledger_of(SAME[name]())
    np.testing.assert_allclose(shares(ledger), np.array([[REACHES, 0, 0, 0], *ROWS]) / 8.0, atol=1e-7)
    assert ledger["span"] == pytest.approx((-1.5 / 8, 1.0))
    assert ledger["lost"]


def test_the_mean_is_weighted_by_the_relevance() -> None:
    one, other = relevance((1.0,)), relevance((3.0,), ledger=torch.zeros(1, 3, 4, dtype=torch.float64))
    ledger = ledger_of(Relevance.cat([one, other]))
    np.testing.assert_allclose(shares(ledger)[1:], np.array(ROWS) / (8.0 + 3 * REACHES))


SPACE = "\u202f%"
TOLD = {
    "lost": (
        relevance,
        True,
        f"0.002 of 8 arrives at the input (0.025{SPACE}). Kept by bias 96{SPACE}, stabiliser \u22125{SPACE}, "
        f"rule 8.7{SPACE}; by classifier addmm alone 87{SPACE}.",
    ),
    "of a score below zero": (
        lambda: relevance((-1.0,)),
        True,
        f"-0.002 of -8 arrives at the input (0.025{SPACE}). Kept by bias 96{SPACE}, stabiliser \u22125{SPACE}, "
        f"rule 8.7{SPACE}; by classifier addmm alone 87{SPACE}.",
    ),
    "several, with relevance added": (
        lambda: relevance(
            (1.0, 2.0), 12.0, ledger=torch.tensor([[[8.0, -4, 0, 0]], [[16.0, -8, 0, 0]]]), operations=NAMES[:1]
        ),
        False,
        f"Mean of 2: 18 of 12 arrives at the input (150{SPACE}). Kept by bias \u221250{SPACE}, stabiliser 0{SPACE}, "
        f"rule 0{SPACE}; by {NAMES[0]} alone \u221250{SPACE}.",
    ),
    "nothing kept": (
        lambda: relevance((1.0,), 8.0, ledger=torch.zeros(1, 3, 4)),
        False,
        f"8 of 8 arrives at the input (100{SPACE}). Kept by bias 0{SPACE}, stabiliser 0{SPACE}, rule 0{SPACE}.",
    ),
    "nothing at all": (
        lambda: relevance((0.0,)),
        True,
        "There is no relevance to hand on: the score that is explained is 0.",
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_line_says_what_arrives_and_who_keeps_the_rest(name: str) -> None:
    made, lost, text = TOLD[name]
    ledger = ledger_of(made())
    assert (ledger["text"], ledger["lost"]) == (text, lost)


WRONG = {
    "ledger: expected finite numbers": {"ledger": torch.full((1, 3, 4), torch.nan)},
    "operations: expected 3 names": {"operations": NAMES[:2]},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_ledger_that_cannot_be_drawn_is_refused(message: str, tmp_path: Path) -> None:
    broken = relevance(**WRONG[message])
    with pytest.raises(InputError, match=f"^{message}"):
        ledger_of(broken)
    entry = entries(report(broken, tmp_path))[0]
    assert entry["layers"] == [None]
    assert message in entry["error"]


@pytest.mark.parametrize("shape", [(3, 4, 4), (48,), (2, 3, 4, 2)])
def test_the_report_has_the_ledger_beside_whatever_is_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    found = relevance((1.0, 2.0))
    found = relevance((1.0, 2.0), attributions=found.attributions.reshape(2, *shape))
    page = report({"lrp": found, "other": Explanation(**plain(2))}, tmp_path)
    assert read_script(page, "index")["operations"] == [list(NAMES), []]
    first, other = entries(page)[1]["layers"]
    assert first["ledger"]["text"] == ledger_of(found[1])["text"]
    assert first["ledger"]["lost"] is True
    np.testing.assert_allclose(shares(first["ledger"]), np.array([[REACHES, 0, 0, 0], *ROWS]) / 8.0, atol=1e-6)
    assert "ledger" not in other
    assert not any("ledger" in name for name, _ in entries(page)[1]["notes"])


def plain(count: int) -> dict[str, Any]:
    return {"attributions": torch.rand(count, 4, 4), "scores": torch.ones(count), "evaluations": torch.ones(count)}


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_a_reader_sees_at_a_glance_that_relevance_is_lost(browser: Any, width: int, tmp_path: Path) -> None:
    good = relevance((1.0,), ledger=torch.zeros(1, 3, 4, dtype=torch.float64))
    page = report({"lrp": Relevance.cat([relevance(), good]), "other": Explanation(**plain(2))}, tmp_path)
    browser.open(page, width=width)
    browser.wait_for("document.querySelector('#gallery').dataset.page", "0")
    marks = "[...document.querySelectorAll('.card')].map((one) => one.querySelector('.lost')?.textContent ?? null)"
    assert browser.evaluate(marks) == ["relevance is lost", None]
    label = browser.evaluate("document.querySelector('.card button').getAttribute('aria-label')")
    assert label.endswith(ledger_of(relevance())["text"])
    browser.evaluate("document.querySelectorAll('.card button')[0].click()")
    text = "document.querySelector('#ledger-text').textContent"
    browser.wait_for(text, ledger_of(relevance())["text"])
    assert browser.evaluate("document.querySelector('#ledger-text').classList.contains('lost')")
    assert (
        browser.evaluate("document.querySelector('#ledger-bars svg').getAttribute('aria-label')")
        == (ledger_of(relevance())["text"])
    )
    rows = (
        "[...document.querySelectorAll('#ledger-bars g')].map((g) => [...g.querySelectorAll('rect')]"
        ".map((r) => [Number(r.getAttribute('x')), Number(r.getAttribute('width'))]))"
    )
    drawn = browser.evaluate(rows)
    assert len(drawn) == 4
    named = browser.evaluate("[...document.querySelectorAll('#ledger-bars text')].map((t) => t.textContent)")
    assert named == ["input", "blocks.15.depthwise_conv", f"\u2026{HOSTILE[-26:]}", "classifier addmm"]
    scale = 180 / 1.1875
    zero = 170 + 0.1875 * scale
    last = [(0.0, 1.0), (0.0, 0.75), (0.75, 0.0625), (0.8125, 0.06225)]
    np.testing.assert_allclose(drawn[3], [[zero + x * scale, w * scale] for x, w in last], atol=1e-3)
    np.testing.assert_allclose(drawn[2][2], [zero - 0.1875 * scale, 0.1875 * scale], atol=1e-3)
    assert browser.evaluate("document.querySelectorAll('#ledger-bars script').length") == 0
    browser.press("ArrowRight")
    browser.wait_for("document.querySelector('#ledger-text').classList.contains('lost')", False)
    browser.evaluate(
        "const s = document.querySelector('#viewer select.method'); s.value = '1'; s.dispatchEvent(new Event('change'))"
    )
    browser.wait_for("document.querySelector('#ledger').hidden", True)
    browser.wait_for(marks, [None, None])
    assert browser.complaints() == []
