"""Relevance propagation on the traced graph: rules, composites, the ledger. README.md derives the method in a page."""

from xai_fast.relevance.composite import COMPOSITES, Composite, Position
from xai_fast.relevance.ledger import COLUMNS, Relevance
from xai_fast.relevance.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, ZPlus

__all__ = [
    "COLUMNS",
    "COMPOSITES",
    "AlphaBeta",
    "Composite",
    "Epsilon",
    "Flat",
    "Gamma",
    "Position",
    "Relevance",
    "Rule",
    "WSquare",
    "ZBox",
    "ZPlus",
]
