"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["maps"].shape == (16, 3, 32, 32)
    assert names["score"].difference.shape == (16,)
    assert names["interactions"].saliency.shape == (16, 16, 16)
    assert names["ranking"]["a", "b", "c"].effect > 0
    assert names["status"].complete
    assert names["store"][7].id == "1-trouser/000011.png"
    assert names["store"][7].fields["neflag.attributions"].shape == (3, 28, 28)
    assert list(names["store"].failures()) == []


def test_every_path_that_the_readme_names_exists() -> None:
    text = README.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:xai_fast|csrc|benchmarks|tests)/[\w./<>]*)`", text)
    assert len(paths) > 8
    for path in paths:
        assert (README.parent / path.replace("<kernel>", "sphere_step")).exists(), path
