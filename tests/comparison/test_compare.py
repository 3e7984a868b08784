"""Comparisons in one process: what is measured, of which entries, and that no item sees the others of its batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import xai_fast
from xai_fast import NeFLAG, Saliency, compare
from xai_fast.attribution.baselines import Edges, RandomMap
from xai_fast.comparison.entries import Entry, metric_options, read_methods, read_metrics
from xai_fast.comparison.measured import Measured
from xai_fast.errors import InputError
from xai_fast.metrics import METRICS, insertion_deletion, rank_pixels, sensitivity


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(36, 5)).eval()


MODEL = network()
X = torch.randn(4, 3, 12, 9, generator=torch.Generator().manual_seed(1))
BOXES = [[1, 2, 6, 5], [[0, 0, 3, 3], [4, 4, 8, 8]], [2, 2, 8, 11], [0, 5, 4, 9]]
ROWS = torch.randn(5, 6, generator=torch.Generator().manual_seed(2))


def test_scores_are_those_of_the_metrics() -> None:
    own = NeFLAG(MODEL, points=2)
    found = compare(
        MODEL,
        X,
        methods=[own, "saliency"],
        metrics="insertion_deletion(steps=3,ranking=per_channel),deletion(steps=3),max_sensitivity(samples=2)",
        target=[0, 1, 2, 3],
        seed=4,
    )
    assert found.methods == ("random", "edges", "neflag(points=2)", "saliency")
    assert list(found.better.values()) == ["higher", "lower", "lower"]
    assert found.items == ("0", "1", "2", "3")
    for m, method in enumerate([RandomMap(MODEL, seed=4), Edges(MODEL), own, Saliency(MODEL)]):
        explained = method.explain(X, [0, 1, 2, 3])
        maps = explained.attributions
        curves = {r: insertion_deletion(MODEL, X, maps, steps=3, ranking=r, target=explained.targets) for r in RANKINGS}
        expected = [
            curves["per_channel"].difference,
            curves["sum_of_abs"].deletion,
            sensitivity(method, X, samples=2, seed=4, target=explained.targets).values,
        ]
        torch.testing.assert_close(torch.stack([s[m] for s in found.scores.values()]).float(), torch.stack(expected))
        torch.testing.assert_close(found.maps[m].flatten(1), rank_pixels(maps))
        assert found.evaluations[m].tolist() == explained.evaluations.tolist()


RANKINGS = ("per_channel", "sum_of_abs")
QUICK: dict[str, dict[str, Any]] = {
    "irof": {"features": 3},
    "monotonicity_correlation": {"samples": 2, "features": 3},
    "relative_representation_stability": {"layer": "0", "samples": 2},
    "smooth_mprt": {"samples": 2},
    "top_k_intersection": {"k": 9},
    "mprt": {"similarity": "spearman"},
}
SHORT = {"samples": 2, "subsets": 6, "steps": 4, "sizes": 3, "features": 3, "region": 3}


def entry(name: str) -> Entry:
    known = {} if name == "non_sensitivity" else metric_options(name)
    return Entry(name, name, QUICK.get(name, {})).with_defaults(known, **SHORT)


def test_no_metric_sees_the_other_items_of_a_batch() -> None:
    pytest.importorskip("scipy")
    pytest.importorskip("PIL")
    metrics = [entry(name) for name, metric in METRICS.items() if metric.alone]
    method = Measured(MODEL, method=Entry("s", "saliency"), metrics=metrics, boxes=[[], *BOXES], seed=7)
    together = method.explain(X, item_ids=[1, 2, 3, 4], internal_batch_size=3)
    alone = [method.explain(X[i : i + 1], item_ids=[i + 1]) for i in (1, 3)]
    expected = {name: torch.cat([one.metrics[name] for one in alone]) for name in together.metrics}
    found = {name: values[[1, 3]] for name, values in together.metrics.items()}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert len(together.metrics) == len(METRICS) - 1


def test_rows_of_a_table() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 1)).eval()
    found = compare(model, ROWS)
    assert found.methods[0] == "random"
    assert "edges" not in found.methods
    assert found.maps.shape == (len(found.methods), 5, 6)
    assert all(scores.isfinite().all() for scores in found.scores.values())
    exact = found.methods.index("kernel_shap(samples=160)")
    assert (found.scores["faithfulness_correlation(subsets=40)"][exact] > 0.8).all()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"methods": "neflg"}, "method: expected .*did you mean 'neflag'"),
    ({"methods": "neflag(pionts=3)"}, "methods: expected an option of neflag: .*points.*got 'pionts'"),
    ({"methods": "neflag(points=many)"}, "methods points: expected N, got 'many'"),
    ({"methods": "neflag(points=3"}, r"methods: expected '\)' for each bracket"),
    ({"methods": ["neflag)"]}, "method: expected one of"),
    ({"methods": "saliency,saliency"}, "methods: expected entries that differ, got 'saliency' twice"),
    ({"methods": []}, r"methods: expected names, such as .* got \[\]"),
    ({"methods": "gradcam"}, "options of gradcam: expected a value for 'layer'"),
    ({"methods": "gradcam(layer=3,upsample=false)"}, r"methods: expected maps of the size of the inputs, \(12, 9\)"),
    ({"methods": "bilrp(layer=0)"}, "methods: expected methods that explain one input, got bilrp"),
    ({"metrics": "insertoin"}, "metrics: expected one of .*did you mean 'insertion'"),
    ({"metrics": "insertion(target=3)"}, "metrics: expected an option of insertion: .*got 'target'"),
    ({"metrics": "pointing_game"}, "metrics: expected boxes of what pointing_game shall find"),
    ({"metrics": "pointing_game", "boxes": BOXES[:2]}, "boxes: expected those of item 3, got those of 2"),
    ({"metrics": "sufficiency"}, "metrics: expected metrics of an item by itself"),
    ({"items": ["a"]}, "items: expected 4 names, got 1"),
    ({"inputs": [1]}, r"inputs: expected one tensor or array"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_compared_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    given = {"inputs": X, "methods": "saliency", "metrics": "sparseness", **given}
    with pytest.raises(InputError, match=message):
        compare(MODEL, given.pop("inputs"), **given)


def test_entries_are_read_with_the_options_of_the_command_line() -> None:
    (entry,) = read_methods('random,edges,expected_gradients(samples=4, baselines=["blur",0.5],score=output)')[2:]
    assert entry.text == 'expected_gradients(samples=4,baselines=["blur",0.5],score=output)'
    assert entry.key == "expected_gradients-samples-4-baselines-blur-0.5-score-output"
    assert entry.options == {"samples": 4, "baselines": ["blur", 0.5], "score": "output"}
    (metric,) = read_metrics('insertion_deletion(baselines=["blur",0.5],black=[0,1,0.5])', boxes=False)
    assert metric.options == {"baselines": ["blur", 0.5], "black": [0, 1, 0.5]}


def test_random_maps_depend_on_the_item_alone_and_edges_are_sobels() -> None:
    random = RandomMap(MODEL, seed=3)
    together = random.explain(X, item_ids=[5, 6, 7, 8]).attributions
    assert together.shape == X.shape
    ranks = together.flatten(2).argsort(-1)  # each channel has an order of its own, as "per_channel" needs
    assert not torch.equal(ranks[:, 0], ranks[:, 1])
    assert torch.equal(together[2:3], random.explain(X[2:3], item_ids=[7]).attributions)
    assert abs(float(together.mean()) - 0.5) < 0.05
    kernel = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
    found = Edges(MODEL).explain(X).attributions
    for b, i, j in ((0, 4, 4), (3, 0, 8), (2, 11, 0)):
        expected = 0.0
        for channel in X[b]:
            gx, gy = 0.0, 0.0
            for u in range(3):
                for v in range(3):
                    value = float(channel[min(max(i + u - 1, 0), 11), min(max(j + v - 1, 0), 8)])
                    gx, gy = gx + kernel[u][v] * value, gy + kernel[v][u] * value
            expected += (gx**2 + gy**2) ** 0.5
        assert float(found[b, :, i, j].sum()) == pytest.approx(expected, rel=1e-5)
    assert not {"random", "edges"} & set(xai_fast.methods())
