"""What relevance propagation returns, and where relevance went on its way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from xai_fast.explanation import Explanation

__all__ = ["COLUMNS", "Relevance"]

COLUMNS = ("arrives", "bias", "stabiliser", "rule")
"""Of the ledger: the relevance that arrives at an operation's output, and what of it the bias, the stabiliser and the
rule itself keep; the rest goes on to what the operation reads."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Relevance(Explanation):
    """The relevance of B items.

    Attributes:
        attributions: ``(B, *inputs)``, or ``(B, T, *inputs)`` for T classes at once; a tuple for several inputs.
        inner: the relevance at each of the ``layers``, likewise with the shape of the layer's output.
        layers: dotted names, as they were given.
        ledger: (B, L, 4), or (B, T, L, 4), where relevance is lost: a row for each of the ``operations``, `COLUMNS`.
            What arrived at the inputs is the seed, less all that was kept.
        operations: L names, from the input to the score: the module that an operation belongs to, and what it is.
        class_scores: (B, T) the scores of several classes.
        classes: these classes.
    """

    inner: tuple[Tensor, ...] = ()
    layers: tuple[str, ...] = ()
    ledger: Tensor
    operations: tuple[str, ...] = ()
    class_scores: Tensor | None = None
    classes: tuple[int, ...] = ()

    not_stored: ClassVar[frozenset[str]] = frozenset({"inner"})

    @classmethod
    @override
    def _from_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {n: tuple(v) if n in ("inner", "layers", "operations", "classes") else v for n, v in values.items()}
