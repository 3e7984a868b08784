"""The server for the gallery: what it answers, and to whom."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from gallery_store import some_rows, write_store
from hypothesis import given
from hypothesis import strategies as st

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs.store import Items, Layout, Status, create_job, read_job, write_shard

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

from xai_fast.jobs.gallery import View  # noqa: E402

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    root = tmp_path_factory.mktemp("view") / "job"
    ids = [HOSTILE, *map(str, range(1, 100))]
    write_store(root, 100, ids=ids, failed={5: (Status.FAILED, HOSTILE)}, shards=[0])
    with View(root) as running:
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
    code, headers, content = ask(view, "")
    assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"63 items explained" in content
    code, headers, content = ask(view, "shards/index.js")
    assert (code, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert json.loads(content[len('xaiFast("index",') : -3])["chunk"] == 1
    code, _, content = ask(view, "shards/000005.js")
    (entry,) = json.loads(content[len('xaiFast("000005",') : -3])
    assert (code, entry["error"], entry["heat"]) == (200, HOSTILE, "")
    assert ask(view, "shards/000005.js")[2] == content
    assert json.loads(ask(view, "shards/names.js")[2][len('xaiFast("names",') : -3])[0] == HOSTILE
    assert ask(view, "?utm=1")[0] == 200


def test_pictures_for_the_large_view_are_larger(tmp_path: Path) -> None:
    np.save(tmp_path / "job.npy", np.random.default_rng(0).integers(0, 256, (3, 300, 200), np.uint8))
    write_store(tmp_path / "job", 3, shape=(1, 300, 200))
    with View(tmp_path / "job") as view:
        sizes = {}
        for name in ("000001", "000001-large"):
            content = ask(view, f"shards/{name}.js")[2].decode()
            (entry,) = json.loads(content.removeprefix(f'xaiFast("{name}",')[:-3])
            sizes[name] = [Image.open(io.BytesIO(base64.b64decode(entry[kind]))).size for kind in ("photo", "heat")]
        assert sizes == {"000001": [(85, 128), (85, 128)], "000001-large": [(448, 672), (200, 300)]}
        assert b'"large":true' in ask(view, "shards/index.js")[2]
        assert ask(view, "shards/000003-large.js")[0] == 404


def test_head_has_no_body(view: View) -> None:
    code, headers, content = ask(view, "shards/000005.js", "HEAD")
    assert (code, content) == (200, b"")
    assert int(headers["Content-Length"]) == len(ask(view, "shards/000005.js")[2])


def test_answers_cannot_be_framed_kept_or_read_by_other_pages(view: View) -> None:
    for path in ("", "shards/index.js", "nothing"):
        headers = ask(view, path)[1]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "NONSENSE"])
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
    assert ask(view, "shards/index.js", Sec_Fetch_Site=site)[0] == code


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "//shards/index.js",
        "//aaaaaaaaaaaaaaaaaaaaaa/",
        "../job.json",
        "job.json",
        "shards/../../job.json",
        "shards/%2e%2e/job.json",
        "shards/%2e%2e%2fjob.json",
        "shards/..\\job.json",
        "//etc/passwd",
        "shards//etc/passwd",
        "shards/000100.js",
        "shards/5.js",
        "shards/0000005.js",
        "shards/-00001.js",
        "shards/",
        "data/",
        "index.html",
    ],
)
def test_there_is_nothing_else(path: str, view: View) -> None:
    assert ask(view, path)[0] == 404


@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=60))
def test_paths_of_any_kind_find_nothing(path: str, view: View) -> None:
    assert ask(view, f"x/{path}")[0] == 404


def test_it_listens_on_this_machine_only(view: View) -> None:
    assert view._server.server_address[0] == "127.0.0.1"
    place = urlsplit(view.url)
    addresses = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in {one for one in addresses if not one.startswith("127.")}:
        with socket.socket() as client:
            client.settimeout(2)
            assert client.connect_ex((address, place.port)) != 0


def test_each_view_has_a_path_of_its_own(view: View, tmp_path: Path) -> None:
    write_store(tmp_path / "job", 3)
    with View(tmp_path / "job") as other:
        assert len(urlsplit(other.url).path) > 20
        assert ask(view, f"/{urlsplit(other.url).path}")[0] == 404
    assert len([thread for thread in threading.enumerate() if thread.name == "view"]) == 1  # the fixture's


def test_it_follows_a_job_that_runs(tmp_path: Path) -> None:
    layout = write_store(tmp_path / "job", 100, shards=[])
    with View(tmp_path / "job") as view:
        assert b"0 items explained" in ask(view, "")[2]
        assert b'"heat":""' in ask(view, "shards/000003.js")[2]
        write_shard(layout, 0, 0, 64, some_rows(0, 64, {}, (1, 28, 28)), "float16_scaled", {})
        assert b"64 items explained" in ask(view, "")[2]
        assert b'"heat":""' not in ask(view, "shards/000003.js")[2]


def test_nothing_is_written(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 10)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with View(tmp_path / "job") as view:
        for path in ("", "shards/index.js", "shards/names.js", "shards/000001.js"):
            assert ask(view, path)[0] == 200
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_store_that_is_damaged_meanwhile_is_told(tmp_path: Path) -> None:
    layout = write_store(tmp_path / "job", 10)
    with View(tmp_path / "job") as view:
        for file in layout.data.iterdir():
            file.write_bytes(file.read_bytes()[:100])
        code, headers, content = ask(view, "shards/000001.js")
        assert (code, headers["Content-Type"]) == (500, "text/plain; charset=utf-8")
        assert b"expected" in content


def test_a_part_of_the_items(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 100)
    with View(tmp_path / "job", first=70, limit=20) as view:
        assert b"These are 20 of 100 items, from item 70 on." in ask(view, "")[2]
        assert b'"first":70,"count":20' in ask(view, "shards/index.js")[2]
        assert b'"name":"75"' in ask(view, "shards/000005.js")[2]
        assert ask(view, "shards/000020.js")[0] == 404


def test_more_items_than_a_page_can_show_are_refused_at_once(tmp_path: Path) -> None:
    count = 2**47
    layout = write_store(tmp_path / "job", 3, shards=[])
    large = Layout(tmp_path / "large")
    items = Items.freeze(large, range(count))
    create_job(large, read_job(layout) | {"items": {"count": count, "sha256": items.sha256}})
    for first in (0, count - 1_000_001):
        with pytest.raises(InputError, match=r"limit: expected a number up to 1,000,000 .*140,737,488,355,328"):
            View(large.root, first=first)
    with View(large.root, first=count - 7) as view:
        assert b'"count":7' in ask(view, "shards/index.js")[2]


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        View(tmp_path)
    write_store(tmp_path / "job", 3)
    for options in ({"port": 70000}, {"port": -1}, {"side": 1}, {"field": "scores"}):
        with pytest.raises(InputError):
            View(tmp_path / "job", **options)


@pytest.mark.browser
def test_a_browser_shows_it_without_complaints(browser: Any, view: View) -> None:
    browser.open(view.url)
    browser.wait_for("document.querySelector('#gallery').dataset.page", "0")
    assert browser.complaints() == []
    assert browser.evaluate("document.querySelectorAll('.card .heat[src]').length") == 47
    browser.evaluate("document.querySelector('#next-page').click()")
    browser.wait_for("document.querySelector('#gallery').dataset.page", "1")
    marks = "[...new Set([...document.querySelectorAll('.card .mark')].map((m) => m.textContent))]"
    assert browser.evaluate(marks) == ["to do"]
    assert browser.evaluate("document.querySelectorAll('main img:not(.photo):not(.heat)').length") == 0
    assert all(url.startswith((view.url, "data:")) for url in browser.requests())
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_large_view_shows_the_larger_picture(browser: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "job.npy", np.random.default_rng(0).integers(0, 256, (3, 300, 200), np.uint8))
    write_store(tmp_path / "job", 3, shape=(1, 300, 200))
    with View(tmp_path / "job") as view:
        browser.open(view.url)
        browser.wait_for("document.querySelector('#gallery').dataset.page", "0")
        browser.evaluate("document.querySelectorAll('.card .open')[1].click()")
        browser.wait_for("document.querySelector('#viewer .photo').naturalHeight", 672)
        assert browser.evaluate("document.querySelector('.card .photo').naturalHeight") == 128
        assert browser.complaints() == []


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 3)
    program = [sys.executable, "-c", "import sys; from xai_fast.cli import main; sys.exit(main())"]
    serving = subprocess.Popen([*program, "jobs", "view", "job"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    url = serving.stdout.readline().strip()
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=60)
    connection.request("GET", place.path)
    assert connection.getresponse().status == 200
    connection.close()
    os.kill(serving.pid, signal.SIGINT)
    assert serving.wait(60) == 0
    serving.stdout.close()
