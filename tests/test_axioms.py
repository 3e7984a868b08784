"""Axioms measured on methods of which it is known what they keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import bumpy_mlp, images, relu_cnn, smooth_cnn, vectors
from torch import Tensor
from typing_extensions import override

from xai_fast import (
    LRP,
    DeepLIFT,
    Explanation,
    FeatureAblation,
    GradCAM,
    GradientXInput,
    GuidedBackprop,
    InputError,
    IntegratedGradients,
    KernelSHAP,
    Method,
    Saliency,
    SmoothGrad,
    methods,
)
from xai_fast.axioms import AXIOMS, CLAIMS, check
from xai_fast.engine.call import Call


class Wrong(Method[Explanation]):
    """Attributions that keep no axiom: of everything the same, and of the first entry less the larger the score."""

    @override
    def _explain(self, call: Call) -> Explanation:
        outputs = call.run(call.take(range(call.batch)), call.positions(range(call.batch)))
        targets = call.targets(outputs, range(call.batch))
        scores = call.objective(outputs, targets)
        x = call.values[0]
        maps = 2 + (x**3).flatten(1).cumsum(1).view_as(x).sin() - scores.view(-1, *[1] * (x.ndim - 1)) ** 3
        return Explanation(
            attributions=maps, scores=scores, targets=targets, evaluations=torch.ones_like(call.item_ids)
        )


def linear() -> torch.nn.Module:
    torch.manual_seed(2)
    return torch.nn.Linear(6, 3, bias=False).double().eval()


ALL = set(AXIOMS)
GRADIENTS = {"sensitivity_b", "linearity", "implementation_invariance"}
PATHS = GRADIENTS | {"completeness", "sensitivity_a", "symmetry", "missingness"}
CASES: list[tuple[str, Any, Tensor, set[str], set[str]]] = [
    ("everything on a linear model", GradientXInput(linear(), score="logit"), vectors(3), ALL, set()),
    ("integrated gradients", IntegratedGradients(smooth_cnn(), steps=80), images(2), PATHS, {"conservation"}),
    ("its baseline", IntegratedGradients(bumpy_mlp(), steps=64, baseline=0.3), vectors(3), PATHS, {"conservation"}),
    ("magnitudes", Saliency(relu_cnn(torch.float64)), images(2), {"sensitivity_b"}, {"linearity", "completeness"}),
    ("guided", GuidedBackprop(relu_cnn(torch.float64)), images(3), set(), {"implementation_invariance"}),
    ("Kernel SHAP, exact", KernelSHAP(bumpy_mlp()), vectors(3), PATHS | {"consistency"}, {"conservation"}),
    ("ablation", FeatureAblation(bumpy_mlp()), vectors(3), GRADIENTS | {"missingness"}, {"completeness"}),
    ("DeepLIFT", DeepLIFT(relu_cnn(torch.float64)), images(2), {"completeness", "missingness"}, {"conservation"}),
    ("noise", SmoothGrad(bumpy_mlp(), samples=5), vectors(3), GRADIENTS, {"missingness", "completeness"}),
    (
        "wrong",
        Wrong(bumpy_mlp()),
        vectors(3),
        set(),
        ALL - {"sensitivity_a", "consistency", "implementation_invariance"},
    ),
]


@pytest.mark.parametrize(("method", "x", "kept", "broken"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_what_is_kept_and_what_is_broken(method: Any, x: Tensor, kept: set[str], broken: set[str]) -> None:
    found = check(method, x)
    assert list(found) == list(AXIOMS)
    for name, axiom in found.items():
        assert axiom.reason == ""
        assert axiom.defect.shape == axiom.holds.shape == (len(x),)
        assert axiom.claimed == (name in CLAIMS.get(method.name, ()))
        if name in kept:
            assert axiom.holds.all(), (name, axiom.defect)
        if name in broken:
            assert not axiom.holds.all(), (name, axiom.defect)


def test_a_zero_map_where_one_feature_changes_the_score() -> None:
    """Gradients of a ReLU that is off at the item: the example of Sundararajan et al., section 2.1."""
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.Linear(1, 1)).double().eval()
    for layer, weight, bias in ((model[0], -1.0, 1.0), (model[2], -1.0, 1.0)):
        layer.weight.data.fill_(weight)
        layer.bias.data.fill_(bias)

    class Two(torch.nn.Module):
        """The second feature counts for nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x[:, :1])

    x = torch.tensor([[2.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    assert check(GradientXInput(Two().eval()), x)["sensitivity_a"].defect.tolist() == [1, 0]
    assert check(IntegratedGradients(Two().eval()), x)["sensitivity_a"].defect.tolist() == [0, 0]


def test_less_credit_for_more_effect_is_inconsistent() -> None:
    class Against(Wrong):
        """The attribution of an entry is what the score loses by it, with the wrong sign."""

        @override
        def _explain(self, call: Call) -> Explanation:
            return FeatureAblation(self.model)._explain(call)._changed(lambda t: -t if t.is_floating_point() else t)

    assert check(Against(linear()), vectors(3))["consistency"].defect.tolist() == pytest.approx([1, 1, 1])


def test_maps_of_a_layer_are_measured_as_far_as_they_can_be() -> None:
    found = check(GradCAM(smooth_cnn(), "3"), images(2))
    measured = {name for name, axiom in found.items() if axiom.defect is not None}
    assert measured == {"completeness", "linearity", "implementation_invariance", "conservation"}
    assert "have no entry per feature" in found["symmetry"].reason
    assert found["symmetry"].holds is None


def test_relevance_is_conserved_without_biases() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 9, bias=False), torch.nn.ReLU(), torch.nn.Linear(9, 3, bias=False))
    found = check(LRP(model.double().eval(), composite="epsilon", score="logit"), vectors(3))
    assert found["conservation"].claimed
    assert found["conservation"].holds.all()


def test_items_do_not_depend_on_their_batch() -> None:
    method, x = SmoothGrad(bumpy_mlp(), samples=4), vectors(3)
    whole = check(method, x, item_ids=[4, 2, 7], target=[0, 1, 2])
    for item in range(3):
        alone = check(method, x[item : item + 1], item_ids=[[4, 2, 7][item]], target=item)
        for name, axiom in alone.items():
            torch.testing.assert_close(axiom.defect, whole[name].defect[item : item + 1], rtol=1e-6, atol=1e-9)


def test_additional_arguments_and_single_outputs() -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return (x * scale).sum(1)

    x = vectors(3)
    found = check(GradientXInput(Scaled().eval()), x, additional_forward_args=vectors(3, seed=5))
    assert all(axiom.holds.all() for axiom in found.values())


def test_claims_are_about_methods_and_axioms() -> None:
    assert CLAIMS.keys() <= methods().keys()
    assert {name for names in CLAIMS.values() for name in names} <= ALL


def test_errors_name_the_argument() -> None:
    with pytest.raises(InputError, match="tolerance: expected"):
        check(Saliency(linear()), vectors(1), tolerance=0)
    with pytest.raises(InputError, match="method: expected"):
        check(linear(), vectors(1))
