"""Weights that come with the package: one safetensors file and one card per network, in the folder ``weights``."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save
from torch import nn

from xai_fast.errors import InputError, bad_argument

__all__ = ["WEIGHTS_FOLDER", "load_weights", "model_card", "save_weights", "with_weights"]

M = TypeVar("M", bound=nn.Module)

WEIGHTS_FOLDER = Path(str(resources.files("xai_fast.models"))) / "weights"


def load_weights(model: nn.Module, name: str, folder: Path = WEIGHTS_FOLDER) -> None:
    """Copy stored weights into a network, in its own dtype; an `InputError` says what does not fit."""
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        present = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors"))) or "none"
        raise bad_argument("name", f"stored weights ({present})", repr(name))
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise InputError(f"name: the weights {name!r} are for another network: {error}") from error


def save_weights(model: nn.Module, name: str, card: dict[str, Any], folder: Path = WEIGHTS_FOLDER) -> Path:
    """Store a network's weights as ``NAME.safetensors``, and what they are as ``NAME.json``; give the weights' file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    path.write_bytes(save(model.state_dict()))  # save_file would let nobody else read it
    stored = {**card, "parameters": sum(p.numel() for p in model.parameters()), "stored_as": "float32"}
    path.with_suffix(".json").write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    return path


def with_weights(model: M, name: str, pretrained: bool) -> M:
    """Give a network in evaluation mode, with its stored weights or those that it has."""
    if pretrained:
        load_weights(model, name)
    return model.eval()


def model_card(name: str, folder: Path = WEIGHTS_FOLDER) -> dict[str, Any]:
    """Read the card of stored weights: what they were trained on, how, and how accurate they are."""
    card: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return card
