"""The report about items: what it writes, whom it replaces, and how a reader uses it."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_reader import Reader
from PIL import Image
from report_data import entries, numbers, picture, read_script

from xai_fast.errors import InputError
from xai_fast.explanation import Explanation
from xai_fast.interaction import InteractionMap
from xai_fast.plot import Front, Item, Look, heat, heat_layer, items_of, report

HOSTILE = "<script>alert(1)</script> \"q\" 's' & {{cards}} $x </style> \u202egpj.exe \x00\udcff\u2028.png"
AS_SHOWN = HOSTILE.replace("\x00", "\ufffd").replace("\udcff", "\ufffd")
COUNT = 60
CLASSES = ["hen", "cock", HOSTILE, "Zürich"]


def explanation(shape: tuple[int, ...] = (3, 24, 32), count: int = COUNT, **more: Any) -> Explanation:
    i = torch.arange(count)
    values = {
        "attributions": torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)),
        "scores": (i * 7 % count + 1) / (count + 1),
        "targets": i % 4,
        "evaluations": i + 5,
        "facts": {"no_negative_flux": i % 10 == 1},
        "method": "neflag",
        "settings": {"radius": 0.1, HOSTILE: HOSTILE},
    }
    return Explanation(**(values | more))


def photo(seed: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def names(count: int = COUNT) -> list[str]:
    return [HOSTILE, *(f"{i % 7}/photo {i}.png" for i in range(1, count))]


def items() -> list[Item]:
    found = items_of(explanation(), pictures=[photo(i) for i in range(COUNT)], names=names(), class_names=CLASSES)
    return [*found, Item("broken.png", status="unreadable", error=f"not a picture\n{HOSTILE}")]


def write(folder: Path, source: Any = None, **options: Any) -> Path:
    front = Front(kicker=HOSTILE, reading=HOSTILE, summary={HOSTILE: HOSTILE}, versions={"torch": HOSTILE})
    return report(items() if source is None else source, folder, front=options.pop("front", front), **options)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report") / "a folder with # and ü")


def test_the_index_has_the_values_of_all_items(page: Path) -> None:
    index = read_script(page, "index")
    assert (index["count"], index["methods"]) == (COUNT + 1, ["neflag"])
    assert [index["statuses"][i] for i in numbers(index["status"], np.uint8)] == ["explained"] * COUNT + ["unreadable"]
    headings = [index["headings"][i] if i >= 0 else None for i in numbers(index["classes"], np.int32)]
    assert headings == [*(["hen", "cock", AS_SHOWN, "Zürich"] * 15), None]
    columns = {one["label"]: numbers(one["values"], np.float32) for one in index["numbers"]}
    np.testing.assert_allclose(columns["score"][:-1], explanation().scores)
    np.testing.assert_array_equal(columns["evaluations"], [*range(5, COUNT + 5), np.nan])
    (fact,) = index["facts"]
    assert fact["label"] == "no negative flux"
    assert "negative flux" in fact["text"]
    assert np.flatnonzero(numbers(fact["values"], np.uint8)).tolist() == [1, 11, 21, 31, 41, 51]


def test_an_entry_has_picture_map_and_name(page: Path) -> None:
    found = entries(page)
    assert [entry["name"] for entry in found] == read_script(page, "names") == [AS_SHOWN, *names()[1:], "broken.png"]
    assert np.asarray(picture(found[40]["photo"])).shape == (24, 32, 3)  # small maps are shown pixel by pixel
    (layer,) = found[40]["layers"]
    assert picture(layer["image"]).size == (32, 24)
    assert found[COUNT]["layers"] == [None]
    assert found[COUNT]["error"] == f"not a picture\n{AS_SHOWN}"


def test_text_of_users_is_text_and_the_page_runs_its_own_scripts_only(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    assert len(reader.named("script")) == len(reader.named("style")) == 1
    # Title, kicker, reading (with signs too), summary, settings, versions.
    assert sum(AS_SHOWN in one for one in reader.texts) == 9
    rules = reader.policy()
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    assert rules["script-src"] == f"{reader.hash_of('script')} 'self' file:"
    assert rules["style-src"] == reader.hash_of("style")
    assert reader.outside_references() == []
    assert [n for _, a in reader.tags for n in a if n.startswith("on") or n == "style"] == []
    assert not re.search(r"@import|url\(", reader.inside["style"])


def drawn(folder: Path, shape: tuple[int, ...], **options: Any) -> dict[str, Any]:
    return entries(write(folder, explanation(shape, 2), **options))[1]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((3, 96, 128), (128, 96)), ((96, 128), (128, 96)), ((7, 7), (7, 7)), ((1, 600, 300), (224, 448))],
)
def test_maps_lie_over_the_picture(shape: tuple[int, ...], size: tuple[int, int], tmp_path: Path) -> None:
    entry = drawn(tmp_path, shape, pictures=[photo(i, 600, 500) for i in range(2)])
    (layer,) = entry["layers"]
    assert layer["kind"] == "heat"
    assert picture(layer["image"]).size == size
    width, height = picture(entry["photo"]).size
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)  # its middle, in the map's proportions
    assert max(width, height) == 448


def signs(count: int = 3) -> Explanation:
    """Maps of which the second has no negative sum, though a channel of it is negative."""
    maps = torch.randn(count, 2, 24, 32, generator=torch.Generator().manual_seed(0))
    maps[1] = torch.stack([-maps[1, 0].abs(), 2 * maps[1, 0].abs()])
    return explanation(attributions=maps, count=count)


@pytest.mark.parametrize("side", [448, 16])
def test_maps_of_both_signs_come_signed_as_well(side: int, tmp_path: Path) -> None:
    found = signs()
    layers = [entry["layers"][0] for entry in entries(write(tmp_path, found, side=side))]
    assert ["signed" in layer for layer in layers] == [True, False, True]
    size = (32, 24) if side > 32 else (16, 12)
    for i in (0, 2):
        scaled = torch.from_numpy(heat(found.attributions[i], signed=True))
        scaled = torch.nn.functional.adaptive_avg_pool2d(scaled[None], size[::-1])[0]
        expected = heat_layer(scaled.numpy(), signed=True).convert("RGBA")
        shown, magnitude = (picture(layers[i][name]) for name in ("signed", "image"))
        assert shown.size == magnitude.size == size
        assert np.array_equal(np.asarray(shown.convert("RGBA")), np.asarray(expected))


@pytest.mark.parametrize(
    ("ranking", "text"),
    [("sum_of_abs", "The absolute values of the channels are summed."), ("signed_sum", "The channels are summed.")],
)
def test_the_page_says_how_channels_are_joined(ranking: str, text: str, tmp_path: Path) -> None:
    page = write(tmp_path, signs(), look=Look(ranking=ranking))
    assert text in page.read_text(encoding="utf-8")


def test_features_are_bars_and_anything_else_is_numbers(tmp_path: Path) -> None:
    entry = drawn(tmp_path / "bars", (3,), look=Look(feature_names=["age", HOSTILE]))
    (layer,) = entry["layers"]
    assert layer["names"] == ["age", AS_SHOWN, "2"]
    np.testing.assert_allclose(layer["values"], explanation((3,), 2).attributions[1])
    entry = drawn(tmp_path / "numbers", (2, 3, 4, 5))
    assert entry["layers"] == [None]
    ((name, text),) = entry["notes"]
    assert name == "attributions"
    strongest = explanation((2, 3, 4, 5), 2).attributions[1].flatten().argmax()
    assert text.startswith(f"{strongest}: ")
    assert text.endswith("...")


def test_a_method_that_nobody_has_heard_of_gets_a_page(tmp_path: Path) -> None:
    found = explanation((4,), 3, facts={"odd": torch.tensor([True, False, False])}, method="toy", settings={"a": 1})
    page = report({"toy": found, "other": explanation((8, 8), 3)}, tmp_path)
    index = read_script(page, "index")
    assert index["methods"] == ["toy", "other"]
    assert [fact["label"] for fact in index["facts"]] == ["toy: odd", "other: no negative flux"]
    labels = [one["label"] for one in index["numbers"]]
    assert labels == ["toy: score", "toy: evaluations", "other: score", "other: evaluations"]
    assert [layer["kind"] for layer in entries(page)[0]["layers"]] == ["bars", "heat"]
    text = page.read_text(encoding="utf-8")
    assert "<h1>3 items</h1>" in text
    assert "toy, other" in text


def test_a_part_of_the_items(tmp_path: Path) -> None:
    page = write(tmp_path, explanation((2,)), first=20, limit=30)
    assert read_script(page, "names") == [str(i) for i in range(20, 50)]
    assert "These are 30 of 60 items, from item 20 on." in page.read_text(encoding="utf-8")
    page = write(tmp_path, explanation((2,)), limit=5)
    assert "These are the first 5 of 60 items." in page.read_text(encoding="utf-8")
    assert len(entries(page)) == 5  # nothing is left of the larger one


WRONG: dict[str, tuple[Any, dict[str, Any]]] = {
    "limit: expected an integer, from 1 to 1000000": (None, {"limit": 0}),
    "first: expected an integer, from 0 to 60": (None, {"first": 61}),
    "side: expected": (None, {"side": 1}),
    "top_k: expected": (lambda: [], {"look": lambda: Look(top_k=0)}),
    "source: expected explanations, items, a store": (lambda: 3, {}),
    "words: expected a list of words per item, got 'a b'": (lambda: explanation((2,)), {"words": ["a b"] * COUNT}),
    "pictures: expected 60 of them, one per item, got 1": (explanation, {"pictures": [photo(0)]}),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_shown_is_refused(message: str, tmp_path: Path) -> None:
    source, options = WRONG[message]
    with pytest.raises(InputError, match=message):
        write(tmp_path, source and source(), **{n: o() if callable(o) else o for n, o in options.items()})
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_the_same_run_is_replaced_and_no_other(tmp_path: Path) -> None:
    first = explanation((2,))
    page = report(first, tmp_path)
    assert report(explanation((2,), scores=torch.zeros(COUNT)), tmp_path) == page
    before = page.read_bytes()
    other = explanation((2,), settings={"radius": 0.2})
    with pytest.raises(InputError, match="expected no report of another run"):
        report(other, tmp_path)
    assert page.read_bytes() == before
    page.write_text("a page of somebody else")
    with pytest.raises(InputError, match="expected no report of another run"):
        report(first, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report-data", "report.html"]


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_of_somebody_else_is_left_alone(link: bool, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    mine = tmp_path / "mine" if link else tmp_path / "out" / "report-data"
    mine.mkdir()
    (mine / "kept").touch()
    if link:
        (tmp_path / "out" / "report-data").symlink_to(mine)
    with pytest.raises(InputError, match="expected no folder report-data"):
        write(tmp_path / "out")
    assert [path.name for path in mine.iterdir()] == ["kept"]


def test_no_file_of_a_report_is_taken_for_a_picture(page: Path) -> None:
    files = [path for path in page.parent.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".js"}


# ---- in a browser

SHOWN = "[...document.querySelectorAll('.card .file')].map((c) => c.textContent)"
LOADED = "document.querySelector('#gallery').dataset.page"
NUMBER = "document.querySelector('#count').textContent"
FOCUS = "document.activeElement.querySelector('.file')?.textContent ?? document.activeElement.id"
IN_VIEWER = "document.querySelector('#viewer').open && document.querySelector('#viewer-title .file').textContent"
OPACITY = "getComputedStyle(document.querySelector('.card .heat')).opacity"


def choose(browser: Any, control: str, value: str, event: str = "change") -> None:
    browser.evaluate(
        "document.querySelector('#gallery').dataset.page = '';"
        f"document.querySelector('{control}').value = {json.dumps(value)};"
        f"document.querySelector('{control}').dispatchEvent(new Event('{event}'))"
    )


def opened(browser: Any, page: Path, **options: Any) -> None:
    browser.open(page, **options)
    browser.wait_for(LOADED, "0")


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_opens_from_a_disk_without_complaints(browser: Any, page: Path, width: int, dark: bool) -> None:
    opened(browser, page, width=width, dark=dark)
    images = "[...document.querySelectorAll('.card img[src]')]"
    widths = f"Promise.all({images}.map((i) => i.decode().then(() => i.naturalWidth)))"
    assert browser.evaluate(widths) == [32] * 96
    assert browser.evaluate(SHOWN)[0] == AS_SHOWN
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    background = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == dark
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate("getComputedStyle(document.documentElement).backgroundColor") != background
    browser.evaluate("document.querySelector('.card button').click()")
    assert browser.evaluate("document.querySelector('#viewer').scrollWidth") <= width
    assert browser.evaluate("document.querySelectorAll('main script, dialog script').length") == 0
    assert all(url.startswith((page.parent.as_uri(), "data:")) for url in browser.requests())
    assert browser.complaints() == []


@pytest.mark.browser
def test_items_are_found_filtered_and_sorted(browser: Any, page: Path) -> None:
    opened(browser, page)
    for control, value, count in [
        ("#class", "1", "15 of 61 shown"),
        ("#show", "fact:0", "3 of 61 shown"),
        ("#least", "0.3", "2 of 61 shown"),
        ("#most", "0.7", "1 of 61 shown"),
    ]:
        choose(browser, control, value)
        browser.wait_for(NUMBER, count)
    browser.evaluate("document.querySelector('#clear').click()")
    browser.wait_for(NUMBER, "61 shown")
    choose(browser, "#show", "status:1")
    browser.wait_for(LOADED, "0")
    assert browser.evaluate(SHOWN) == ["broken.png"]
    assert browser.evaluate("document.querySelector('.card .mark').textContent") == "unreadable"
    browser.evaluate("document.querySelector('.card button').click()")
    browser.wait_for("document.querySelector('#reason').textContent", f"not a picture\n{AS_SHOWN}")
    browser.press("Escape")
    choose(browser, "#show", "")
    for words, count in {"PHOTO 14": 1, "3/photo 3": 9, "alert(1) .exe": 16, "zu\u0308rich": 15, "hen": 15}.items():
        choose(browser, "#search", words, "input")
        browser.wait_for(NUMBER, f"{count} of 61 shown")
    choose(browser, "#search", "nothing like it", "input")
    browser.wait_for("document.querySelector('#nothing').hidden", False)
    browser.evaluate("document.querySelector('#clear').click()")
    choose(browser, "#sort", "0")
    browser.wait_for(LOADED, "0")
    order = sorted(range(COUNT), key=lambda i: i * 7 % COUNT)
    shown = [AS_SHOWN, *names()[1:]]
    assert browser.evaluate(SHOWN) == [shown[i] for i in order[:48]]
    browser.evaluate("document.querySelector('#gallery').dataset.page = ''; document.querySelector('#reverse').click()")
    browser.wait_for(LOADED, "0")
    assert browser.evaluate(SHOWN) == [shown[i] for i in order[::-1][:48]]
    browser.evaluate("document.querySelector('#last-page').click()")
    browser.wait_for(LOADED, "1")
    assert browser.evaluate(SHOWN)[-1] == "broken.png"  # what has no score is last
    assert browser.complaints() == []


@pytest.mark.browser
def test_it_is_used_with_the_keyboard_alone(browser: Any, page: Path) -> None:
    opened(browser, page)
    shown = [AS_SHOWN, *names()[1:]]
    browser.press("n")
    browser.wait_for(LOADED, "1")
    browser.press("p")
    browser.wait_for(LOADED, "0")
    browser.evaluate("document.querySelector('#gallery button').focus()")
    columns = browser.evaluate(
        "getComputedStyle(document.querySelector('.gallery')).gridTemplateColumns.split(' ').length"
    )
    moves = [("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", 0), ("ArrowDown", columns), ("ArrowUp", 0), ("End", 47)]
    for key, position in moves:
        browser.press(key)
        assert browser.evaluate(FOCUS) == shown[position], key
    assert browser.evaluate("document.querySelectorAll('.open[tabindex=\"0\"]').length") == 1
    browser.press("ArrowRight")  # onto the next page
    browser.wait_for(LOADED, "1")
    browser.wait_for(FOCUS, shown[48])
    browser.press("Enter")
    browser.wait_for(IN_VIEWER, shown[48])
    assert browser.evaluate("document.activeElement.id") == "viewer-title"
    for key, position in [("ArrowLeft", 47), ("PageDown", 48), ("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 1)]:
        browser.press(key)
        browser.wait_for(IN_VIEWER, shown[position])
    browser.press("Escape")
    browser.wait_for(IN_VIEWER, False)
    browser.wait_for(FOCUS, shown[1])
    assert browser.evaluate(OPACITY) == "1"
    browser.press("o")
    assert browser.evaluate(OPACITY) == "0"
    browser.evaluate(
        "const r = document.querySelector('#viewer .strength-range'); r.value = 40; r.dispatchEvent(new Event('input'))"
    )
    assert browser.evaluate(OPACITY) == "0.4"
    browser.press("o", "o")
    assert browser.evaluate(OPACITY) == "0.4"
    browser.press("/", "h", "e", "n")
    browser.wait_for(NUMBER, "15 of 61 shown")
    assert browser.complaints() == []


@pytest.mark.browser
def test_a_reader_who_is_there_before_the_first_picture_keeps_the_focus(browser: Any, page: Path) -> None:
    at_once = "addEventListener('DOMContentLoaded', () => document.querySelector('#theme').focus())"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=at_once)
    opened(browser, page)
    browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)
    assert browser.evaluate("document.activeElement === document.querySelector('#viewer')") is False
    assert browser.complaints() == []


@pytest.mark.browser
def test_methods_take_turns_on_the_cards_and_in_the_viewer(browser: Any, tmp_path: Path) -> None:
    bars = dataclasses.replace(explanation((5,), 3), scores=torch.tensor([7.0, 8.0, 9.0]))
    maps = dataclasses.replace(explanation((8, 8), 3), scores=torch.tensor([4.0, 5.0, 6.0]))
    page = report({"bars": bars, "the_maps": maps}, tmp_path)
    opened(browser, page)
    shown = "[...document.querySelectorAll('.card .value, #limited')].map((one) => one.textContent)"
    assert browser.evaluate(shown) == ["bars: score", "7", "8", "9"]
    kinds = "['.over.bars', '.heat[src]'].map((kind) => document.querySelectorAll('.card ' + kind).length)"
    assert browser.evaluate(kinds) == [3, 0]
    browser.evaluate("document.querySelectorAll('.card button')[1].click()")
    browser.wait_for("document.querySelectorAll('#features li').length", 5)
    choose(browser, "#viewer select.method", "1")
    browser.wait_for(kinds, [0, 3])
    browser.wait_for("document.querySelectorAll('#features li').length", 0)
    assert browser.evaluate("document.querySelector('#method').value") == "1"
    assert browser.evaluate(shown) == ["the maps: score", "4", "5", "6"]
    assert browser.evaluate("document.querySelector('#place').textContent") == "2 of 3"
    browser.press("Escape")
    choose(browser, "#least", "5")
    browser.wait_for(shown, ["the maps: score", "5", "6"])
    choose(browser, "#method", "0")
    browser.wait_for(shown, ["bars: score", "7", "8", "9"])
    assert browser.complaints() == []


@pytest.mark.browser
def test_maps_are_shown_by_magnitude_or_with_their_signs(browser: Any, page: Path, tmp_path: Path) -> None:
    written = write(tmp_path, signs())
    layers = [entry["layers"][0] for entry in entries(written)]
    opened(browser, written)
    sources = "[...document.querySelectorAll('.card .heat, #stage .heat')].map((i) => i.src.split(',')[1])"
    pressed = "[...document.querySelectorAll('.signs')].map((b) => b.hidden ? null : b.getAttribute('aria-pressed'))"
    magnitudes = [layer["image"] for layer in layers]
    with_signs = [layer.get("signed", layer["image"]) for layer in layers]
    assert browser.evaluate(sources)[:3] == magnitudes
    assert browser.evaluate(pressed) == ["false", "false"]
    browser.press("s")
    browser.wait_for(f"{sources}.slice(0, 3)", with_signs)
    assert browser.evaluate(pressed) == ["true", "true"]
    browser.evaluate("document.querySelectorAll('.card button')[2].click()")
    browser.wait_for(sources, [*with_signs, with_signs[2]])
    browser.evaluate("document.querySelector('#viewer .signs').click()")
    browser.wait_for(sources, [*magnitudes, magnitudes[2]])
    browser.press("s")
    browser.wait_for(sources, [*with_signs, with_signs[2]])
    browser.press("Escape")
    browser.wait_for("document.activeElement.className", "open")
    browser.press("/", "s")  # a letter for the search
    assert browser.evaluate(pressed) == ["true", "true"]
    described = browser.evaluate("document.querySelector('.signs').getAttribute('aria-describedby')")
    assert "sums the channels" in browser.evaluate(f"document.querySelector('#{described}').innerText")
    assert browser.complaints() == []
    opened(browser, write(tmp_path / "begins", signs(), look=Look(signed=True)))
    assert browser.evaluate(pressed) == ["true", "true"]
    assert browser.evaluate(sources)[:3] == with_signs
    opened(browser, page)  # maps without a negative sum
    browser.press("s")
    assert browser.evaluate(pressed) == [None, None]


@pytest.mark.browser
def test_a_piece_that_is_missing_is_told(browser: Any, page: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(page.parent, tmp_path / "report")) / page.name
    (copied.parent / "report-data" / "000" / "001.js").unlink()
    browser.open(copied)
    browser.wait_for("document.querySelector('#fault').hidden", False)
    assert "report-data/000/001.js" in browser.evaluate("document.querySelector('#fault').textContent")


@pytest.mark.browser
@pytest.mark.slow
def test_it_stays_quick_at_a_hundred_thousand_items(browser: Any, tmp_path: Path) -> None:
    # The values of all, and the entries of the first of them; bounds that also hold on a busy machine.
    page = report(explanation((2,), 200), tmp_path)
    index = read_script(page, "index") | {"count": 100_000}
    for column in (index, *index["numbers"], *index["facts"]):
        for name in {"status", "classes", "values"} & column.keys():
            column[name] = base64.b64encode(500 * base64.b64decode(column[name])).decode()
    (tmp_path / "report-data" / "index.js").write_text(f'xaiFast("index",{json.dumps(index)});\n')
    opened(browser, page)
    ready = browser.evaluate("performance.now()")
    filtered = browser.evaluate(
        "(() => { const start = performance.now(); const control = document.querySelector('#least');"
        "control.value = '0.5'; control.dispatchEvent(new Event('change')); return performance.now() - start; })()"
    )
    assert browser.evaluate(NUMBER) == "50,000 of 100,000 shown"
    assert ready < 10_000
    assert filtered < 1_000


def test_interactions_without_a_geometry_have_even_cells(tmp_path: Path) -> None:
    found = InteractionMap(
        attributions=torch.rand(1, 3, 3), grid=(3,), layer="encoder", scores=torch.ones(1), evaluations=torch.ones(1)
    )
    (layer,) = entries(report(found, tmp_path))[0]["layers"]
    assert (layer["rows"], len(layer["columns"])) == ([[0.0, 1.0]], 3)


def test_pictures_come_in_many_forms(tmp_path: Path) -> None:
    Image.fromarray(photo(0)).save(tmp_path / "photo.png")
    content = (tmp_path / "photo.png").read_bytes()
    forms = [photo(0), Image.fromarray(photo(0)), content, tmp_path / "photo.png", b"no picture", None]
    page = report(explanation((48, 64), len(forms)), tmp_path / "out", pictures=forms)
    photos = [entry["photo"] for entry in entries(page)]
    assert len(set(photos[:4])) == 1
    assert photos[4:] == ["", ""]
