"""The results of `tuple_join` that count, and tensors among entries that nobody may read or change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Placed", "place", "result_of"]


def result_of(arguments: dict[str, Any]) -> tuple[int, list[list[int]]]:
    """Return what `tuple_join` defines: how many candidates there are, and these."""
    count = int(arguments["count"])
    return count, arguments["out"][: max(count, 0)].tolist()


@dataclass(frozen=True)
class Placed:
    """Arguments of which each tensor is in a storage of its own, among entries that nobody may read or change."""

    arguments: dict[str, Any]
    storages: dict[str, Tensor]
    before: dict[str, Tensor]

    def intact(self, outputs: tuple[str, ...]) -> bool:
        """Whether all storages hold what they held, but for the tensors that are outputs."""
        for name, storage in self.storages.items():
            tensor, was = self.arguments[name], self.before[name].clone()
            if name in outputs:
                start = tensor.storage_offset()
                was[start : start + tensor.numel()] = tensor.flatten()
            if not torch.equal(storage.nan_to_num(7.5), was.nan_to_num(7.5)):
                return False
        return True


def place(arguments: dict[str, Any], before: int, after: int) -> Placed:
    """Place each tensor so many entries behind the begin of its storage; around it are NaN, or 99."""
    placed, storages = dict(arguments), {}
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            around = torch.nan if value.is_floating_point() else 99
            size = before + value.numel() + after
            storages[name] = torch.full((size,), around, dtype=value.dtype, device=value.device)
            placed[name] = storages[name][before : before + value.numel()].view(value.shape).copy_(value)
    return Placed(placed, storages, {name: storage.clone() for name, storage in storages.items()})
