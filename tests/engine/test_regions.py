"""Targets inside outputs with positions, against the model that its owner would write for each."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xai_fast
from xai_fast import InputError

OPTIONS: dict[str, dict[str, Any]] = {
    "gradient_x_input": {"score": "output"},
    "neflag": {"points": 2, "radius": 0.3},
    "gradcam": {"layer": "0"},
    "lrp": {"composite": "epsilon_plus"},
    "guided_backprop": {},
    "taylor_cam": {"layer": "1"},
}
ROUNDING = {"lrp": 1e-4}
"""What the stabilisers of sums take depends on how a mean is written."""
MASK = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]]).bool()
ITEMS = 3


def segmentation() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 4, 3, padding=1)).double().eval()


class Averaged(nn.Sequential):
    """The model with an output that a plain target can name."""

    def __init__(self, model: nn.Sequential, weights: Tensor) -> None:
        super().__init__(*model)
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,hw->bc", super().forward(x), self.weights.to(x.dtype)) / self.weights.sum()


def one_place(i: int, j: int) -> Tensor:
    weights = torch.zeros(4, 5, dtype=torch.float64)
    weights[i, j] = 1
    return weights


CASES: dict[str, tuple[object, object, Tensor]] = {
    "a class and a mask": ((2, MASK), 2, MASK.double()),
    "weights, as an array": ((1, (MASK * 2.5).numpy()), 1, MASK.double()),
    "a class per item": (([0, 3, 1], MASK), [0, 3, 1], MASK.double()),
    "the predicted class": ((None, MASK), None, MASK.double()),
    "an entry": ((3, 2, 4), 3, one_place(2, 4)),
    "an entry per item": ([(0, 1, 2), (3, 1, 2), (1, 1, 2)], [0, 3, 1], one_place(1, 2)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", OPTIONS)
def test_methods_explain_the_mean_over_a_region(name: str, case: str) -> None:
    target, plain, weights = CASES[case]
    model, x = segmentation(), torch.randn(ITEMS, 3, 4, 5, dtype=torch.float64)
    method = xai_fast.methods()[name]
    got = method(model, **OPTIONS[name]).explain(x, target, internal_batch_size=2)
    expected = method(Averaged(model, weights).eval(), **OPTIONS[name]).explain(x, plain)
    scale = float(expected.attributions.abs().max())
    torch.testing.assert_close(got.attributions, expected.attributions, rtol=0, atol=ROUNDING.get(name, 1e-10) * scale)
    torch.testing.assert_close(got.scores, expected.scores)
    assert torch.equal(got.targets, expected.targets)
    assert got.settings == expected.settings
    assert not any(m._forward_hooks for m in model.modules())


def test_each_item_has_its_mask() -> None:
    x, masks = torch.randn(ITEMS, 3, 4, 5, dtype=torch.float64), torch.rand(ITEMS, 4, 5) + 0.1
    method = xai_fast.GradientXInput(segmentation(), score="output")
    whole = method.attribute(x, (1, masks))
    for i in range(ITEMS):
        alone = method.attribute(x[i : i + 1], (1, masks[i]))
        torch.testing.assert_close(whole[i : i + 1], alone, rtol=0, atol=1e-12)


class Other(nn.Module):
    """Outputs of another kind, and an argument by name."""

    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.inner, self.wrap = segmentation(), wrap
        self.eval()

    def forward(self, x: Tensor, *, gain: Tensor | float = 1.0) -> object:
        return self.wrap(self.inner(x) * gain)


@pytest.mark.parametrize(
    "wrap", [lambda z: {"out": z, "aux": z}, lambda z: SimpleNamespace(logits=z), lambda z: z.flatten(2)]
)
def test_outputs_of_other_kinds_and_arguments_by_name(wrap: Callable[[Tensor], object]) -> None:
    x, gain = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.tensor([2.0, -3.0]).double().view(2, 1, 1, 1)
    mask = MASK.flatten() if wrap(x).__class__ is Tensor else MASK
    plain = xai_fast.GradientXInput(segmentation(), score="output").attribute(x, (1, MASK))
    got = xai_fast.GradientXInput(Other(wrap), score="output").attribute(x, (1, mask), {"gain": gain})
    torch.testing.assert_close(got, plain * gain)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")
def test_an_entry_is_named_as_captum_names_it() -> None:
    captum = pytest.importorskip("captum.attr")
    model, x = segmentation(), torch.randn(ITEMS, 3, 4, 5, dtype=torch.float64)
    for target in ((2, 3, 1), [(0, 0, 0), (2, 3, 4), (1, 2, 2)]):
        expected = captum.Saliency(model).attribute(x, target=target)
        torch.testing.assert_close(xai_fast.Saliency(model, score="output").attribute(x, target), expected)


WRONG: dict[str, tuple[object, str]] = {
    "the mask's shape": ((0, MASK.T), r"target: expected a mask \(4, 5\) or \(3, 4, 5\) .*got torch.bool \(5, 4\)"),
    "an empty mask": ((0, MASK & ~MASK), "target: expected a mask with a place in it for each item"),
    "negative weights": ((0, -MASK.float()), "target: expected a mask"),
    "NaN": ((0, MASK * torch.nan), "target: expected a mask"),
    "the class": ((4, MASK), "target: expected classes from 0 to 3, got 4"),
    "a place outside": ((0, 4, 0), r"target: expected \(class, mask\).*places are in \(4, 5\), got \(0, 4, 0\)"),
    "too few places": ((0, 1), "target: expected"),
    "entries for other items": ([(0, 1, 2)], "target: expected"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_gets_a_named_error(wrong: str) -> None:
    target, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        xai_fast.Saliency(segmentation()).explain(torch.randn(ITEMS, 3, 4, 5, dtype=torch.float64), target)


def test_outputs_without_positions_are_told_what_a_tuple_means() -> None:
    model = nn.Linear(3, 4).eval()
    with pytest.raises(InputError, match=r"target: expected outputs \(B, C, ...\).*a class per item comes in a list"):
        xai_fast.Saliency(model).explain(torch.randn(2, 3), (0, 1))


def test_a_box_of_a_detector_is_explained_through_a_callable() -> None:
    """The class probability of a detector's queries, weighted by how well their boxes cover a given one."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 32],
        patch_size=8,
        num_detection_tokens=5,
        num_labels=3,
    )
    detector, x = transformers.YolosForObjectDetection(config).eval(), torch.rand(2, 3, 32, 32)
    wanted = torch.tensor([0.2, 0.2, 0.7, 0.6])  # left, top, right, bottom as parts of the picture

    def score(outputs: Any) -> Tensor:
        center, size = outputs.pred_boxes[..., :2], outputs.pred_boxes[..., 2:]
        low, high = center - size / 2, center + size / 2
        both = (torch.minimum(high, wanted[2:]) - torch.maximum(low, wanted[:2])).clamp(min=0).prod(-1)
        overlap = both / (size.prod(-1) + (wanted[2:] - wanted[:2]).prod() - both)
        return (overlap * outputs.logits.softmax(-1)[..., 1]).amax(1)

    explanation = xai_fast.GradientXInput(detector).explain(x, score)
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(score(detector(leaf)).sum(), leaf)[0] * x
    torch.testing.assert_close(explanation.attributions, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(explanation.scores, score(detector(x)).detach())
