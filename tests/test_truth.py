"""The tables of `benchmarks.truth`: settings are chosen on one half of the items, and reported on the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.suites import Suite
from benchmarks.truth_methods import DEFAULTS, GRID, OTHERS, PAPER, READINGS, STEPS, attributions
from benchmarks.truth_table import FIRST, chosen, key_of, paper_tables, truth_tables


def _record(difference: float) -> dict[str, Any]:
    readings = (*READINGS, "per_channel")
    return {
        "gradients": 2.0,
        **{f"{metric}: {reading}": [0.25, 0.25 + difference] for metric in STEPS for reading in readings},
        **{f"road: {reading}": [difference / 2] for reading in readings},
    }


def _kept() -> dict[str, Any]:
    """Give results in which the last setting of a method is best on the even items, and the first on the odd ones."""
    records: dict[str, dict[str, Any]] = {}
    for several in ([*DEFAULTS.values()], [*OTHERS.values()], *GRID.values()):
        for i, settings in enumerate(several):
            even, odd = (0.5 if settings is several[-1] else 0.25), (0.75 if i == 0 else 0.125)
            records[key_of(settings)] = {
                str(item): _record(even if item % 2 == 0 else odd + item / 64) for item in range(6)
            }
    environment = {"cpu": "one", "torch": "2", "commit": "c0"}
    about = {"items_classified_right": 6, "items_there": 7}
    return {
        "protocol": {"steps": STEPS},
        "runs": [environment],
        "networks": {FIRST: {"about": about, "records": records}},
    }


def test_settings_are_chosen_on_the_even_items() -> None:
    """The best mean difference there decides, whatever the odd items say."""
    records = _kept()["networks"][FIRST]["records"]
    assert {method: settings for method, (settings, _) in chosen(records).items()} == {
        method: several[-1] for method, several in GRID.items()
    }


def test_tables_report_the_items_that_every_row_has() -> None:
    """An item that one row lacks is in none, and the number of items is said."""
    kept = _kept()
    del kept["networks"][FIRST]["records"][key_of(OTHERS["RISE"])]["5"]
    del kept["networks"][FIRST]["records"][key_of(DEFAULTS[PAPER[0]])]["3"]
    text = truth_tables(kept)
    assert f"| {FIRST}, defaults, 1 items |" in text  # items 1, 3 and 5 less the two
    assert f"| {FIRST}, chosen on 3 other items of {FIRST}, 3 items |" in text
    assert f"| {FIRST}, 2 photos |" in paper_tables(kept)


def test_rows_are_means_with_errors() -> None:
    """Means, standard errors and paired differences of items 1, 3 and 5, from their definitions."""
    row = next(line for line in truth_tables(_kept()).splitlines() if line.startswith("| Saliency |"))
    # 0.125 + item / 64: 0.140625, 0.171875, 0.203125; less NeFLAG-10's, which are the same.
    assert row == "| Saliency | 2 | 0.172 ± 0.018 | 0.086 ± 0.009 | 0.000 ± 0.000 | 0.000 ± 0.000 |"


def test_a_random_map_has_the_channels_of_the_input() -> None:
    """Or its channels would all order the pixels alike, and "per_channel" would be as the other readings."""
    x = torch.zeros(2, 3, 5, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).eval()
    suite = Suite("net", model, x, torch.zeros(2).long(), (0, 1), (0.0,) * 3, x, ("", ""), {})
    found, _ = attributions(suite, [0, 1], DEFAULTS["Random"])
    assert found.shape == (2, 3, 5, 4)
    assert not (found[:, :1] == found[:, 1:]).any()
