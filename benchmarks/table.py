"""Make the README's tables from the kept results, so that no number is typed by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["renew_readme", "speed_table"]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROWS = (
    (
        "NeFLAG / its own gradient evaluations run bare, Lite0, batch 32",
        "test_overhead_over_its_own_gradients[32]",
        "times_its_own_gradients",
        "{:.3f}",
        "<= 1.08",
    ),
    (
        "share of time outside the model's passes, Lite0, batch 32",
        "test_share_of_time_in_the_models_gradient",
        "share_outside_the_model",
        "{:.1%}",
        "< 5 %",
    ),
    (
        "literal loop / NeFLAG, Lite0, 8 photos, 10 points",
        "test_against_the_literal_loop[8-10-efficientnet-lite0]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 1.7",
    ),
    (
        "literal loop / NeFLAG, ResNet-18, 8 photos, 10 points",
        "test_against_the_literal_loop[8-10-resnet18-random]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 1.7",
    ),
    (
        "literal loop / NeFLAG in bfloat16, Lite0",
        "test_bfloat16[efficientnet-lite0]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 3 with AMX",
    ),
    (
        "literal loop / NeFLAG in bfloat16, ResNet-18",
        "test_bfloat16[resnet18-random]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 5 with AMX",
    ),
    (
        "captum IntegratedGradients / NeFLAG, Lite0, same evaluations",
        "test_against_captum[efficientnet-lite0]",
        "integrated_gradients_over_neflag",
        "{:.2f}",
        "",
    ),
    (
        "captum SmoothGrad / NeFLAG, Lite0, same evaluations",
        "test_against_captum[efficientnet-lite0]",
        "smoothgrad_over_neflag",
        "{:.2f}",
        "",
    ),
)


def speed_table(results: Mapping[str, Mapping[str, object]]) -> str:
    """Make the table of speed; rows that were not measured are left out."""
    lines = ["| ratio of times, taken in turn in one run | measured | goal |", "|---|---|---|"]
    for label, name, key, form, goal in ROWS:
        row = results.get(f"test_neflag::{name}")
        if row is not None:
            lines.append(f"| {label} | {form.format(row[key])} | {goal} |")
    for name, row in sorted(results.items()):
        if name.startswith("test_kernels::") and "copy_ratio" in row:
            lines.append(f"| {row['label']} | {float(str(row['copy_ratio'])):.2f} | <= 1.5 |")
    return "\n".join(lines)


def renew_readme() -> None:
    """Write the table between the README's marks."""
    speed = RESULTS / "speed.json"
    if not speed.exists():
        return
    results = json.loads(speed.read_text())
    machines = {
        (r["environment"]["cpu"], r["environment"]["threads"], r["environment"]["torch"]) for r in results.values()
    }
    said = "; ".join(f"{cpu}, {threads} threads, torch {torch}" for cpu, threads, torch in sorted(machines))
    text = f"<!-- benchmarks -->\n\n{speed_table(results)}\n\n{said}.\n\n<!-- /benchmarks -->"
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    readme.write_text(
        re.sub(r"<!-- benchmarks -->.*?<!-- /benchmarks -->", lambda _: text, old, flags=re.DOTALL), encoding="utf-8"
    )
