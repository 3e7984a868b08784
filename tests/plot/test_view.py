"""The server for a report: what it answers, and to whom."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ranking_examples import ranking_of
from report_data import picture, script_content

from xai_fast.errors import InputError, StoreError
from xai_fast.explanation import Explanation
from xai_fast.plot import Item, ItemList, View, items_of

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def explanation(count: int) -> Explanation:
    return Explanation(
        attributions=torch.rand(count, 3, 300, 200, generator=torch.Generator().manual_seed(0)),
        scores=torch.linspace(0, 1, count),
        evaluations=torch.ones(count, dtype=torch.int64),
    )


def items(count: int) -> ItemList:
    photos = np.random.default_rng(0).integers(0, 256, (count, 900, 600, 3), np.uint8)
    return ItemList([*items_of(explanation(count), pictures=photos), Item(HOSTILE, status="failed", error=HOSTILE)])


@pytest.fixture(scope="module")
def view() -> Iterator[View]:
    with View(items(4)) as running:
        yield running


def ask(view: View, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it is; ``path`` is below the secret root, unless it begins with two slashes."""
    place = urlsplit(view.url)
    connection = http.client.HTTPConnection(place.netloc, timeout=60)
    target = path[1:] if path.startswith("//") else place.path + path
    connection.putrequest(method, target, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def test_the_page_and_its_pieces(view: View) -> None:
    code, headers, content = ask(view, "?utm=1")
    assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<h1>5 items</h1>" in content
    code, headers, content = ask(view, "report-data/index.js")
    assert (code, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert script_content(content, "index")["chunk"] == 1  # of a page that is sorted, nothing is drawn in vain
    (entry,) = script_content(ask(view, "report-data/000/004.js")[2], "000/004")
    assert (entry["name"], entry["error"], entry["layers"]) == (HOSTILE, HOSTILE, [None])
    assert script_content(ask(view, "report-data/names.js")[2], "names")[4] == HOSTILE


def test_pictures_for_the_large_view_are_larger(view: View) -> None:
    sizes = {}
    for name in ("000/001", "000/001-large"):
        (entry,) = script_content(ask(view, f"report-data/{name}.js")[2], name)
        sizes[name] = [picture(entry["photo"]).size, picture(entry["layers"][0]["image"]).size]
    assert sizes == {"000/001": [(299, 448), (200, 300)], "000/001-large": [(448, 672), (200, 300)]}


def test_explanations_and_rankings_are_served_too() -> None:
    for source in (explanation(2), ranking_of(("a", "b"), {(0, 1): 1.0})):
        with View(source) as other:
            assert ask(other, "")[0] == ask(other, "report-data/index.js")[0] == 200
            assert ask(other, "report-data/000/009.js")[0] == 404


def test_answers_cannot_be_framed_kept_or_read_by_other_pages(view: View) -> None:
    for path in ("", "report-data/index.js", "nothing"):
        headers = ask(view, path)[1]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "NONSENSE"])
def test_other_methods_are_refused(method: str, view: View) -> None:
    assert ask(view, "", method)[0] == 501


HOSTS = {
    "127.0.0.1": 200,
    "localhost:1234": 200,  # such as at the other end of a tunnel
    "[::1]:80": 200,
    "evil.example": 403,
    "evil.example:80": 403,
    "127.0.0.1.evil.example": 403,
    "localhost.": 403,
    "": 403,
    "127.0.0.1@evil.example": 403,
}


@pytest.mark.parametrize("host", HOSTS)
def test_other_names_of_this_machine_are_refused(host: str, view: View) -> None:
    assert ask(view, "", Host=host)[0] == HOSTS[host]


@pytest.mark.parametrize(
    ("site", "code"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
def test_other_pages_in_the_browser_are_refused(site: str, code: int, view: View) -> None:
    assert ask(view, "report-data/index.js", Sec_Fetch_Site=site)[0] == code


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "//report-data/index.js",
        "//aaaaaaaaaaaaaaaaaaaaaa/",
        "report-data/../../job.json",
        "report-data/%2e%2e/job.json",
        "report-data/..\\job.json",
        "//etc/passwd",
        "report-data//etc/passwd",
        "report-data/000/005.js",
        "report-data/000/005-large.js",
        "report-data/000/5.js",
        "report-data/0000/001.js",
        "report-data/000/%D9%A1%D9%A2%D9%A3.js",
        "report-data/",
        "report.html",
    ],
)
def test_there_is_nothing_else(path: str, view: View) -> None:
    assert ask(view, path)[0] == 404


@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=60))
def test_paths_of_any_kind_find_nothing(path: str, view: View) -> None:
    assert ask(view, f"x/{path}")[0] == 404


def test_it_listens_on_this_machine_only(view: View) -> None:
    place = urlsplit(view.url)
    assert place.hostname == "127.0.0.1"
    addresses = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in {one for one in addresses if not one.startswith("127.")}:
        with socket.socket() as client:
            client.settimeout(2)
            assert client.connect_ex((address, place.port)) != 0


def test_each_view_has_a_path_of_its_own(view: View) -> None:
    with View(items(1)) as other:
        assert len(urlsplit(other.url).path) > 20
        assert ask(view, f"/{urlsplit(other.url).path}")[0] == 404
    assert len([thread for thread in threading.enumerate() if thread.name == "view"]) == 1  # the fixture's


def test_what_cannot_be_shown_is_refused() -> None:
    for options in ({"port": 70000}, {"port": -1}, {"side": 1}, {"first": 7}):
        with pytest.raises(InputError):
            View(items(1), **options)


class Endless:
    """Items without an end, as a store of a few bytes can promise, of which a part is damaged."""

    methods = numbered = ()
    count = 2**47

    def __init__(self) -> None:
        self.items = self
        self.statuses = ("ok",)

    def __len__(self) -> int:
        return self.count

    def id(self, index: int) -> str:
        return str(index)

    def columns(self, start: int, stop: int) -> tuple[Any, dict[str, Any]]:
        if start == 3:
            raise StoreError("shard 0: expected 100 bytes, got 50")
        return np.full(stop - start, 255, np.uint8), {}

    def explanation(self, method: str, items: object) -> None:
        raise AssertionError

    def refresh(self) -> None:
        pass


def test_more_items_than_a_page_can_show_are_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"limit: expected a number up to 1,000,000 .*140,737,488,355,328"):
        View(Endless())
    with View(Endless(), first=Endless.count - 7) as view:
        assert script_content(ask(view, "report-data/index.js")[2], "index")["count"] == 7


def test_a_store_that_is_damaged_is_told() -> None:
    with View(Endless(), first=3, limit=1) as view:
        code, headers, content = ask(view, "report-data/000/000.js")
        assert (code, headers["Content-Type"]) == (500, "text/plain; charset=utf-8")
        assert b"expected 100 bytes" in content


@pytest.mark.browser
def test_a_browser_shows_it_without_complaints(browser: Any, view: View) -> None:
    browser.open(view.url)
    browser.wait_for("document.querySelector('#gallery').dataset.page", "0")
    assert browser.evaluate("document.querySelectorAll('.card .heat[src]').length") == 4
    browser.evaluate("document.querySelectorAll('.card .open')[1].click()")
    browser.wait_for("document.querySelector('#viewer .photo').naturalHeight", 672)
    assert browser.evaluate("document.querySelector('.card .photo').naturalHeight") == 448
    assert all(url.startswith((view.url, "data:")) for url in browser.requests())
    assert browser.complaints() == []
