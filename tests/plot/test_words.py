"""Words with the colour of their relevance."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_reader import Reader
from report_data import entries

from xai_fast.errors import InputError
from xai_fast.explanation import Explanation
from xai_fast.plot import coloured_words, report

HOSTILE = "<script>alert(1)</script> \"q\" 's' & {{cards}} </style> \u202e"
WORDS = ["not", "bad", "at", "<all>"]


def explanation(shape: tuple[int, ...], count: int) -> Explanation:
    values = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
    return Explanation(attributions=values, scores=torch.ones(count), evaluations=torch.ones(count))


def spans(text: str) -> list[tuple[str, str, float]]:
    """Background, colour of the letters and number of each word."""
    found = []
    for attributes in Reader(text).named("span"):
        style = dict(rule.split(":") for rule in str(attributes["style"]).split(";"))
        found.append((style["background-color"], style["color"], float(str(attributes["title"]))))
    return found


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.1, from its definition."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_letters_stand_out_from_every_background() -> None:
    numbers = torch.linspace(-1, 1, 1001)
    found = spans(coloured_words(["word"] * 1001, numbers))
    assert len({background for background, _, _ in found}) == 256
    assert min(contrast(background, ink) for background, ink, _ in found) >= 4.5


def test_red_is_positive_blue_negative_and_zero_almost_white() -> None:
    channels = [
        [int(background[i : i + 2], 16) for i in (1, 3, 5)]
        for background, _, _ in spans(coloured_words(["a", "b", "c", "d"], torch.tensor([-4.0, 0.0, 2.0, 4.0])))
    ]
    (blue, white, weak, red) = channels
    assert blue[2] > blue[0] + 100
    assert min(white) > 235
    assert red[0] > weak[2] > red[2]
    assert red[0] > red[2] + 100


NUMBERS = torch.tensor([[0.5, -1.0, 0.25, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
SPLIT = torch.stack([NUMBERS - 3.0, torch.full_like(NUMBERS, 3.0)], dim=-1)
"""(2, 5, 2), whose sum over the last dimension are the numbers."""
SHOWN: dict[str, tuple[tuple[Any, ...], dict[str, Any], list[float]]] = {
    "one item": ((WORDS, NUMBERS[0]), {}, [0.5, -1.0, 0.25, 2.0]),
    "one item with a dimension": ((WORDS, SPLIT[0]), {}, [0.5, -1.0, 0.25, 2.0]),
    "numpy": ((WORDS, NUMBERS[0].numpy()), {}, [0.5, -1.0, 0.25, 2.0]),
    "half precision that needs a gradient": (
        (WORDS, NUMBERS[0].half().requires_grad_()),
        {},
        [0.5, -1.0, 0.25, 2.0],
    ),
    "a batch": (([WORDS, WORDS[:2]], NUMBERS), {}, [0.5, -1.0, 0.25, 2.0, 1.0, 2.0]),
    "a batch with a dimension": (([WORDS, WORDS[:2]], SPLIT), {}, [0.5, -1.0, 0.25, 2.0, 1.0, 2.0]),
    "padding on the left": (
        ([["<pad>", *WORDS], WORDS[:2]], NUMBERS),
        {"mask": torch.tensor([[0, 1, 1, 1, 1], [1, 1, 0, 0, 0]])},
        [-1.0, 0.25, 2.0, 9.0, 1.0, 2.0],
    ),
    "all zero": ((WORDS, torch.zeros(4)), {}, [0.0] * 4),
    "no word": (([[], []], NUMBERS), {}, []),
}


@pytest.mark.parametrize("name", SHOWN)
def test_each_word_has_its_number_and_padding_none(name: str) -> None:
    arguments, options, expected = SHOWN[name]
    text = coloured_words(*arguments, **options)
    assert [number for _, _, number in spans(text)] == expected
    assert text.count("<p ") == (1 if isinstance(arguments[0][0], str) else len(arguments[0]))


def test_words_are_text() -> None:
    text = coloured_words([HOSTILE, "a\"'b"], torch.ones(2))
    assert {tag for tag, _ in Reader(text).tags} == {"p", "span"}
    assert "".join(Reader(text).texts) == f"{HOSTILE} a\"'b"


WRONG: dict[str, Any] = {
    r"relevance: expected \(n,\) or \(n, d\) per item, with a number for each of 4 words": (WORDS, torch.ones(3)),
    r"relevance: expected \(n,\) or \(n, d\) per item": (WORDS, torch.ones(4, 2, 2)),
    "relevance: expected 2 items": ([WORDS, WORDS], torch.ones(3, 4)),
    "relevance: expected finite numbers": (WORDS, torch.tensor([1.0, torch.nan, 1.0, 1.0])),
    "mask: expected 4 entries": (WORDS, torch.ones(4), torch.ones(3)),
    "mask: expected 1 items": ([WORDS], torch.ones(1, 4), torch.ones(2, 4)),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(message: str) -> None:
    words, relevance, *mask = WRONG[message]
    with pytest.raises(InputError, match="^" + message):
        coloured_words(words, relevance, mask=mask[0] if mask else None)


TEXTS = [[HOSTILE, *WORDS], WORDS[:2]]


@pytest.mark.parametrize("shape", [(5,), (5, 8)])
def test_the_report_of_texts_has_their_words(shape: tuple[int, ...], tmp_path: Path) -> None:
    found = explanation(shape, 2)
    page = report(found, tmp_path, words=TEXTS)
    assert "Words on red speak for the explained score" in page.read_text(encoding="utf-8")
    numbers = found.attributions.reshape(2, 5, -1).double().sum(2)
    for entry, words, values in zip(entries(page), [[HOSTILE, *WORDS], WORDS[:2]], numbers, strict=True):
        (layer,) = entry["layers"]
        assert layer["kind"] == "words"
        assert [word for word, *_ in layer["words"]] == words
        assert [number for *_, number in layer["words"]] == [f"{v:.3g}" for v in values[: len(words)].tolist()]
        assert entry["notes"] == []


def test_a_report_of_too_many_words_says_so_of_the_item(tmp_path: Path) -> None:
    entry = entries(report(explanation((2,), 1), tmp_path, words=[WORDS]))[0]
    assert entry["layers"] == [None]
    assert "with a number for each of 4 words" in entry["error"]
    with pytest.raises(InputError, match="words: expected 1 of them"):
        report(explanation((2,), 1), tmp_path, words=[])


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_words_are_read_in_the_browser(browser: Any, width: int, tmp_path: Path) -> None:
    browser.open(report(explanation((5,), 2), tmp_path, words=TEXTS), width=width)
    browser.wait_for("document.querySelector('#gallery').dataset.page", "0")
    words = "[...document.querySelectorAll('{} .words span')].map((one) => one.textContent)"
    assert browser.evaluate(words.format(".card")) == [HOSTILE, *WORDS, *WORDS[:2]]
    browser.evaluate("document.querySelectorAll('.card button')[1].click()")
    browser.wait_for(words.format("#stage"), WORDS[:2])
    style = "getComputedStyle(document.querySelector('#stage .words span')).backgroundColor"
    assert re.fullmatch(r"rgb\(\d+, \d+, \d+\)", browser.evaluate(style))
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
