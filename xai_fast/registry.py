"""Methods and detectors by name: those of this package, those that others register, and methods by reference."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from xai_fast import attribution, interaction
from xai_fast.attribution.baselines import Edges, RandomMap
from xai_fast.attribution.captum import captum_method
from xai_fast.attribution.peers import PEERS, peer_method
from xai_fast.errors import InputError, bad_argument
from xai_fast.interaction import Detector
from xai_fast.method import Method
from xai_fast.neuralize import Neuralize
from xai_fast.references import import_reference
from xai_fast.terminal import tell

__all__ = ["DETECTOR_ENTRY_POINTS", "ENTRY_POINTS", "detectors", "find_method", "methods"]

ENTRY_POINTS = "xai_fast.methods"
"""The group of entry points under which other packages register subclasses of `Method`, each by its name."""

DETECTOR_ENTRY_POINTS = "xai_fast.detectors"
"""The group of entry points under which other packages register subclasses of `Detector`, each by its name."""


def _exported(kind: type[Any], *packages: ModuleType) -> list[Any]:
    """List the classes of a kind that packages of ours export, without its base."""
    found = [getattr(package, name) for package in packages for name in package.__all__]
    return [one for one in found if isinstance(one, type) and issubclass(one, kind) and one is not kind]


_OWN: list[type[Method]] = [*_exported(Method, attribution, interaction), Neuralize]

_BASELINES: tuple[type[Method], ...] = (RandomMap, Edges)
"""Known by name, but not listed as methods: they know nothing of the model."""

_OWN_DETECTORS: list[type[Detector]] = _exported(Detector, interaction)


def methods() -> dict[str, type[Method]]:
    """List the methods.

    Returns:
        Name to class: those of the entry-point group ``xai_fast.methods``, and those of this package. One that cannot
        be imported is left out, and logged.
    """
    return _registered(ENTRY_POINTS, Method) | {method.name: method for method in _OWN}


def detectors() -> dict[str, type[Detector]]:
    """List the methods that rank the interactions of a whole table.

    Returns:
        Name to class: those of the entry-point group ``xai_fast.detectors``, and those of this package. One that cannot
        be imported is left out, and logged.
    """
    return _registered(DETECTOR_ENTRY_POINTS, Detector) | {detector.name: detector for detector in _OWN_DETECTORS}


def find_method(name: str) -> type[Method]:
    """Find a method.

    Args:
        name: one of `methods`; "captum:NAME", "zennit:NAME" or "grad_cam:NAME", see
            `xai_fast.attribution.peers.peer_method`; or "package.module:Class", a subclass of `Method`, or a class that
            has ``attribute`` as captum's have.

    Returns:
        The class.

    Raises:
        InputError: there is none; the message has names near to it, or says why it cannot be imported.
    """
    if ":" in name:
        return _referenced(name)
    for own in (*_OWN, *_BASELINES):
        if own.name == name:
            return own
    entry = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    if entry is not None:
        loaded: type[Method] = _loaded(entry, Method)
        return loaded
    known = sorted(methods())
    near = difflib.get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    expected = ", ".join([*known, *(f"{peer}:NAME" for peer in PEERS)])
    raise bad_argument("method", f"one of {expected}, or package.module:Class{hint}", repr(name))


def _registered(group: str, kind: type[Any]) -> dict[str, Any]:
    found = {entry.name: _loaded_or_logged(entry, kind) for entry in entry_points(group=group)}
    return {name: other for name, other in found.items() if other is not None}


def _loaded_or_logged(entry: EntryPoint, kind: type[Any]) -> Any:
    try:
        return _loaded(entry, kind)
    except InputError as error:
        tell(f"{entry.name!r} of another package cannot be used: {error}")
        return None


def _loaded(entry: EntryPoint, kind: type[Any]) -> Any:
    try:
        return _checked(entry.load(), entry.value, kind)
    except (ImportError, AttributeError) as error:
        raise InputError(f"method: expected a method that can be imported, got {entry.value}: {error}") from error


def _referenced(reference: str) -> type[Method]:
    if reference.partition(":")[0] in PEERS:
        return peer_method(reference)
    found = import_reference("method", reference)
    if isinstance(found, type) and not issubclass(found, Method) and hasattr(found, "attribute"):
        return captum_method(found, reference)
    method: type[Method] = _checked(found, reference, Method)
    return method


def _checked(found: object, reference: str, kind: type[Any]) -> Any:
    if isinstance(found, type) and issubclass(found, kind):
        return found
    raise bad_argument("method", f"{reference} to be a subclass of xai_fast.{kind.__name__}", type(found).__name__)
