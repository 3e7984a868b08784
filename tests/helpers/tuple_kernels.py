"""The operators over sets of features with their cases, and what of their results counts."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["ALL_CASES", "CASES", "OUTPUTS", "Placed", "find_case", "place", "result_of"]

CASES = importlib.import_module("xai_fast.kernels.tuple_join.cases")
OUTPUTS = {"tuple_join": ("out", "count"), "tuple_top_k": ("best_values", "best_tuples", "best_count")}
ALL_CASES = [
    *(("tuple_join", case) for case in CASES.CASES),
    *(("tuple_top_k", case) for case in CASES.TOP_CASES),
]


def find_case(operator: str, name: str) -> Any:
    """Return the case of an operator of that name."""
    return next(case for of, case in ALL_CASES if of == operator and case.name == name)


def result_of(operator: str, arguments: dict[str, Any]) -> tuple[Any, ...]:
    """Return what is defined after a call, comparable to the last bit: numbers, and values as text for NaN and -0."""
    if operator == "tuple_join":
        count = int(arguments["count"])
        return count, arguments["out"][: max(count, 0)].tolist()
    count = int(arguments["best_count"])
    values = [repr(value) for value in arguments["best_values"][:count].tolist()]
    return count, values, arguments["best_tuples"][:count].tolist()


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
            storages[name] = torch.full((before + value.numel() + after,), around, dtype=value.dtype)
            placed[name] = storages[name][before : before + value.numel()].view(value.shape).copy_(value)
    return Placed(placed, storages, {name: storage.clone() for name, storage in storages.items()})
