"""Errors that users of xai_fast can catch.

Every error about an argument names the argument, what was expected and what came.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "BackendUnavailable",
    "InputError",
    "JobError",
    "ModelError",
    "StoreError",
    "UnsupportedOperation",
    "XaiFastError",
    "ZeroCurvatureError",
    "bad_argument",
    "needs",
]


class XaiFastError(Exception):
    """Base class of all errors that xai_fast raises on purpose."""


class InputError(XaiFastError, ValueError):
    """An argument has the wrong type, shape, dtype, device or value."""


class ModelError(XaiFastError, RuntimeError):
    """The model cannot be explained as it is: training mode, no gradient path, NaN scores."""


class JobError(XaiFastError, RuntimeError):
    """A long job cannot go on; what is done is kept, and the same call resumes it once the cause is gone."""


class StoreError(XaiFastError, RuntimeError):
    """The folder of a long job cannot be written, read or trusted; the message names the file and what is wrong."""


class UnsupportedOperation(ModelError):
    """An operation of the model has no rule in `xai_fast.taylor`; the message names it and what to do."""


class ZeroCurvatureError(ModelError):
    """All second derivatives are zero, as in a network of ReLU layers with a logit target: nothing to show."""


class BackendUnavailable(XaiFastError, RuntimeError):
    """A backend that was asked for cannot run; the message holds the reason of every backend."""


def bad_argument(name: str, expected: str, got: object) -> InputError:
    """Build the error for one bad argument, which reads ``name: expected ..., got ...``."""
    return InputError(f"{name}: expected {expected}, got {got}")


def needs(module: str, purpose: str, install: str) -> ModuleType:
    """Import an optional library; an `InputError` says for what it is needed, and what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise InputError(f"{purpose} needs {name}, which is not installed ({error}): pip install {install}") from error
