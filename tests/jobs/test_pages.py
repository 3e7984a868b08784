"""The report of a job: what its store and its source hold, complete or not, and nothing called that is not trusted."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from report_data import entries, numbers, picture, read_script, script_content
from store_of_maps import write_shard, write_store

from xai_fast import jobs
from xai_fast.errors import InputError
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.job_file import Status, create_job, read_job

ODD = "<script>alert(1)</script> \x00\udcff.png"
FAILED = {3: (Status.UNREADABLE, ODD), 70: (Status.NOT_FINITE, "NaN in the input")}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report") / "a folder with # and ü"
    write_store(root, 150, ids=[ODD, *(f"photo {i}.png" for i in range(1, 150))], failed=FAILED)
    return jobs.report(root, class_names=["ant"])


def statuses(page: Path) -> list[str]:
    index = read_script(page, "index")
    return [index["statuses"][i] for i in numbers(index["status"], np.uint8)]


def test_the_index_has_the_values_of_all_items(page: Path) -> None:
    index = read_script(page, "index")
    expected = {3: "unreadable", 70: "not finite"}
    assert statuses(page) == [expected.get(i, "explained") for i in range(150)]
    assert index["headings"] == ["ant", *(f"class {i}" for i in range(1, 10))]
    assert numbers(index["classes"], np.int32).tolist() == [-1 if i in FAILED else i % 10 for i in range(150)]
    columns = {one["label"]: numbers(one["values"], np.float32) for one in index["numbers"]}
    scores = np.array([np.nan if i in FAILED else i * 7919 % 1000 / 1000 for i in range(150)], np.float32)
    np.testing.assert_array_equal(columns["score"], scores)
    assert list(columns) == ["evaluations", "score"]


def test_an_entry_has_picture_map_name_and_reason(page: Path) -> None:
    found = entries(page)
    assert len(found) == 150
    assert found[0]["name"] == ODD.replace("\x00", "\ufffd").replace("\udcff", "\ufffd")
    assert read_script(page, "names") == [entry["name"] for entry in found]
    source = np.load(page.parent.with_name(page.parent.name + ".npy"))
    photo = np.asarray(picture(found[40]["photo"]).convert("L"), np.float32)
    assert photo.shape == (28, 28)
    assert np.abs(photo - source[40]).mean() < 12  # JPEG of noise
    heat = np.asarray(picture(found[40]["layers"][0]["image"]).convert("RGBA"))[..., 3]
    assert (heat[9:18, 9:18] > 0).all()
    assert heat[:9].mean() < 20
    assert found[3]["layers"] == [None]
    assert found[3]["photo"] != ""
    assert "alert(1)" in found[3]["error"]
    assert found[70]["error"] == "NaN in the input"


def test_a_stored_ledger_is_shown_beside_the_map(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 4, shards=[])
    maps = torch.zeros(4, 1, 28, 28)
    maps[:, 0, 3:5, 7] = torch.tensor([-0.0002, 0.0006])
    ledger = torch.tensor([[0.5, 0.4, 0.1, -0.0004], [1.0, 0.5, 0.0, 0.0]]).expand(4, 2, 4).contiguous()
    constants = {"kind": "Relevance", "operations": ["conv", "fc"], "settings": {"method": "lrp"}}
    write_shard(tmp_path / "job", 0, methods={"lrp": constants}, attributions=maps, ledger=ledger)
    program = f"from xai_fast import jobs; print(jobs.report({str(tmp_path / 'job')!r}))"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    page = Path(done.stdout.strip())  # written by a process that has heard of no method
    assert read_script(page, "index")["operations"] == [["conv", "fc"]]
    for entry in entries(page):
        (layer,) = entry["layers"]
        assert "signed" in layer
        assert layer["ledger"]["lost"] is True
        assert layer["ledger"]["text"].startswith("0.0004 of 1 arrives at the input")
        rows = numbers(layer["ledger"]["rows"], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(rows[1:], ledger[0], atol=1e-3)


def test_a_job_that_runs_shows_what_is_done_and_is_written_again(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 150, shards=[])
    assert statuses(jobs.report(tmp_path / "job")) == ["to do"] * 150
    write_shard(tmp_path / "job", 1)
    page = jobs.report(tmp_path / "job", folder=tmp_path / "elsewhere")
    assert page == tmp_path / "elsewhere" / "report.html"
    assert statuses(page) == ["to do"] * 64 + ["explained"] * 64 + ["to do"] * 22
    assert entries(page)[0]["layers"] == [None]
    assert statuses(jobs.report(tmp_path / "job", first=60, limit=10)) == ["to do"] * 4 + ["explained"] * 6
    write_shard(tmp_path / "job", 0)
    page = jobs.report(tmp_path / "job", folder=tmp_path / "elsewhere")
    assert entries(page)[0]["layers"] != [None]


def test_a_list_of_numbers_is_never_walked_through(tmp_path: Path) -> None:
    # A store of a few hundred bytes can speak of more items than any loop comes to the end of.
    count = 2**47
    write_store(tmp_path / "job", 3, shards=[])
    document = read_job(tmp_path / "job") | {"items": {"count": count, "folder": None}}
    create_job(Folder(tmp_path / "large", create=True), document)
    page = jobs.report(tmp_path / "large", first=count - 20, limit=100)
    assert read_script(page, "names") == [str(i) for i in range(count - 20, count)]
    with pytest.raises(InputError, match="limit: expected a number up to 1,000,000"):
        jobs.View(tmp_path / "large")


def test_nothing_that_a_store_names_is_called_unless_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "import pathlib\ndef data():\n    pathlib.Path('called').touch()\n    return [0.5] * 3\n"
    (tmp_path / "hostile_module.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "job", 3, source="hostile_module:data", model="hostile_module:data")
    text = jobs.report(tmp_path / "job").read_text(encoding="utf-8")
    assert not (tmp_path / "called").exists()
    assert "hostile_module:data" in text
    assert "--trust" in text
    jobs.report(tmp_path / "job", trust=True)
    assert (tmp_path / "called").exists()


def test_a_source_that_is_gone_is_told(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 3)
    (tmp_path / "job.npy").unlink()
    page = jobs.report(tmp_path / "job")
    assert "The pictures cannot be read" in page.read_text(encoding="utf-8")
    assert entries(page)[0]["photo"] == ""
    assert entries(page)[0]["layers"] != [None]


def test_the_report_of_another_job_is_not_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_store(tmp_path / name, 3, fingerprint=name)
    jobs.report(tmp_path / "one", folder=tmp_path / "out")
    with pytest.raises(InputError, match="expected no report of another run"):
        jobs.report(tmp_path / "two", folder=tmp_path / "out")


def ask(view: Any, path: str) -> bytes:
    place = urlsplit(view.url)
    connection = http.client.HTTPConnection(place.netloc, timeout=60)
    connection.request("GET", place.path + path)
    content = connection.getresponse().read()
    connection.close()
    return content


def test_the_viewer_follows_a_job_that_runs_and_writes_nothing(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 100, shards=[])
    with jobs.View(tmp_path / "job") as view:
        name = "000/003"
        assert script_content(ask(view, f"report-data/{name}.js"), name)[0]["layers"] == []
        write_shard(tmp_path / "job", 0)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        ask(view, "")
        assert script_content(ask(view, f"report-data/{name}.js"), name)[0]["layers"] not in ([], [None])
        ask(view, "report-data/index.js")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


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
