"""
Graphs: which walks?
====================

A graph network passes messages along edges, so what it sees are walks: what one node
told the next, and that one the next. `xai_fast.GNNLRP` finds the strongest walks for a
prediction, without computing all of them.

Needs ``pip install 'xai-fast[images]'``.
"""

# %%
# A network that tells trees from graphs with cycles
# --------------------------------------------------
# Graphs grow by preferential attachment. The network, a GIN, is trained in seconds. Any
# network in plain PyTorch or PyTorch Geometric will do whose message passing is a
# product with an adjacency. In this graph only the first ten of 20 nodes have grown
# with two edges each, the others as a tree.

import torch
from matplotlib import pyplot as plt

from xai_fast import GNNLRP
from xai_fast.datasets.grown_graphs import ANSWERS, grown_graph
from xai_fast.models.grown_graphs import grown_graphs_network
from xai_fast.plot import walks_svg

network = grown_graphs_network()
adjacency = grown_graph(8, 2, core=10, split="test")
nodes = torch.ones(20, 1)
probability = network(nodes, adjacency).softmax(0)
print(dict(zip(ANSWERS, probability.tolist(), strict=True)))

# %%
# The strongest walks
# -------------------
# ``target=1`` is "not a tree". A walk is its nodes from the input to the readout; a
# node that follows itself has kept what it knew.

result = GNNLRP(network, gamma=0.1).explain(nodes, adjacency, 1)
for walk in result.walks(5)[0]:
    print(walk.nodes, f"{walk.relevance:.4f}")
print("the strongest five nodes together:", result.best_subgraph(5)[0].nodes)

walks_svg(result, top_k=8)

# %%
# Red walks speak for "not a tree", and blue ones would against it: they go round the
# cycles in the middle, not out on the branches. The attributions of single nodes are
# sums over the walks that begin there:

figure, ax = plt.subplots(figsize=(7, 2.5), layout="constrained")
ax.bar(range(20), result.attributions[0].tolist())
ax.set_xlabel("node")
ax.set_ylabel("relevance")
plt.show()
