"""The Python of the README and of docs/ runs as it stands, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def run_blocks(document: Path) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(document), "exec"), names)
    return names


def test_the_readme_runs() -> None:
    names = run_blocks(ROOT / "README.md")
    assert names["maps"].shape == (16, 3, 32, 32)
    assert names["score"].difference.shape == (16,)
    assert names["pairs"].attributions.shape == (16, 16, 16)
    assert names["ranking"]["a", "b", "c"].effect > 0


def test_the_page_to_start_with_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    names = run_blocks(ROOT / "docs" / "start.md")
    assert names["page"].is_file()
    assert names["picture"].shape == (32, 32, 3)
    assert names["strongest"][0].features == ("a", "b")


def test_the_page_about_methods_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    explained = run_blocks(ROOT / "docs" / "methods.md")["explained"]
    assert (tmp_path / "maps" / "report.html").is_file()
    assert explained.attributions.shape == (4, 3, 8, 8)
    assert explained.settings == {"value": 0.5}


@pytest.mark.slow
def test_the_page_about_architectures_runs() -> None:
    pytest.importorskip("timm", exc_type=ImportError)  # it needs torchvision
    text = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    names, shapes = run_blocks(ROOT / "docs" / "architectures.md"), re.findall(r"^(\w+) = .*# \((.*?)\)", text, re.M)
    found = {name: getattr(names[name], "attributions", names[name]).shape for name, _ in shapes}
    assert found == {name: tuple(map(int, shape.split(", "))) for name, shape in shapes}


def test_the_page_about_relevance_runs() -> None:
    names = run_blocks(ROOT / "docs" / "relevance.md")
    found = names["found"]
    assert names["similar"].attributions.shape == (2, 16, 16)
    assert names["walks"].edges().shape == (8, 20, 20)
    assert found.attributions.shape == (4, 3, 8, 8)
    assert found.ledger.shape == (4, 2, 4)


def test_the_page_about_neuralized_estimators_runs() -> None:
    pytest.importorskip("sklearn")
    names = run_blocks(ROOT / "docs" / "neuralize.md")
    assert names["found"].attributions.argmax(1).tolist() == [2, 2, 2]
    assert names["pixels"].attributions.flatten(1).argmax(1).tolist() == [0, 0, 0, 0]


def test_the_page_about_comparisons_runs() -> None:
    pytest.importorskip("pandas")
    found = run_blocks(ROOT / "docs" / "compare.md")["found"]
    assert found.methods == ("random", "edges", "saliency", "integrated_gradients(steps=10)", "neflag(points=5)")
    assert found.scores["random_logit"].shape == (5, 20)


def test_the_page_about_the_command_line_runs() -> None:
    pytest.importorskip("PIL")
    assert run_blocks(ROOT / "docs" / "command-line.md")["load_classifier"]().size == (64, 64)


@pytest.mark.slow
def test_the_page_about_jobs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("safetensors")
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    names = run_blocks(ROOT / "docs" / "jobs.md")
    assert names["status"].complete
    assert names["store"][7].id == "1-trouser/000011.png"
    assert names["store"][7].fields["neflag.attributions"].shape == (3, 28, 28)
    assert list(names["store"].failures()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_path_that_is_named_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:xai_fast|csrc|benchmarks|tests|docs)/[\w./<>]*)`", text)
    links = [document.parent / link for link in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
    assert document.name != "README.md" or len(paths) + len(links) > 8
    for path in [ROOT / path.replace("<kernel>", "flux_accumulate") for path in paths] + links:
        assert path.exists(), path


def test_the_readme_fits_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 115
