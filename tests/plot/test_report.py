from __future__ import annotations

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_reader import Reader
from PIL import Image

from xai_fast.plot import Card, Fact, Report, heat_layer, render_report, write_report

HOSTILE = "<script>alert(1)</script> \"quoted\" 'single' & {{cards}} $x </style> \u202egpj.exe \x00\n.png"
AS_SHOWN = HOSTILE.replace("\x00", "\ufffd").replace("\n", "\ufffd")


def jpeg(seed: int, width: int = 32, height: int = 24) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def layer(seed: int, width: int = 16, height: int = 12) -> bytes:
    file = io.BytesIO()
    heat_layer(np.random.default_rng(seed).random((height, width), np.float32)).save(file, "PNG")
    return file.getvalue()


def a_card(index: int, name: str, heading: str, error: float | None, **options: Any) -> Card:
    probability = 0.9 - 0.1 * index
    return Card(
        name=name,
        heading=heading,
        photo=jpeg(index),
        layer=layer(index),
        size=(32, 24),
        probability=probability,
        classes=[(heading, probability), ("ostrich", 0.05)],
        facts=[
            Fact("relative standard error", "?" if error is None else f"{error:.2f}", error, "Less is better."),
            Fact("label", "a word"),
        ],
        **options,
    )


def a_report(cards: int = 7) -> Report:
    names = ["b.png", "a.png", "Ünï.webp", HOSTILE, "c/d.jpg", "e.jpg", "f.jpg"]
    headings = ["tench", "goldfish", "Zürich", HOSTILE, "hen", "hen", "cock"]
    errors = [0.3, 0.1, None, 0.2, math.inf, 0.5, 0.4]
    return Report(
        title="Seven pictures",
        kicker=HOSTILE,
        cards=[
            a_card(i, names[i], headings[i], errors[i], flags=["no negative flux"] if i in (1, 4) else [])
            for i in range(cards)
        ],
        reading=HOSTILE,
        summary={"pictures": "7", HOSTILE: HOSTILE},
        settings={"radius": 0.1, "tolerance": None, HOSTILE: HOSTILE},
        versions={"torch": HOSTILE},
        failures=[(HOSTILE, "not a picture"), ("broken.png", HOSTILE)],
        omitted=2,
    )


def test_text_of_users_is_text_wherever_it_stands() -> None:
    page = Reader(render_report(a_report()))
    assert len(page.named("script")) == len(page.named("style")) == 1
    # Title, kicker, reading, summary (2), heading, file, class, failures (2), settings (2), versions.
    assert sum(AS_SHOWN in text for text in page.texts) == 13
    cards = [attributes for attributes in page.named("li") if attributes.get("class") == "card"]
    assert AS_SHOWN.lower() in str(cards[3]["data-search"])
    handlers = [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert handlers == []


def test_the_policy_allows_this_script_and_style_and_nothing_else() -> None:
    page = Reader(render_report(a_report()))
    rules = page.policy()
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag in ("script", "style"):
        assert rules[f"{tag}-src"] == page.hash_of(tag)


def test_nothing_is_referred_to_outside_of_the_page() -> None:
    text = render_report(a_report())
    page = Reader(text)
    assert page.outside_references() == []
    assert not re.search(r"https?://|//\w|@import|url\(", page.inside["style"] + page.inside["script"])
    photos = [a["src"] for a in page.named("img") if a.get("class") == "photo" and a.get("src")]
    assert [base64.b64decode(str(src).partition(",")[2]) for src in photos] == [jpeg(i) for i in range(7)]


def test_numbers_to_sort_by_are_json_and_unknown_ones_are_null() -> None:
    page = Reader(render_report(a_report()))
    cards = [attributes for attributes in page.named("li") if attributes.get("class") == "card"]
    values = [json.loads(str(attributes["data-values"])) for attributes in cards]
    assert [value[1] for value in values] == [0.3, 0.1, None, 0.2, None, 0.5, 0.4]
    assert [value[0] for value in values] == pytest.approx([0.9 - 0.1 * i for i in range(7)])
    assert [json.loads(str(attributes["data-flags"])) for attributes in cards] == [[], [0], [], [], [0], [], []]


def test_a_report_without_pictures(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write_report(file, Report(title="None", kicker="NeFLAG", cards=[], clip=(2.5, 71)))
    text = file.read_text(encoding="utf-8")
    assert "from the 2.5th to the 71st percentile" in text
    assert "failures" not in Reader(text).texts


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "a folder with # and ü" / "report.html"
    write_report(file, a_report())
    return file


SHOWN = (
    "[...document.querySelectorAll('.card')].filter((c) => !c.hidden).map((c) => c.querySelector('.file').textContent)"
)
FOCUS = "document.activeElement.querySelector('.file')?.textContent ?? document.activeElement.id"
IN_VIEWER = "document.querySelector('#viewer').open && document.querySelector('#viewer-title .file').textContent"


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_renders_without_requests_or_complaints(browser: Any, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert [request for request in browser.requests() if not request.startswith("data:")] == [page.as_uri()]
    assert browser.complaints() == []
    assert browser.evaluate("document.querySelectorAll('.card .photo').length") == 7
    loaded = (
        "Promise.all([...document.querySelectorAll('.card img')].map((i) => i.decode().then(() => i.naturalWidth)))"
    )
    assert browser.evaluate(loaded) == [32, 16] * 7
    # Style is applied (the policy did not block it), and nothing sticks out sideways.
    assert browser.evaluate("getComputedStyle(document.querySelector('.gallery')).display") == "grid"
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    background = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == dark
    bars = browser.evaluate("[...document.querySelectorAll('.card .caption rect')].map((r) => r.getAttribute('width'))")
    assert bars == [f"{90 - 10 * i:.1f}" for i in range(7)]


@pytest.mark.browser
def test_a_reader_who_is_there_before_the_first_picture_keeps_the_focus(browser: Any, page: Path) -> None:
    at_once = "addEventListener('DOMContentLoaded', () => document.querySelector('#gallery button').focus())"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=at_once)
    browser.open(page)
    browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)
    drawn = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
    assert browser.evaluate(drawn)
    assert browser.evaluate("document.activeElement === document.querySelector('#gallery button')")
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_page_is_used_with_the_keyboard_alone(browser: Any, page: Path) -> None:
    browser.open(page)
    files = browser.evaluate(SHOWN)
    browser.evaluate("document.querySelector('#gallery button').focus()")
    columns = browser.evaluate(
        "getComputedStyle(document.querySelector('.gallery')).gridTemplateColumns.split(' ').length"
    )
    assert 2 <= columns < 7
    moves = [
        ("ArrowRight", 1),
        ("ArrowLeft", 0),
        ("ArrowLeft", 0),
        ("ArrowDown", columns),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", 6),
        ("ArrowRight", 6),
        ("ArrowUp", 6 - columns),
        ("ArrowDown", 6),
        ("ArrowDown", 6),
        ("Home", 0),
        ("ArrowRight", 1),
    ]
    for key, position in moves:
        browser.press(key)
        assert browser.evaluate(FOCUS) == files[position], key
    assert browser.evaluate("document.activeElement.matches(':focus-visible')")
    assert browser.evaluate("document.querySelectorAll('.open[tabindex=\"0\"]').length") == 1

    browser.press("Enter")
    assert browser.evaluate(IN_VIEWER) == files[1]
    assert browser.evaluate("document.activeElement.id") == "viewer-title"
    assert browser.evaluate("document.querySelector('#viewer .photo').src") == browser.evaluate(
        "document.querySelectorAll('.card .photo')[1].src"
    )
    for key, position in [("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 0), ("End", 6)]:
        browser.press(key)
        assert browser.evaluate(IN_VIEWER) == files[position], key
    browser.press("ArrowRight", "Escape")
    assert browser.evaluate(IN_VIEWER) is False
    # The browser tells the page in a later task that the viewer is closed.
    browser.wait_for(FOCUS, files[6])
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_overlay_is_switched_and_faded(browser: Any, page: Path) -> None:
    browser.open(page)
    opacity = "getComputedStyle(document.querySelector('.card .heat')).opacity"
    assert browser.evaluate(opacity) == "1"
    browser.press("o")
    assert browser.evaluate(opacity) == "0"
    assert "grayscale(0)" in browser.evaluate("getComputedStyle(document.querySelector('.card .photo')).filter")
    browser.press("o")
    assert browser.evaluate(opacity) == "1"
    slide = (
        "const range = document.querySelector('.toolbar .strength-range');"
        "range.value = 40; range.dispatchEvent(new Event('input'))"
    )
    browser.evaluate(slide)
    assert browser.evaluate(opacity) == "0.4"
    assert browser.evaluate("document.querySelector('#viewer .strength-range').value") == "40"
    browser.press("o", "o")
    assert browser.evaluate(opacity) == "0.4"


def choose(browser: Any, control: str, value: str, event: str = "change") -> None:
    browser.evaluate(
        f"document.querySelector('{control}').value = {json.dumps(value)};"
        f"document.querySelector('{control}').dispatchEvent(new Event('{event}'))"
    )


@pytest.mark.browser
def test_pictures_are_found_filtered_and_sorted(browser: Any, page: Path) -> None:
    browser.open(page)
    files = browser.evaluate(SHOWN)
    for words, expected in {
        "HEN": [4, 5],
        "zürich": [2],
        "Zu\u0308rich": [2],
        "hen c/d": [4],
        "alert(1)": [3],
        "nothing": [],
        "": range(7),
    }.items():
        choose(browser, "#search", words, "input")
        assert browser.evaluate(SHOWN) == [files[i] for i in expected], words
        assert browser.evaluate("document.querySelector('#nothing').hidden") == bool(expected)
    choose(browser, "#flag", "0")
    assert browser.evaluate(SHOWN) == [files[1], files[4]]
    assert browser.evaluate("document.querySelector('#count').textContent") == "2 of 7 shown"
    choose(browser, "#flag", "")
    order = "[...document.querySelectorAll('.card')].map((c) => c.querySelector('.file').textContent)"
    choose(browser, "#sort", "1")
    assert browser.evaluate(order) == [files[i] for i in (1, 3, 0, 6, 5, 2, 4)]
    browser.evaluate("document.querySelector('#reverse').click()")
    assert browser.evaluate(order) == [files[i] for i in (5, 6, 0, 3, 1, 2, 4)]
    # The arrow keys follow what is seen.
    browser.press("/")
    assert browser.evaluate(FOCUS) == "search"
    browser.press("h", "e", "n")
    assert browser.evaluate(SHOWN) == [files[5], files[4]]
    browser.evaluate("document.querySelector('.card:not([hidden]) button').focus()")
    browser.press("End")
    assert browser.evaluate(FOCUS) == files[4]
    assert browser.complaints() == []


@pytest.mark.browser
def test_light_and_dark_can_be_chosen(browser: Any, page: Path) -> None:
    browser.open(page, dark=True)
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = browser.evaluate(background)
    browser.evaluate("document.querySelector('#theme').click()")
    light = browser.evaluate(background)
    assert light != dark
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate(background) == dark
