"""Explainers of one job share the forward pass of the model where they can."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from batch_objects import LAYER, explained, made, pictures
from torch import nn

from xai_fast.errors import InputError
from xai_fast.jobs.computation import Computation, Outcome

FOUR = [
    {"name": "gradcam", "parameters": LAYER},
    {"name": "gradcam++", "parameters": LAYER},
    {"name": "taylor_cam", "parameters": {**LAYER, "top_k": 3}},
    {"name": "gradcam", "parameters": {**LAYER, "score": "probability", "relu": False}, "as": "probable"},
]


def passes(held: Computation) -> tuple[Outcome, int]:
    """Count the forward passes of the model in a chunk that is not the first."""
    assert held.model is not None
    explained(held)  # where cells lie in the picture, and the trace, are found once
    count = 0

    def hook(module: nn.Module, inputs: object) -> None:
        nonlocal count
        count += 1

    handle = held.model.module.register_forward_pre_hook(hook)
    outcome = explained(held)
    handle.remove()
    return outcome, count


def test_explainers_of_a_layer_share_one_forward_pass(tmp_path: Path) -> None:
    pictures(tmp_path)
    together, count = passes(made(tmp_path, FOUR))
    assert count == 1
    assert together.evaluations == 6
    for entry in FOUR:
        alone, count = passes(made(tmp_path, entry["name"], parameters=entry["parameters"]))
        assert count == 1
        for name, value in alone.fields.items():
            torch.testing.assert_close(together.fields[f"{entry.get('as', entry['name'])}.{name}"], value)


def test_other_layers_and_other_networks_have_passes_of_their_own(tmp_path: Path) -> None:
    pictures(tmp_path)
    apart = [
        {"name": "gradcam", "parameters": LAYER},
        {"name": "gradcam++", "parameters": {"layer": "features.0"}},
        {"name": "taylor_cam", "parameters": {**LAYER, "smooth": "gelu"}},
    ]
    assert passes(made(tmp_path, apart))[1] == 3


def test_a_layer_that_is_missing_is_told_before_anything_runs(tmp_path: Path) -> None:
    pictures(tmp_path)
    with pytest.raises(InputError, match=r"layer: expected a layer near that name, such as 'features'"):
        made(tmp_path, "gradcam", parameters={"layer": "feature"})
