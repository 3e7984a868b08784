"""A table in Markdown of what was measured: ``python -m benchmarks.gpu.table DIR/gpu.json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["table"]


def _shown(name: str, value: float) -> str:
    words = name.replace("_", " ")
    return f"{words.replace('bytes per', 'GB per')} {value / 1e9:,.0f}" if "bytes" in name else f"{words} {value:,.3g}"


def table(results: Mapping[str, Any]) -> str:
    """Give a line for each measurement, and one for each step that was not done."""
    lines = ["| step | what | result |", "|---|---|---|"]
    for name, step in results["steps"].items():
        for what, found in step.get("results", {}).items():
            values = {key: value for key, value in found.items() if isinstance(value, float) and key != "seconds"}
            lines.append(f"| {name} | {what} | {', '.join(_shown(*entry) for entry in values.items())} |")
        if step["status"] != "done":
            reason = (step.get("error") or step["reason"]).strip().splitlines()[-1]
            lines.append(f"| {name} | {step['status']} | {reason} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
