"""The traced graph of a score: made once per model, run for any number of items. README.md says how to use it."""

from xai_fast.graph.function import ScoreFunction, TracedFunction, find_trace, traced
from xai_fast.graph.interpreter import ItemScores, State, run
from xai_fast.graph.nodes import Graph, Node, Ref
from xai_fast.graph.trace import trace

__all__ = [
    "Graph",
    "ItemScores",
    "Node",
    "Ref",
    "ScoreFunction",
    "State",
    "TracedFunction",
    "find_trace",
    "run",
    "trace",
    "traced",
]
