"""GNN-LRP against one masked backward pass per walk, and against plain relevance of networks of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from graph_networks import (
    GAT,
    GCN,
    GIN,
    SAGE,
    by_einsum,
    edge_index,
    index_add,
    index_put,
    normalised,
    normalised_dense,
    random_graph,
    scatter_add,
    transposed,
)
from literal_walk_relevance import all_sequences
from torch import Tensor, nn

from xai_fast import LRP, InputError, ModelError, UnsupportedOperation
from xai_fast.explanation import Explanation
from xai_fast.graph import trace
from xai_fast.interaction import GNNLRP, WalkRelevance
from xai_fast.relevance import Composite, Epsilon


def made(kind: type[nn.Module], *arguments: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(*arguments, **options).double().eval()


def close(got: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * float(expected.abs().max().clamp(min=1e-12)))


GAMMAS: dict[str, Any] = {"0": [0.0], "falling": [1.0, 0.5, 0.25, 0.1, 0.1, 0.05, 0.0]}
EPS = 1e-3


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("name", ["GCN", "GCN weights first", "GIN"])
def test_walks_are_masked_backward_passes(name: str, gamma: str) -> None:
    model = made(GIN) if name == "GIN" else made(GCN, first=name != "GCN")
    count = 7 if name == "GIN" else 4
    gammas = (GAMMAS[gamma] * count)[:count]
    method = GNNLRP(model, gamma=gammas, eps=EPS)
    graphs = [random_graph(seed, own=name != "GIN") for seed in range(20)]
    found = method.explain(*map(list, zip(*graphs, strict=True)), target=1)
    for i, (x, adjacency) in enumerate(graphs):
        every = all_sequences(len(x), 4)
        expected = model.literal(gammas, EPS).walks(x, adjacency, every, 1)
        close(found.of(every, i), expected)
        walks, relevance = found.all_walks(i)
        listed = torch.zeros([len(x)] * 4, dtype=torch.float64)
        listed[tuple(walks.T)] = relevance
        close(listed.flatten(), expected)


SAME: dict[str, tuple[Any, Any]] = {
    "einsum": (made(GCN), made(GCN, by_einsum)),
    "transposed": (made(GCN), made(GCN, transposed)),
    "transposed, weights first": (made(GCN), made(GCN, transposed, first=True)),
    "index_add": (made(GCN), made(GCN, index_add)),
    "scatter_add": (made(GCN), made(GCN, scatter_add, first=True)),
    "index_put": (made(GCN), made(GCN, index_put, first=True)),
    "normalised over edges": (made(GCN, normalised_dense), made(GCN, normalised, first=True)),
    "GIN over edges": (made(GIN), made(GIN, index_add)),
    "SAGE over edges": (made(SAGE), made(SAGE, scatter_add)),
    "GAT over edges": (made(GAT), made(GAT, edges=True)),
    "heads over edges": (made(GAT, 2), made(GAT, 2, edges=True)),
}


@pytest.mark.parametrize("name", SAME)
def test_ways_to_write_a_network(name: str) -> None:
    first, second = SAME[name]
    x, adjacency = random_graph(2, 6)
    expected = GNNLRP(first, gamma=0.3).explain(x, adjacency, 2)
    other = (
        edge_index(adjacency)
        if name.endswith("edges") or name in ("index_add", "scatter_add", "index_put")
        else adjacency
    )
    got = GNNLRP(second, gamma=0.3).explain(x, other, 2)
    close(got.all_walks()[1], expected.all_walks()[1])
    torch.testing.assert_close(got.scores, first(x, adjacency)[2][None].detach())


MODELS: dict[str, Any] = {
    "GCN": made(GCN),
    "GIN": made(GIN),
    "SAGE": made(SAGE),
    "SAGE with layer norm": made(SAGE, norm=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_walks_sum_to_plain_relevance(name: str) -> None:
    x, adjacency = random_graph(5, 6)
    found = GNNLRP(MODELS[name]).explain(x, adjacency, 0)
    composite = Composite({"dense": Epsilon(1e-9)}, "constant", 0.0)
    lrp = LRP(lambda x, a: MODELS[name](x[0], a[0])[None], composite=composite)
    expected = lrp.attribute(x[None], 0, adjacency[None])
    close(found.attributions, expected.sum(2))
    walks, relevance = found.all_walks()
    close(torch.zeros(1, 6, dtype=torch.float64).index_add(1, walks[:, 0], relevance[None]), expected.sum(2))


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_counts_as_a_constant(heads: int) -> None:
    model = made(GAT, heads)
    x, adjacency = random_graph(4, 5)
    found = GNNLRP(model).explain(x, adjacency, 1)
    assert found.facts["constant_attention"].tolist() == [True]
    assert GNNLRP(made(GCN)).explain(x, adjacency, 1).facts["constant_attention"].tolist() == [False]
    # With the attention of this item frozen, the network is piecewise linear: gradient x input.
    matrices = []
    h = x
    for layer, score in zip(model.layers, model.scores, strict=True):
        parts = layer(h).view(5, heads, -1)
        to, begin = (parts * score[0]).sum(-1), (parts * score[1]).sum(-1)
        logits = torch.nn.functional.leaky_relu(to.T[:, :, None] + begin.T[:, None], 0.2)
        matrices.append(logits.masked_fill(adjacency == 0, -torch.inf).softmax(-1).detach())
        h = torch.relu((matrices[-1] @ parts.transpose(0, 1)).transpose(0, 1).reshape(5, -1))
    z = x.clone().requires_grad_()
    h = z
    for layer, matrix in zip(model.layers, matrices, strict=True):
        h = torch.relu((matrix @ layer(h).view(5, heads, -1).transpose(0, 1)).transpose(0, 1).reshape(5, -1))
    score = model.readout(h.sum(0))[1]
    close(found.attributions[0], (torch.autograd.grad(score, z)[0] * x).sum(1), 1e-6)


@pytest.fixture(scope="module")
def relevance() -> WalkRelevance:
    """Two graphs of six and four nodes."""
    graphs = [random_graph(2, 6), random_graph(4, 4)]
    return GNNLRP(made(GIN), gamma=0.2).explain(*map(list, zip(*graphs, strict=True)), target=[1, 2])


def by_walks(found: WalkRelevance, item: int, wanted: Any) -> float:
    walks, values = found.all_walks(item)
    return float(values[wanted(walks)].sum())


def test_sums_of_walks(relevance: WalkRelevance) -> None:
    for item in range(2):
        for step in range(4):
            nodes = relevance.nodes(step)[item]
            expected = [by_walks(relevance, item, lambda w, j=j, s=step: w[:, s] == j) for j in range(6)]
            close(nodes, torch.tensor(expected, dtype=torch.float64))
        for step in range(1, 4):
            edges = relevance.edges(step)[item]
            expected = [
                by_walks(relevance, item, lambda w, k=k, j=j, s=step: (w[:, s] == k) & (w[:, s - 1] == j))
                for k in range(6)
                for j in range(6)
            ]
            close(edges.flatten(), torch.tensor(expected, dtype=torch.float64))
        inside = by_walks(relevance, item, lambda w: torch.isin(w, torch.tensor([0, 2, 3])).all(1))
        close(relevance.subgraph([0, 2, 3])[item], torch.tensor(inside, dtype=torch.float64))
    torch.testing.assert_close(relevance.edges(), sum(relevance.edges(step) for step in (1, 2, 3)))


def test_best_subgraph(relevance: WalkRelevance, monkeypatch: pytest.MonkeyPatch) -> None:
    for item, (nodes, value, exact) in enumerate(relevance.best_subgraph(3)):
        sums = {
            (i, j, k): by_walks(relevance, item, lambda w, s=(i, j, k): torch.isin(w, torch.tensor(s)).all(1))
            for i in range(6) for j in range(i + 1, 6) for k in range(j + 1, 6) if k < relevance.nodes_per_graph[item]
        }  # fmt: skip
        best = max(sums, key=lambda s: sums[s])
        assert (nodes, exact) == (best, True)
        assert value == pytest.approx(sums[best], rel=1e-8)
    monkeypatch.setattr("xai_fast.interaction.walk_relevance._MOST_SETS", 1)
    for item, (nodes, value, exact) in enumerate(relevance.best_subgraph(3)):
        assert not exact
        assert len(set(nodes)) == 3
        assert value == pytest.approx(float(relevance.subgraph(nodes)[item]))


def test_a_graph_does_not_depend_on_its_batch(relevance: WalkRelevance, tmp_path: Path) -> None:
    method = GNNLRP(made(GIN), gamma=0.2)
    for item, (nodes, seed, target) in enumerate(((6, 2, 1), (4, 4, 2))):
        alone = method.explain(*random_graph(seed, nodes), target=target)
        close(relevance.attributions[item, :nodes], alone.attributions[0], 1e-10)
        assert relevance[item].walks(5) == [relevance.walks(5)[item]]
        close(relevance.all_walks(item)[1], alone.all_walks()[1], 1e-10)
        assert torch.equal(relevance.all_walks(item)[0], alone.all_walks()[0])
    classes = method.explain(
        [random_graph(seed, 5)[0] for seed in range(2)], random_graph(0, 5)[1], torch.tensor([0, 2])
    )
    assert classes.targets.tolist() == [0, 2]
    x, adjacency = (torch.stack(parts) for parts in zip(*(random_graph(seed, 5) for seed in range(3)), strict=True))
    batch, single = (
        GNNLRP(made(GIN), gamma=0.2).explain(*given, target=1) for given in ((x, adjacency), (list(x), list(adjacency)))
    )
    close(batch.top, single.top, 1e-10)
    close(batch.attributions, single.attributions, 1e-10)
    relevance.save(tmp_path / "walks")
    loaded = Explanation.load(tmp_path / "walks")
    assert isinstance(loaded, WalkRelevance)
    assert loaded.walks(3) == relevance.walks(3)


def test_targets() -> None:
    x, adjacency = random_graph(1, 5)
    model = made(GCN)
    nodewise = GNNLRP(lambda x, a: torch.relu(model.weights[0](a @ x)))
    found = nodewise.explain(x, adjacency, lambda out: out[:, 3, 1])
    walks, relevance = found.all_walks()
    assert set(walks[:, 1].tolist()) == {3}
    torch.testing.assert_close(relevance.sum(), torch.relu(model.weights[0](adjacency @ x))[3, 1].detach())
    predicted = GNNLRP(model).explain(x, adjacency)
    assert predicted.targets.tolist() == [int(model(x, adjacency).argmax())]


def test_weights_of_edges() -> None:
    x, adjacency = random_graph(1, 5)
    edges = edge_index(adjacency)
    weights = torch.rand(edges.shape[1], dtype=torch.float64)
    matrix = torch.zeros(5, 5, dtype=torch.float64).index_put((edges[1], edges[0]), weights)

    def weighted(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        messages = x[edges[0]] * weights[:, None]
        return torch.relu(torch.zeros_like(x).index_add(0, edges[1], messages)).sum(0)

    got = GNNLRP(weighted).explain(x, edges, 1, weights)
    expected = GNNLRP(lambda x, a: torch.relu(a @ x).sum(0)).explain(x, matrix, 1)
    close(got.all_walks()[1], expected.all_walks()[1])
    close(got.adjacencies[0][0], matrix)
    with pytest.raises(InputError, match="one per graph, so 2, got 1"):
        GNNLRP(weighted).explain([x, x], [edges, edges], 1, [weights])


def barabasi(nodes: int, steps: int, width: int, seed: int = 0) -> tuple[GIN, Tensor, Tensor]:
    """A graph of growth 2, and a GIN with random weights."""
    generator = torch.Generator().manual_seed(seed)
    adjacency = torch.zeros(nodes, nodes)
    for new in range(2, nodes):
        degrees = adjacency[:new].sum(1) + 1e-3
        for old in torch.multinomial(degrees, 2, generator=generator).tolist():
            adjacency[new, old] = adjacency[old, new] = 1
    torch.manual_seed(seed)
    model = GIN(steps=steps, width=width).eval()
    return model, torch.rand(nodes, 2, generator=generator), adjacency


def test_strongest_walks() -> None:
    model, x, adjacency = barabasi(17, 5, 16)
    found = GNNLRP(model, gamma=0.1).explain(x, adjacency, 1)
    graph = found.graph()
    walks, relevance = found.all_walks()
    assert len(walks) == graph.prefixes()[-1] == 73_705
    best = relevance.abs().argsort(descending=True)[:20]
    got, values, expanded = graph.strongest(20)
    assert expanded <= 0.1 * sum(graph.prefixes()[:-1])
    close(values.abs(), relevance[best].abs(), 1e-5)
    close(found.of(got), values, 1e-5)
    assert len({tuple(walk) for walk in got.tolist()}) == 20
    assert [walk.relevance for walk in found.walks(20)[0]] == values.tolist()


def test_strongest_walks_with_negative_adjacencies() -> None:
    generator = torch.Generator().manual_seed(0)
    adjacency = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    found = GNNLRP(made(GCN, first=True), gamma=0.0).explain(random_graph(0, 7)[0], adjacency, 1)
    relevance = found.all_walks()[1]
    got = found.walks(10)[0]
    close(
        torch.tensor([w.relevance for w in got]).double().abs(), relevance.abs().sort(descending=True).values[:10], 1e-6
    )


def test_many_subgraphs() -> None:
    model, x, adjacency = barabasi(12, 3, 4)
    found = GNNLRP(model).explain(x, adjacency, 0)
    masks = torch.rand(512, 12, generator=torch.Generator().manual_seed(0)) < 0.6
    walks, relevance = found.all_walks()
    expected = torch.stack([relevance[mask[walks].all(1)].sum() for mask in masks])
    torch.testing.assert_close(found.subgraphs(masks)[0], expected, rtol=0, atol=1e-6)


def test_graphs_without_edges_or_relevance() -> None:
    x, adjacency = random_graph(2, 5)
    silent = GNNLRP(lambda x, a: torch.relu(a @ x - 100.0).sum(0)).explain(x, adjacency, 0)
    assert silent.facts["no_relevance"].tolist() == [True]
    assert silent.walks(3) == [[]]
    alone = GNNLRP(lambda x, a: torch.relu(a @ x).sum(0)).explain(x, torch.zeros_like(adjacency), 0)
    assert alone.walks(3) == [[]]
    assert len(alone.all_walks()[0]) == 0


class Refused(nn.Module):
    """Networks whose relevance is not that of walks."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Linear(4, 2)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        if self.kind == "maximum":
            messages = torch.where(adjacency[:, :, None] > 0, x[None], -10.0)
            x = messages.amax(1)
            return (adjacency @ x).sum(0)
        if self.kind == "network of both ends":
            edges = adjacency.long()
            messages = torch.relu(self.weight(torch.cat([x[edges[0]], x[edges[1]]], 1)))
            return torch.zeros_like(x).index_add(0, edges[1], messages).sum(0)
        if self.kind == "features change places":
            edges = adjacency.long()
            return torch.zeros_like(x).index_add(0, edges[1], x[edges[0]].flip(1)).sum(0)
        if self.kind == "norm over nodes":
            x = torch.relu(adjacency @ x)
            return (adjacency @ (x - x.mean(0))).sum(0)
        return torch.relu(x).sum(0)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("maximum", UnsupportedOperation, "aten.amax"),
        ("network of both ends", UnsupportedOperation, "aten.index_put"),
        ("features change places", UnsupportedOperation, "aten.index_put"),
        ("norm over nodes", UnsupportedOperation, "aten.sub"),
        ("no graph", ModelError, "message passing.*got none"),
    ],
)
def test_refused_networks(kind: str, error: type[Exception], message: str) -> None:
    x, adjacency = random_graph(2, 5)
    over_edges = kind in ("network of both ends", "features change places")
    given = edge_index(adjacency).double() if over_edges else adjacency
    with pytest.raises(error, match=message):
        GNNLRP(Refused(kind).double().eval()).explain(x, given, 0)


@pytest.mark.parametrize("name", ["GIN over edges", "normalised over edges"])
def test_a_graph_is_traced_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[object] = []
    monkeypatch.setattr("xai_fast.graph.function.trace", lambda *given: traces.append(given) or trace(*given))
    x, adjacency = random_graph(2, 5)
    method, edges = GNNLRP(SAME[name][1]), edge_index(adjacency)
    first = method.explain(x, edges, 1)
    assert len(traces) > 0
    traces.clear()
    method.explain(x + 1, edges, 1)
    close(method.explain(x, edges, 1).edges(), first.edges())
    assert traces == []


def test_refused_arguments(relevance: WalkRelevance) -> None:
    x, adjacency = random_graph(2, 5)
    model = made(GCN)
    cases: list[tuple[Any, str]] = [
        (lambda: GNNLRP(model, gamma=-1), "gamma: expected a number"),
        (lambda: GNNLRP(model, gamma=[0.1]).explain(x, adjacency), "gamma: expected one for each of 4 layers"),
        (lambda: GNNLRP(model, eps=0), "eps: expected a positive"),
        (lambda: GNNLRP(model).explain(x[:1], adjacency[:1, :1]), "x: expected at least 2 nodes"),
        (lambda: GNNLRP(model).explain(x[0], adjacency), "x: expected features"),
        (lambda: GNNLRP(model).explain([x, x], [adjacency], 0), "adjacency: expected one per graph, so 2, got 1"),
        (lambda: GNNLRP(model).explain([x], [adjacency], [0, 1]), "target: expected one per graph"),
        (lambda: GNNLRP(model.train()).explain(x, adjacency), "model: expected evaluation mode"),
        (lambda: relevance.subgraphs(torch.ones(3, 4)), "masks: expected"),
        (lambda: relevance.of([[0, 1]]), "walks: expected"),
        (lambda: relevance.of([[0, 1, 5, 4]], 1), "walks: expected .* from 0 to 3"),
        (lambda: relevance.nodes(4), "step: expected"),
        (lambda: relevance.best_subgraph(5), "size: expected"),
        (lambda: relevance.walks(0), "k: expected"),
    ]
    for call, message in cases:
        with pytest.raises((InputError, ModelError), match=message):
            call()
    model.eval()


def test_too_many_walks(relevance: WalkRelevance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_fast.interaction.walk_relevance._MOST_WALKS", 10)
    with pytest.raises(InputError, match=r"all_walks: expected at most 10 walks, got .*walks\(k\)"):
        relevance.all_walks()
