"""GNN-LRP of networks of PyTorch Geometric against one masked backward pass per walk, and the same written densely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from graph_networks import edge_index, normalised_dense, random_graph
from literal_walk_relevance import all_sequences
from torch import Tensor, nn

from xai_fast import UnsupportedOperation
from xai_fast.interaction import GNNLRP

geometric = pytest.importorskip("torch_geometric.nn")


class Network(nn.Module):
    """Layers of (rows, edges or an adjacency) with a ReLU behind, and a linear readout of the mean of the nodes."""

    def __init__(self, *layers: Callable[[Tensor, Tensor], Tensor], like: Network | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.modules_of_layers = nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Module))
        self.readout = nn.Linear(4, 3) if like is None else like.readout
        self.double().eval()

    def forward(self, x: Tensor, edges: Tensor, batch: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, edges).relu()
        out: Tensor = self.readout(geometric.global_mean_pool(x, batch))
        return out

    def walk(self, x: Tensor, edges: Tensor, nodes: list[int], target: int) -> Tensor:
        """Go back through the nodes of a walk alone; without gamma relevance is gradient times input."""
        h = first = x.clone().requires_grad_()
        for layer, node in zip(self.layers, nodes, strict=False):
            h = layer(only(h, node), edges).relu()
        score = self.readout(only(h, nodes[-1]).mean(0))[target]
        return (torch.autograd.grad(score, first)[0] * x).sum()


def only(h: Tensor, node: int) -> Tensor:
    mask = nn.functional.one_hot(torch.tensor([node]), len(h)).mT.to(h)
    return h * mask + (h * (1 - mask)).detach()


def mlp(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(), nn.Linear(4, 4))


def mean(adjacency: Tensor, x: Tensor) -> Tensor:
    return (adjacency @ x) / adjacency.sum(1, keepdim=True).clamp(min=1)


LAYERS: dict[str, tuple[Callable[[int], Any], Callable[[Any, Tensor, Tensor], Tensor]]] = {
    "GCNConv": (lambda d: geometric.GCNConv(d, 4), lambda c, x, a: normalised_dense(a, c.lin(x)) + c.bias),
    "GINConv": (lambda d: geometric.GINConv(mlp(d), eps=0.3), lambda c, x, a: c.nn((1 + c.eps) * x + a @ x)),
    "SAGEConv": (lambda d: geometric.SAGEConv(d, 4), lambda c, x, a: c.lin_l(mean(a, x)) + c.lin_r(x)),
    "GraphConv": (lambda d: geometric.GraphConv(d, 4), lambda c, x, a: c.lin_rel(a @ x) + c.lin_root(x)),
}
"""Layers by the number of their inputs, and what each computes by an adjacency."""


def network(name: str) -> Network:
    torch.manual_seed(0)
    made, _ = LAYERS[name]
    return Network(made(2), made(4))


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize("name", LAYERS)
def test_walks_are_masked_backward_passes(name: str) -> None:
    model = network(name)
    for seed in range(3):
        x, adjacency = random_graph(seed, own=False)
        edges, every = edge_index(adjacency), all_sequences(len(x), 3)
        found = GNNLRP(model, eps=1e-12).explain(x, edges, 1)
        close(found.of(every), torch.stack([model.walk(x, edges, nodes, 1) for nodes in every.tolist()]))


@pytest.mark.parametrize("name", LAYERS)
def test_walks_are_those_of_the_same_network_with_an_adjacency(name: str) -> None:
    model, formula = network(name), LAYERS[name][1]
    dense = Network(*(lambda x, a, c=layer: formula(c, x, a) for layer in model.layers), like=model)
    x, adjacency = random_graph(4, 6, own=False)
    found = GNNLRP(model, gamma=0.3).explain(x, edge_index(adjacency))
    expected = GNNLRP(dense, gamma=0.3).explain(x, adjacency)
    assert torch.equal(found.all_walks()[0], expected.all_walks()[0])
    close(found.all_walks()[1], expected.all_walks()[1])
    assert found.facts["constant_attention"].tolist() == [False]


def test_attention_counts_as_a_constant() -> None:
    torch.manual_seed(0)
    layers = [geometric.GATConv(2, 2, heads=2), geometric.GATConv(4, 4)]
    model = Network(*layers)

    def frozen(layer: Any) -> Callable[[Tensor, Tensor], Tensor]:
        def run(x: Tensor, edges: Tensor) -> Tensor:
            own = layer(x, edges, return_attention_weights=True)[1]
            messages = layer.lin(x).view(len(x), layer.heads, -1)[own[0][0]] * own[1].detach()[..., None]
            return torch.zeros(len(x), 4, dtype=x.dtype).index_add(0, own[0][1], messages.flatten(1)) + layer.bias

        return run

    x, adjacency = random_graph(4, 4, own=False)
    edges, every = edge_index(adjacency), all_sequences(4, 3)
    found = GNNLRP(model, eps=1e-12).explain(x, edges, 1)
    assert found.facts["constant_attention"].tolist() == [True]
    same = Network(*map(frozen, layers), like=model)
    close(found.of(every), torch.stack([same.walk(x, edges, nodes, 1) for nodes in every.tolist()]))


def test_graphs_of_a_batch() -> None:
    data = pytest.importorskip("torch_geometric.data")
    model = network("GCNConv")
    graphs = [random_graph(seed, own=False) for seed in range(4)]
    batch = data.Batch.from_data_list([data.Data(x=x, edge_index=edge_index(a)) for x, a in graphs])
    parts = batch.to_data_list()
    given = [part.x for part in parts], [part.edge_index for part in parts]
    found = GNNLRP(model).explain(*given, target=2)
    torch.testing.assert_close(found.scores, model(batch.x, batch.edge_index, batch.batch)[:, 2].detach())
    for i, (x, edges) in enumerate(zip(*given, strict=True)):
        close(found.all_walks(i)[1], GNNLRP(model).explain(x, edges, 2).all_walks()[1])


@pytest.mark.parametrize(
    ("layer", "operation"),
    [
        (lambda: geometric.SAGEConv(2, 4, aggr="max"), "aten.scatter_reduce"),
        (lambda: geometric.EdgeConv(mlp(4), aggr="add"), "aten.scatter_add"),
    ],
    ids=["maximum", "both ends"],
)
def test_refused_layers(layer: Callable[[], Any], operation: str) -> None:
    x, adjacency = random_graph(2, 5, own=False)
    with pytest.raises(UnsupportedOperation, match=operation):
        GNNLRP(Network(layer())).explain(x, edge_index(adjacency), 0)
