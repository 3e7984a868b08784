"""Printing: letters that a terminal cannot show are replaced, and a closed pipe is no error."""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["flush", "printable", "say", "shown"]


def say(text: str, *, error: bool = False) -> None:
    """Print text; letters that the terminal lacks are replaced, and a closed pipe is no error.

    Args:
        text: the lines.
        error: print to standard error instead of standard output.
    """
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
    """Replace the characters that control a terminal by U+FFFD.

    Args:
        text: any, such as the name of a file.

    Returns:
        One line.
    """
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def shown(text: str) -> str:
    """Give text that any terminal and file can take: bytes of a file name that are not UTF-8 become U+FFFD."""
    return os.fsencode(text).decode("utf-8", "replace")
