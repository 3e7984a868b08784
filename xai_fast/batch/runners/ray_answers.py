"""Errors on their way from one process to another, as plain text: nothing is unpickled."""

from __future__ import annotations

import importlib
import json
import traceback

from xai_fast.errors import XaiFastError

__all__ = ["pack_error", "unpack_error"]


def pack_error(error: BaseException) -> str:
    """Write an error as text.

    Args:
        error: of any class.

    Returns:
        JSON, for `unpack_error`.
    """
    kind = type(error)
    trace = "".join(traceback.format_exception(error))
    return json.dumps({"module": kind.__module__, "name": kind.__qualname__, "message": str(error), "trace": trace})


def unpack_error(text: str) -> Exception:
    """Make an error of what `pack_error` wrote.

    Args:
        text: its JSON.

    Returns:
        An error of the same class where that is one of ours, else a RuntimeError that names class and trace.
    """
    found = json.loads(text)
    if found["module"].split(".")[0] == "xai_fast":
        kind = getattr(importlib.import_module(found["module"]), found["name"], None)
        if isinstance(kind, type) and issubclass(kind, XaiFastError):
            made = kind.__new__(kind, found["message"])
            made.args = (found["message"],)
            made.add_note(found["trace"]) if hasattr(made, "add_note") else None
            return made
    return RuntimeError(f"{found['module']}.{found['name']}: {found['message']}\n{found['trace']}")
