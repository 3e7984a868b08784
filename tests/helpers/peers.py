"""Peers that import torchvision for some names: where that cannot be imported, stand-ins do."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest

_NAMES = {
    "torchvision": (),
    "torchvision.models": (),
    "torchvision.models.resnet": ("Bottleneck", "BasicBlock"),
    "torchvision.transforms": ("Compose", "Normalize", "ToTensor"),
    "torchvision.transforms.functional": ("resize",),
}


def zennit() -> Any:
    """Import zennit and its modules, or skip the test."""
    return _imported("zennit", "attribution", "canonizers", "composites", "rules", "torchvision", "types")


def pytorch_grad_cam() -> Any:
    """Import pytorch-grad-cam, which draws pictures with torchvision, or skip the test."""
    return _imported("pytorch_grad_cam")


def quantus() -> Any:
    """Import Quantus, which imports zennit where it is installed, or skip the test."""
    return _imported("quantus")


def _imported(package: str, *modules: str) -> Any:
    """Import a package; the stand-ins are gone afterwards, so that nobody else takes them for real."""
    if package in sys.modules:
        return sys.modules[package]
    try:
        importlib.import_module("torchvision.models.resnet")
        stubs = []
    except (ImportError, RuntimeError):  # operators of torchvision are missing beside another build of torch
        stubs = [_stub(name, classes) for name, classes in _NAMES.items()]
        sys.modules.update({stub.__name__: stub for stub in stubs})
    try:
        found = pytest.importorskip(package)
        for name in modules:
            importlib.import_module(f"{package}.{name}")
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
