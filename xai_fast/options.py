"""Options of methods: the constructor's signature is their only description."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_fast.terminal import short

__all__ = ["HasOptions", "plain"]

_ENTRIES_SHOWN = 100


def plain(value: object) -> object:
    """Return the value of an option as JSON holds it.

    Tensors of up to 100 entries become lists, dataclasses their fields; modules and other objects are named by what
    they are.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if isinstance(value, Tensor):
        return value.tolist() if value.numel() <= _ENTRIES_SHOWN else f"tensor {tuple(value.shape)}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, nn.Module) or not callable(value):
        return type(value).__name__
    return "a callable"


@functools.cache
def _options(of: type) -> dict[str, inspect.Parameter]:
    """Read the constructor's signature, and what it passes on: once, as it takes longer than small models run."""
    given = inspect.signature(of, eval_str=True).parameters.values()
    own = {p.name: p for p in given if p.name != "model" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    if not any(p.kind is p.VAR_KEYWORD for p in given):
        return own
    constructor = next(at for at, kind in enumerate(of.__mro__) if "__init__" in vars(kind))
    return own | _options(of.__mro__[constructor + 1]) | own


class HasOptions:
    """What is constructed with a model, where it needs one, and options, each an attribute of the same name.

    Attributes:
        name: in the registry, in snake case; that of the class unless the class says otherwise.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **arguments: object) -> None:
        """Name the class."""
        super().__init_subclass__(**arguments)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def options(cls) -> dict[str, inspect.Parameter]:
        """List the options: the constructor's parameters but the model, and of its base those that it passes on."""
        return dict(_options(cls))  # type: ignore[arg-type]  # classes are hashable; mypy asks their instances

    def __repr__(self) -> str:
        model = [] if getattr(self, "model", None) is None else [short(getattr(self, "model", None))]
        return f"{type(self).__name__}({', '.join([*model, *(f'{n}={short(v)}' for n, v in self.settings.items())])})"

    @property
    def settings(self) -> dict[str, object]:
        """The options that are in effect, by name, as JSON holds them."""
        return {name: plain(getattr(self, name)) for name in self.options()}
