"""zennit, which imports torchvision for two names: where that cannot be imported, stand-ins do."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest

_NAMES = {"torchvision": (), "torchvision.models": (), "torchvision.models.resnet": ("Bottleneck", "BasicBlock")}


def zennit() -> Any:
    """Import zennit, or skip the test; the stand-ins are gone afterwards, so that nobody else takes them for real."""
    if "zennit" in sys.modules:
        return sys.modules["zennit"]
    try:
        importlib.import_module("torchvision.models.resnet")
        stubs = []
    except (ImportError, RuntimeError):  # operators of torchvision are missing beside another build of torch
        stubs = [_stub(name, classes) for name, classes in _NAMES.items()]
        sys.modules.update({stub.__name__: stub for stub in stubs})
    try:
        found = pytest.importorskip("zennit")
        for name in ("attribution", "canonizers", "composites", "rules", "torchvision", "types"):
            importlib.import_module(f"zennit.{name}")
        return found
    finally:
        for stub in stubs:
            del sys.modules[stub.__name__]


def _stub(name: str, classes: tuple[str, ...]) -> ModuleType:
    stub = ModuleType(name)
    stub.__path__ = []
    for each in classes:
        setattr(stub, each, type(each, (), {}))
    return stub
