"""What a report has written: its page, and the scripts with its data."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def read_script(page: Path, name: str) -> Any:
    """Read a script as a browser would: a call with the name and the content."""
    return script_content((page.parent / "report-data" / f"{name}.js").read_bytes(), name)


def script_content(script: bytes, name: str) -> Any:
    text = script.decode("ascii")
    assert text.startswith(f'xaiFast("{name}",')
    assert text.endswith(");\n")
    return json.loads(text[len(f'xaiFast("{name}",') : -3])


def entries(page: Path) -> list[dict[str, Any]]:
    """What the page shows of each item."""
    chunks = sorted((page.parent / "report-data").glob("*/*.js"))
    return [entry for path in chunks for entry in read_script(page, f"{path.parent.name}/{path.stem}")]


def numbers(text: str, kind: type[np.generic]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def picture(text: str) -> Any:
    return Image.open(io.BytesIO(base64.b64decode(text)))
