"""Jobs whose items are several inputs: pairs of pictures, and what a data set gives as a tuple."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from batch_objects import double_inputs, two_inputs
from report_data import entries, picture

from xai_fast import BiLRP, Saliency, jobs
from xai_fast.images import open_image
from xai_fast.interaction import PairRelevance
from xai_fast.models import load

Image = pytest.importorskip("PIL.Image")

MODEL = "batch_objects:small_image_model"
OPTIONS = {"layer": "features", "cells": [2, 4], "similarity": "cosine"}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for i in range(5):
        values = torch.randint(0, 256, (20, 24 + i, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(values.numpy()).save(tmp_path / f"{i}.png")
    rows = [f"{i}.png,{(i + 1) % 5}.png" for i in range(5)]
    (tmp_path / "pairs.csv").write_text("\n".join(["x,y", *rows, "0.png,gone.png"]))
    return tmp_path / "pairs.csv"


def test_pairs_are_explained_resumed_and_shown(pairs: Path, tmp_path: Path) -> None:
    spec = jobs.JobSpec(pairs, "bilrp", OPTIONS, MODEL, shard_size=2, dtype="float32")
    out = tmp_path / "out"
    assert jobs.run(spec, out, workers=0, progress=False).failed == 1
    (out / "shards" / "000000" / "000000001.safetensors").unlink()
    jobs.run(spec, out, runner="local", workers=0, progress=False)

    model = load(MODEL)
    x = torch.stack([model.transform(open_image(pairs.parent / f"{i}.png")) for i in range(5)])
    expected = BiLRP(model.model, **OPTIONS).explain(x, x.roll(-1, 0))
    found = jobs.open(out).explanation("bilrp", range(5))
    assert isinstance(found, PairRelevance)
    assert found.constants() == expected.constants()
    for name, values in expected.tensors().items():
        torch.testing.assert_close(found.tensors()[name], values, rtol=1e-4, atol=1e-6)

    shown = entries(jobs.report(out, trust=True, side=90))
    assert [entry["name"] for entry in shown[:2]] == ["0.png \N{EN DASH} 1.png", "1.png \N{EN DASH} 2.png"]
    layer, photo = shown[0]["layers"][0], picture(shown[0]["photo"])
    strongest = expected[0].top_k(20)[0]
    assert (layer["kind"], layer["values"]) == (
        "links",
        pytest.approx([pair.relevance for pair in strongest], rel=1e-3),
    )
    assert layer["names"][0] == f"{strongest[0].x} \N{EN DASH} {strongest[0].y}"
    # Squares of 320 with 32 between them; a cell of two rows and four columns.
    (row, column), (other_row, other_column) = strongest[0].x, strongest[0].y
    ends = [80 * (column + 0.5), 160 * (row + 0.5), 352 + 80 * (other_column + 0.5), 160 * (other_row + 0.5)]
    assert layer["lines"][0] == pytest.approx(ends)
    assert (photo.width / photo.height, layer["ratio"]) == pytest.approx((672 / 320, 672 / 320), rel=0.03)
    between = photo.getpixel((photo.width // 2, photo.height // 2))
    assert min(between) > 240
    assert shown[5]["error"] == "No such file or directory"


@pytest.mark.parametrize("items", ["two_inputs", "uneven_inputs"])
def test_the_items_of_a_data_set_may_be_tuples(items: str, tmp_path: Path) -> None:
    """For models with several inputs, such as the features and the adjacency of a graph."""
    spec = jobs.JobSpec(
        f"batch_objects:{items}", "saliency", {}, "batch_objects:double_inputs", "label", dtype="float32"
    )
    jobs.run(spec, tmp_path / "out", workers=0, progress=False)
    store = jobs.open(tmp_path / "out")
    found = store.explanation("saliency", range(4))
    (x, a), labels = (torch.stack(part) for part in zip(*two_inputs().items, strict=True)), two_inputs().labels
    expected = Saliency(double_inputs()).explain((x, a), labels)
    for got, values in zip(found.attributions, expected.attributions, strict=True):
        torch.testing.assert_close(got, values)
    assert found.targets.tolist() == labels
    reasons = [reason for *_, reason in store.failures()]
    shapes = r"expected ((3, 2), (3, 3)) torch.float32, torch.float32 as of the first item, got (((4, 2), (4, 4)), "
    assert all(reason.startswith(shapes) for reason in reasons)
    assert len(reasons) == (items == "uneven_inputs")
    assert json.loads((tmp_path / "out" / "job.json").read_text())["plan"]["shape"] == [[3, 2], [3, 3]]
