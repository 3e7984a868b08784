"""The gallery as files: what is in them, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gallery_store import AS_SHOWN, FAILED, REASON, some_rows, write_store
from html_reader import Reader

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs.store import Items, Layout, create_job, read_job, write_shard

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

from xai_fast.jobs.gallery import report  # noqa: E402
from xai_fast.jobs.gallery.catalog import NO_CLASS, STATUSES, TO_DO, Catalog  # noqa: E402


def script(page: Path, name: str) -> Any:
    """Read a script as a browser would: a call with the name and the content."""
    text = (page.parent / "shards" / f"{name}.js").read_text(encoding="ascii")
    assert text.startswith(f'xaiFast("{name}",')
    assert text.endswith(");\n")
    return json.loads(text[len(f'xaiFast("{name}",') : -3])


def numbers(text: str, kind: type[np.generic]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def picture(text: str) -> Any:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_the_index_has_the_numbers_of_all_items(page: Path) -> None:
    index = script(page, "index")
    assert index["count"] == 150
    assert tuple(index["statuses"]) == STATUSES
    statuses = numbers(index["status"], np.uint8)
    assert {i: int(status) for i, status in enumerate(statuses) if status} == {3: 1, 70: 4}
    classes = numbers(index["classes"]["values"], np.uint16)
    assert index["classes"]["names"] == ["ant", AS_SHOWN, *(f"class {i}" for i in range(2, 10))]
    assert [int(one) for one in classes] == [NO_CLASS if i in FAILED else i % 10 for i in range(150)]
    columns = {one["label"]: numbers(one["values"], np.float32) for one in index["numbers"]}
    assert list(columns) == ["evaluations", "score"]
    assert index["numbers"][index["score"]]["label"] == "score"
    assert index["share"]
    expected = np.array([i * 7919 % 1000 / 1000 for i in range(150)], np.float32)
    expected[[3, 70]] = np.nan
    np.testing.assert_array_equal(columns["score"], expected)


def test_the_entries_have_picture_map_name_and_reason(page: Path) -> None:
    entries = [entry for chunk in range(10) for entry in script(page, f"{chunk:06d}")]
    assert len(entries) == 150
    assert entries[0]["name"] == AS_SHOWN
    assert script(page, "names") == [entry["name"] for entry in entries]
    source = np.load(page.parent.parent.with_name(page.parent.parent.name + ".npy"))
    photo = np.asarray(picture(entries[40]["photo"]).convert("L"), np.float32)
    assert photo.shape == (28, 28)
    assert np.abs(photo - source[40]).mean() < 12  # JPEG of noise
    heat = np.asarray(picture(entries[40]["heat"]).convert("RGBA"))[..., 3]
    assert heat.shape == (28, 28)
    assert (heat[9:18, 9:18] > 0).all()
    assert heat[:9].mean() < 20
    assert all(entry["small"] for entry in entries)
    assert (entries[3]["heat"], entries[3]["error"]) == ("", REASON)
    assert entries[3]["photo"] != ""
    assert entries[70]["error"] == "NaN in the input"


def test_the_page_is_of_its_own_scripts_and_styles_only(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    rules = reader.policy()
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"{reader.hash_of('script')} 'self' file:"
    assert rules["style-src"] == reader.hash_of("style")
    assert reader.outside_references() == []
    assert [name for _, attributes in reader.tags for name in attributes if name.startswith("on")] == []
    assert any("148 items explained" in one for one in reader.texts)


def test_a_job_on_its_way_shows_what_is_done_and_is_written_again(tmp_path: Path) -> None:
    layout = write_store(tmp_path / "job", 150, shards=[1])
    page = report(tmp_path / "job", folder=tmp_path / "elsewhere")
    assert page == tmp_path / "elsewhere" / "index.html"
    statuses = numbers(script(page, "index")["status"], np.uint8)
    assert [int(one) for one in statuses] == [TO_DO] * 64 + [0] * 64 + [TO_DO] * 22
    assert script(page, "000000")[0]["heat"] == ""
    write_shard(layout, 0, 0, 64, some_rows(0, 64, {}, (1, 28, 28)), "float16_scaled", {})
    report(tmp_path / "job", folder=tmp_path / "elsewhere")
    assert script(page, "000000")[0]["heat"] != ""
    assert not list((tmp_path / "elsewhere").rglob(".tmp-*"))


def test_a_job_that_has_not_begun(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 5, shards=[])
    page = report(tmp_path / "job")
    index = script(page, "index")
    assert (index["classes"], index["numbers"], index["score"]) == (None, [], None)
    assert len(script(page, "000000")) == 5


def test_the_limit_takes_the_first_items_and_says_so(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 150)
    page = report(tmp_path / "job", limit=20)
    assert script(page, "index")["count"] == 20
    assert len(script(page, "000001")) == 4
    assert "These are the first 20 of 150 items." in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("first", "statuses"), [(60, [0] * 4 + [TO_DO] * 6), (120, [TO_DO] * 8 + [0] * 2), (149, [0])])
def test_a_part_of_the_items(first: int, statuses: list[int], tmp_path: Path) -> None:
    write_store(tmp_path / "job", 150, shards=[0, 2])
    page = report(tmp_path / "job", first=first, limit=10)
    index = script(page, "index")
    shown = range(first, first + len(statuses))
    assert (index["first"], index["count"], index["range"]) == (first, len(shown), True)
    assert numbers(index["status"], np.uint8).tolist() == statuses
    expected = [i + 5 if not status else np.nan for i, status in zip(shown, statuses, strict=True)]
    np.testing.assert_array_equal(numbers(index["numbers"][0]["values"], np.float32), expected)
    assert [entry["name"] for entry in script(page, "000000")] == script(page, "names") == [str(i) for i in shown]
    assert f"These are {len(shown)} of 150 items, from item {first} on." in page.read_text(encoding="utf-8")


def test_a_list_of_numbers_is_never_walked_through(tmp_path: Path) -> None:
    # A store of a few hundred bytes can speak of more items than any loop comes to the end of.
    count = 2**47
    write_store(tmp_path / "job", 3, source=str(tmp_path / "x.npy"), shards=[])
    layout = Layout(tmp_path / "large")
    items = Items.freeze(layout, range(count))
    document = read_job(Layout(tmp_path / "job"))
    create_job(layout, document | {"items": {"count": count, "sha256": items.sha256}})
    page = report(layout.root, first=count - 20, limit=100)
    assert [entry["name"] for entry in script(page, "000001")] == [str(i) for i in range(count - 4, count)]
    assert script(page, "index")["first"] == count - 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit: expected an integer, from 1 to 1000000"),
        ({"limit": 1_000_001}, "limit: expected an integer, from 1 to 1000000"),
        ({"first": -1}, "first: expected an integer, from 0 to 2"),
        ({"first": 3}, "first: expected an integer, from 0 to 2"),
    ],
)
def test_other_parts_are_refused(options: dict[str, int], message: str, tmp_path: Path) -> None:
    write_store(tmp_path / "job", 3)
    with pytest.raises(InputError, match=message):
        report(tmp_path / "job", **options)


@pytest.mark.parametrize(
    ("shape", "field_shape"), [((3, 28, 28), (28, 28)), ((7, 7), (7, 7)), ((1, 300, 200), (300, 200))]
)
def test_maps_of_cells_channels_and_large_maps_are_drawn(
    shape: tuple[int, ...], field_shape: tuple[int, int], tmp_path: Path
) -> None:
    write_store(tmp_path / "job", 3, shape=shape)
    entry = script(report(tmp_path / "job", side=64), "000000")[1]
    width, height = picture(entry["heat"]).size
    assert max(width, height) == min(64, max(field_shape))
    assert height / width == pytest.approx(field_shape[0] / field_shape[1], rel=0.05)
    photo = picture(entry["photo"])
    assert photo.height / photo.width == pytest.approx(height / width, rel=0.05)


def test_results_that_are_no_maps_are_listed(tmp_path: Path) -> None:
    layout = write_store(tmp_path / "job", 3, shards=[])
    rows = some_rows(0, 3, {}, (1, 2, 2))
    rows.fields = {"effects": torch.arange(60.0).reshape(3, 20), "weights": torch.ones(3, 2)}
    write_shard(layout, 0, 0, 3, rows, "float32", {})
    page = report(tmp_path / "job")
    facts = dict(script(page, "000000")[1]["facts"])
    assert facts["weights"] == "1, 1"
    assert facts["effects"].startswith("19: 39, 18: 38, 17: 37")
    assert facts["effects"].endswith("...")
    bars = np.asarray(picture(script(page, "000000")[1]["heat"]).convert("RGBA"))
    assert bars[20, 110, 3] == 255  # the strongest is the last, and reaches the top
    assert bars[20, 20, 3] == bars[100, 110, 3] == 0
    assert "Bars are the numbers of each item" in page.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="field: expected a store with a field of maps"):
        report(tmp_path / "job", field="effects")


def test_interactions_are_frames_and_lines_over_the_picture(tmp_path: Path) -> None:
    # A picture twice as wide as high; cells of 8 x 8 pixels: (0, 0) with (16, 8), then (8, 0) with none.
    np.save(tmp_path / "job.npy", np.full((2, 16, 32), 128, np.uint8))
    layout = write_store(tmp_path / "job", 2, shards=[])
    boxes = torch.zeros(2, 4, 2, 4)
    boxes[0, 0] = torch.tensor([[0.0, 0, 8, 8], [16, 8, 24, 16]])
    rows = some_rows(0, 2, {}, (1, 2, 2))
    rows.fields = {
        "cam.boxes": boxes,
        "cam.saliency": torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0]]),
        "cam.input_size": torch.tensor([[16, 32]] * 2, dtype=torch.int32),
    }
    write_shard(layout, 0, 0, 2, rows, "float32", {})
    page = report(tmp_path / "job")
    one, none = script(page, "000000")
    assert (one["drawn"], none["heat"]) == (True, "")
    assert picture(one["photo"]).size == (128, 64)
    drawn = np.asarray(picture(one["heat"]))
    assert drawn.shape == (128, 256, 4)
    assert tuple(drawn[20, 3]) == (*bytes.fromhex("e8590c"), 255)  # the left side of the first frame
    assert (drawn[32, 32, 3], drawn[100, 32, 3]) == (0, 0)  # within it, and elsewhere
    assert tuple(drawn[64, 96, :3]) == tuple(bytes.fromhex("e8590c"))  # the line, midway from frame to frame
    text = page.read_text(encoding="utf-8")
    assert "lines join those that matter together" in text
    assert "grayscale(calc(0 * var(--heat)))" in text


def test_the_maps_of_another_field(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 3)
    with pytest.raises(InputError, match="field: expected one of attributions, got 'scores'"):
        report(tmp_path / "job", field="scores")


def test_nothing_that_a_store_names_is_called_unless_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "import pathlib\ndef data():\n    pathlib.Path('called').touch()\n    return [0.5] * 3\n"
    (tmp_path / "hostile_module.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "job", 3, source="hostile_module:data", model="hostile_module:data")
    text = report(tmp_path / "job").read_text(encoding="utf-8")
    assert not (tmp_path / "called").exists()
    assert "hostile_module:data" in text
    assert "--trust" in text
    report(tmp_path / "job", trust=True)
    assert (tmp_path / "called").exists()


def test_a_source_that_is_gone_is_told(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 3)
    (tmp_path / "job.npy").unlink()
    page = report(tmp_path / "job")
    assert "The pictures cannot be read" in page.read_text(encoding="utf-8")
    assert script(page, "000000")[0]["photo"] == ""
    assert script(page, "000000")[0]["heat"] != ""


def test_a_report_does_not_follow_links_out_of_the_store(tmp_path: Path) -> None:
    write_store(tmp_path / "job", 3)
    (tmp_path / "victim").mkdir()
    (tmp_path / "job" / "report").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError):
        report(tmp_path / "job")
    assert list((tmp_path / "victim").iterdir()) == []


def test_shards_that_do_not_fit_the_job_are_refused(tmp_path: Path) -> None:
    layout = write_store(tmp_path / "job", 150, shards=[])
    write_shard(layout, 0, 0, 150, some_rows(0, 150, {}, (1, 4, 4)), "float32", {})
    with pytest.raises(StoreError, match="expected shards of 64 items, got 150 items from 0"):
        Catalog(layout)


def test_another_list_of_items_is_refused(tmp_path: Path) -> None:
    layout = write_store(tmp_path / "job", 150, shards=[])
    Items.freeze(Layout(tmp_path / "other"), range(7))
    (layout.items / "items.json").write_bytes((tmp_path / "other" / "items" / "items.json").read_bytes())
    with pytest.raises(StoreError, match="expected the list of items of the job"):
        Catalog(layout)
