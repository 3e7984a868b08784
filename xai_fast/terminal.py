"""What people read: lines that any terminal can show, notices that are said once, and a ``repr`` that fits a screen."""

from __future__ import annotations

import logging
import os
import sys
import warnings
import weakref
from dataclasses import fields
from typing import Any, TextIO

__all__ = ["ShortRepr", "flush", "printable", "say", "short", "shown", "tell"]

_LONGEST = 300
_log = logging.getLogger("xai_fast")
_said: weakref.WeakKeyDictionary[object, set[str]] = weakref.WeakKeyDictionary()


def say(text: str, *, error: bool = False) -> None:
    """Print text, on standard error if ``error``; letters the terminal lacks are replaced, a closed pipe is fine."""
    stream = sys.stderr if error else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        _go_nowhere(stream)


def flush() -> None:
    """Flush standard output; a closed pipe is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _go_nowhere(sys.stdout)


def _go_nowhere(stream: TextIO) -> None:
    # As in `| head`. What is left in the buffer is dropped, or Python would report it at exit.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def printable(text: str) -> str:
    """Replace the characters that control a terminal by U+FFFD, so that the text is one line."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def shown(text: str) -> str:
    """Give text that any terminal and file can take: bytes of a file name that are not UTF-8 become U+FFFD."""
    return os.fsencode(text).decode("utf-8", "replace")


def tell(text: str, about: object = None, *, stacklevel: int | None = None) -> None:
    """Say once what the package did by its own choice, or what has to be known of a result.

    Args:
        text: what was changed, why, and what else the user can ask for.
        about: of which it is said once, such as a model or a result; None for once in the process.
        stacklevel: None for a line in the log; for a ``UserWarning``, the caller whom it is about, 1 for the nearest.
    """
    try:
        said = _said.setdefault(tell if about is None else about, set())
    except TypeError:  # what cannot be referred to weakly, such as an instance with slots
        said = _said.setdefault(tell, set())
    if text in said:
        return
    said.add(text)
    if stacklevel is None:
        _log.warning("%s", text)
    else:
        warnings.warn(text, UserWarning, stacklevel=stacklevel + 1)


def short(value: Any) -> str:
    """Describe tensors and arrays by dtype and shape, modules by their class, and others by the start of their repr."""
    if getattr(value, "shape", ()) and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.")
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name!r}: {short(part)}' for name, part in value.items())}}}"
    text = type(value).__name__ if hasattr(value, "named_modules") else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class ShortRepr:
    """A dataclass without a ``repr`` of its own whose fields are shown by `short`."""

    def __repr__(self) -> str:
        found: Any = self
        parts = [f"{entry.name}={short(getattr(self, entry.name))}" for entry in fields(found)]
        return f"{type(self).__name__}({', '.join(parts)})"
