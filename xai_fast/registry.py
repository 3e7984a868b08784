"""Methods by name: those of this package, those that other packages register, and classes by reference."""

from __future__ import annotations

import difflib
import importlib
import logging
from importlib.metadata import EntryPoint, entry_points

from xai_fast.attribution import GradCAM, GradCAMPlusPlus, NeFLAG
from xai_fast.attribution.captum import captum_method
from xai_fast.errors import InputError, bad_argument
from xai_fast.interaction import TaylorCAM
from xai_fast.method import Method

__all__ = ["ENTRY_POINTS", "find_method", "methods"]

ENTRY_POINTS = "xai_fast.methods"
"""The group of entry points under which other packages register subclasses of `Method`, each by its name."""

_OWN: tuple[type[Method], ...] = (NeFLAG, GradCAM, GradCAMPlusPlus, TaylorCAM)

_log = logging.getLogger(__name__)


def methods() -> dict[str, type[Method]]:
    """List the methods.

    Returns:
        Name to class: those of this package, then those of the entry-point group ``xai_fast.methods``. One that cannot
        be imported is left out, and logged.
    """
    others = {entry.name: _loaded_or_logged(entry) for entry in entry_points(group=ENTRY_POINTS)}
    own = {method.name: method for method in _OWN}
    return own | {name: method for name, method in others.items() if method is not None and name not in own}


def find_method(name: str) -> type[Method]:
    """Find a method.

    Args:
        name: one of `methods`; "captum:NAME" for an explainer of captum; or "package.module:Class", a subclass of
            `Method`, or a class that has ``attribute`` as captum's have.

    Returns:
        The class.

    Raises:
        InputError: there is none; the message has names near to it, or says why it cannot be imported.
    """
    if ":" in name:
        return _referenced(name)
    for own in _OWN:
        if own.name == name:
            return own
    entry = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    if entry is not None:
        return _loaded(entry)
    known = sorted(methods())
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? There are " if near else "one of "
    raise bad_argument("method", f"{hint}{', '.join(known)}, captum:NAME or package.module:Class", repr(name))


def _loaded(entry: EntryPoint) -> type[Method]:
    try:
        return _checked(entry.load(), entry.value)
    except (ImportError, AttributeError) as error:
        raise InputError(f"method: expected a method that can be imported, got {entry.value}: {error}") from error


def _loaded_or_logged(entry: EntryPoint) -> type[Method] | None:
    try:
        return _loaded(entry)
    except InputError as error:
        _log.warning("the method %r of another package cannot be used: %s", entry.name, error)
        return None


def _referenced(reference: str) -> type[Method]:
    module, _, attribute = reference.partition(":")
    module = "captum.attr" if module == "captum" else module
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"method: expected a class that can be imported, got {reference!r}: {error}") from error
    if isinstance(found, type) and not issubclass(found, Method) and hasattr(found, "attribute"):
        return captum_method(found, reference)
    return _checked(found, reference)


def _checked(found: object, reference: str) -> type[Method]:
    if isinstance(found, type) and issubclass(found, Method):
        return found
    raise bad_argument("method", f"{reference} to be a subclass of xai_fast.Method", type(found).__name__)
