"""Token ids: what is explained is the output of their embedding, and whatever belongs to an item goes along with it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from xai_fast import Explanation, GradCAM, InputError, Method, NeFLAG, TaylorCAM
from xai_fast.attribution.neflag_reference import neflag_reference
from xai_fast.engine.call import Call
from xai_fast.metrics import insertion_deletion

WALK = {"radius": 0.2, "points": 3, "max_steps": 3}


class Reader(nn.Module):
    """Pools embedded tokens that are not masked; positions are batch first or sequence first inside."""

    def __init__(self, sequence_first: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 6)
        self.places = nn.Embedding(5, 6)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
        self.sequence_first = sequence_first

    def forward(self, ids: Tensor, mask: Tensor | None = None, *, scale: Tensor | float = 1.0) -> SimpleNamespace:
        embedded = self.words(ids.T).transpose(0, 1) if self.sequence_first else self.words(ids)
        return SimpleNamespace(logits=self.read(embedded, mask, scale=scale))

    def read(self, embedded: Tensor, mask: Tensor | None = None, *, scale: Tensor | float = 1.0) -> Tensor:
        read = (embedded + self.places.weight[: embedded.shape[1]]).tanh()
        read = read if mask is None else read * mask[:, :, None]
        return self.body(read.sum(1)) * scale


IDS = torch.randint(12, (5, 5), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(5) < torch.tensor([[5], [2], [4], [3], [5]])).double()


def reader(sequence_first: bool = False) -> Reader:
    torch.manual_seed(0)
    return Reader(sequence_first).double().eval()


@pytest.mark.parametrize("sequence_first", [False, True])
@pytest.mark.parametrize(
    "given", [None, MASK, {"mask": MASK}, {"scale": 2.0, "mask": MASK}], ids=["alone", "mask", "keyword", "keywords"]
)
def test_neflag_of_embeddings_is_the_literal_algorithm_on_them(sequence_first: bool, given: object) -> None:
    model = reader(sequence_first)
    method = NeFLAG(model, embeddings="words", **WALK)
    found = method.explain(IDS, additional_forward_args=given)
    scale = given.get("scale", 1.0) if isinstance(given, dict) else 1.0
    embedded = model.words(IDS).detach()
    for i in range(len(IDS)):
        mask = None if given is None else MASK[i : i + 1]
        maps, _, _ = neflag_reference(
            lambda at, mask=mask: model.read(at, mask, scale=scale), embedded[i : i + 1], item_ids=[i], **WALK
        )
        torch.testing.assert_close(found.attributions[i : i + 1], maps)
    own = model(IDS, None if given is None else MASK, scale=scale).logits.detach()
    assert torch.equal(found.scores, own.softmax(1).amax(1))
    assert torch.equal(found.targets, own.argmax(1))
    few = method.explain(IDS[2:], None, _rows(given), item_ids=[2, 3, 4], internal_batch_size=2)
    torch.testing.assert_close(few.attributions, found.attributions[2:])
    assert not model.words._forward_hooks


def _rows(given: object) -> object:
    if isinstance(given, dict):
        return {name: value[2:] if isinstance(value, Tensor) else value for name, value in given.items()}
    return given[2:] if isinstance(given, Tensor) else given


class Gradient(Method[Explanation]):
    """The smallest method that asks for embeddings."""

    embeddings = "words"

    def _explain(self, call: Call) -> Explanation:
        (x,) = call.values
        item = torch.arange(call.batch)
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            outputs = call.run([x], item)
            targets = call.targets(outputs, range(call.batch))
            scores = call.objective(outputs, targets)
            (gradient,) = torch.autograd.grad(scores.sum(), x)
        return Explanation(attributions=gradient, scores=scores.detach(), targets=targets, evaluations=item)


def test_any_method_gets_embeddings_for_nothing() -> None:
    model = reader()
    embedded = model.words(IDS).detach().requires_grad_()
    model.read(embedded, MASK).softmax(1).amax(1).sum().backward()
    torch.testing.assert_close(Gradient(model).attribute(IDS, None, MASK), embedded.grad)


def test_half_precision_and_further_inputs() -> None:
    model = reader().bfloat16()
    found = NeFLAG(model, embeddings=model.words, **WALK).explain((IDS, MASK))
    assert found.attributions.shape == (5, 5, 6)
    assert found.attributions.dtype == torch.float32
    assert found.settings["embeddings"] == "words"
    assert torch.equal(found.targets, model(IDS, MASK.bfloat16()).logits.argmax(1))


def test_layers_take_ids_as_they_are() -> None:
    model = nn.Sequential(nn.Embedding(12, 6), nn.GELU(), nn.Flatten(), nn.Linear(30, 3)).eval()
    for method in (GradCAM(model, "1"), TaylorCAM(model, "1")):
        assert method.attribute(IDS).shape[:2] == (5, 5)


WRONG = {
    "no such layer": ("word", r"^embeddings: layer: expected a layer near that name, such as 'words'"),
    "no row per item": ("places", r"^embeddings: layer: expected a layer that runs"),
    "one row": ("body", r"^embeddings: .*5 items, got body: torch.float64 \(1, 3\)"),
}


@pytest.mark.parametrize(("layer", "message"), WRONG.values(), ids=WRONG)
def test_wrong_layers_are_refused(layer: str, message: str) -> None:
    model = reader()
    model.body.register_forward_hook(lambda _module, _inputs, output: output.sum(0, keepdim=True))
    with pytest.raises(InputError, match=message):
        NeFLAG(model, embeddings=layer).explain(IDS)


def test_ids_without_embeddings_say_what_to_do() -> None:
    model = reader()
    for call in (lambda: NeFLAG(model).explain(IDS), lambda: insertion_deletion(model, IDS, IDS.double())):
        with pytest.raises(InputError, match=r"inputs: .*got torch.int64 .*embeddings=.*Taylor-CAM and methods that"):
            call()
    with pytest.raises(InputError, match="compile: expected False with embeddings"):
        NeFLAG(model, embeddings="words", compile=True)
