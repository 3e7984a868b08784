"""Weights that come with the package: one safetensors file and one card per network, in the folder ``weights``."""

from __future__ import annotations

import importlib.util
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai_fast.errors import InputError, bad_argument

__all__ = ["WEIGHTS_FOLDER", "load_weights", "model_card", "save_weights"]

WEIGHTS_FOLDER = Path(str(resources.files("xai_fast.models"))) / "weights"


def load_weights(model: nn.Module, name: str, folder: Path = WEIGHTS_FOLDER) -> None:
    """Copy stored weights into a network, in its own dtype.

    Args:
        model: changed in place; every parameter and buffer is set.
        name: the file's name without ``.safetensors``.
        folder: where it is.

    Raises:
        InputError: there is no such file, it is for another network, or safetensors is not installed.
    """
    _need_safetensors()
    from safetensors.torch import load_file

    path = folder / f"{name}.safetensors"
    if not path.is_file():
        present = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors"))) or "none"
        raise bad_argument("name", f"stored weights ({present})", repr(name))
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise InputError(f"name: the weights {name!r} are for another network: {error}") from error


def save_weights(
    model: nn.Module, name: str, card: dict[str, Any], folder: Path = WEIGHTS_FOLDER, dtype: torch.dtype = torch.float32
) -> Path:
    """Store a network's weights and their card.

    Args:
        model: its parameters and buffers are stored.
        name: of the two files, ``NAME.safetensors`` and ``NAME.json``.
        card: what the weights are: data, seed, epochs, accuracy.
        folder: made if it is not there.
        dtype: of the stored floating-point numbers.

    Returns:
        The weights' file.

    Raises:
        InputError: safetensors is not installed.
    """
    _need_safetensors()
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    path = folder / f"{name}.safetensors"
    path.write_bytes(save(tensors))  # save_file would let nobody else read it
    stored = {**card, "parameters": sum(p.numel() for p in model.parameters()), "stored_as": str(dtype).split(".")[-1]}
    path.with_suffix(".json").write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    return path


def model_card(name: str, folder: Path = WEIGHTS_FOLDER) -> dict[str, Any]:
    """Read the card of stored weights: what they were trained on, how, and how accurate they are."""
    card: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return card


def _need_safetensors() -> None:
    if importlib.util.find_spec("safetensors") is None:
        raise InputError("pretrained: stored weights need the package safetensors; pip install safetensors")
