from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from xai_fast.errors import InputError
from xai_fast.models.pretrained import WEIGHTS_FOLDER, load_weights, model_card, save_weights


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_weights_and_card_come_back(tmp_path: Path) -> None:
    stored, loaded = network(), network().double()
    stored(torch.randn(5, 3))  # so that the running statistics are not those of a new network
    path = save_weights(stored, "mine", {"data": "noise"}, tmp_path / "new")
    assert path == tmp_path / "new" / "mine.safetensors"
    load_weights(loaded, "mine", tmp_path / "new")
    for name, value in stored.state_dict().items():
        got = loaded.state_dict()[name]
        assert got.dtype == (torch.float64 if value.is_floating_point() else value.dtype)
        assert torch.equal(got.to(value.dtype), value)
    card = model_card("mine", tmp_path / "new")
    assert card == {"data": "noise", "parameters": 24, "stored_as": "float32"}


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stored weights \\(none\\), got 'mine'"):
        load_weights(network(), "mine", tmp_path)
    save_weights(network(), "mine", {}, tmp_path)
    with pytest.raises(InputError, match="another network"):
        load_weights(nn.Linear(2, 2), "mine", tmp_path)


def test_all_weights_of_the_package_have_a_card_and_are_small() -> None:
    names = {file.stem for file in WEIGHTS_FOLDER.glob("*.safetensors")}
    assert names == {"digits", "generated-shapes", "reviews", "sort-of-clevr", "three-objects", "yield-or-go"}
    for name in names:
        assert (WEIGHTS_FOLDER / f"{name}.safetensors").stat().st_size < 2_000_000
        assert {"network", "data", "test", "parameters", "stored_as"} <= set(model_card(name))
