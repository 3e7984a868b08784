"""Text of a picture or a page, shown as such in a notebook."""

from __future__ import annotations

__all__ = ["Markup"]


class Markup(str):
    """HTML or SVG: text to write to a file; a notebook, or Sphinx-Gallery, shows it where a cell ends with it."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)
