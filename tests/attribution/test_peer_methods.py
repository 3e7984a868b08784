"""Classes of captum, zennit and pytorch-grad-cam as methods: equal to what their owners call, and counted."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from peers import pytorch_grad_cam, zennit
from torch import Tensor, nn

from xai_fast import LRP
from xai_fast.errors import InputError
from xai_fast.registry import find_method


def model() -> nn.Sequential:
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    rest = [nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)]
    made = nn.Sequential(*first, *rest).eval()
    made[1].running_var.uniform_(0.5, 2.0)
    return made


MODEL = model()
X, TARGETS = torch.rand(3, 3, 10, 10, generator=torch.Generator().manual_seed(1)), [0, 3, 1]


@pytest.mark.parametrize("name", ["EpsilonPlus", "EpsilonGammaBox", "EpsilonAlpha2Beta1Flat"])
def test_zennit_is_lrp_from_the_output(name: str) -> None:
    zennit()
    ours = {"EpsilonPlus": "epsilon_plus", "EpsilonGammaBox": "epsilon_gamma_box"}
    bounds = {"low": 0.0, "high": 1.0} if name == "EpsilonGammaBox" else {}
    found = find_method(f"zennit:{name}")(MODEL, **bounds).explain(X, TARGETS)
    composite = ours.get(name, "epsilon_alpha2_beta1_flat")
    expected = LRP(MODEL, composite=composite, low=0.0, high=1.0, score="output").explain(X, TARGETS)
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.scores, MODEL(X)[range(3), TARGETS])
    assert found.evaluations.tolist() == [1, 1, 1]
    assert isinstance(MODEL[1], nn.BatchNorm2d)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in MODEL.modules())


@pytest.mark.parametrize("name", ["GradCAM", "LayerCAM", "EigenCAM"])
def test_grad_cam_is_called_as_its_owner_does(name: str) -> None:
    package = pytorch_grad_cam()
    of_class = sys.modules["pytorch_grad_cam.utils.model_targets"].ClassifierOutputTarget
    with getattr(package, name)(MODEL, [MODEL[3]]) as cam:
        expected = cam(X.clone(), [of_class(target) for target in TARGETS])
    found = find_method(f"grad_cam:{name}")(MODEL, layer="3").explain(X, TARGETS)
    np.testing.assert_allclose(found.attributions.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert found.evaluations.tolist() == [1, 1, 1]
    assert not any(module._forward_hooks for module in MODEL.modules())


def test_what_peers_ask_of_the_model_is_counted() -> None:
    pytest.importorskip("captum")

    def function(x: Tensor) -> Any:
        return MODEL(x)

    counts = {
        "IntegratedGradients": ({"n_steps": 7}, 7),
        "Saliency": ({}, 1),
        "Occlusion": ({"sliding_window_shapes": (3, 5, 5), "strides": (3, 5, 5)}, 5),
    }
    for name, (options, expected) in counts.items():
        for given in (MODEL, function):
            found = find_method(f"captum:{name}")(given, **options).explain(X, TARGETS)
            assert found.evaluations.tolist() == [expected] * 3, name


REFUSED = {
    "zennit:EpsilonPlus": "zennit:EpsilonPlus needs zennit, which cannot be imported: .*pip install zennit",
    "grad_cam:GradCAM": "grad_cam:GradCAM needs grad-cam, which cannot be imported: .*pip install grad-cam",
    "captum:Saliency": "captum:Saliency needs captum, which cannot be imported: .*pip install captum",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_installed_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("zennit.composites", "pytorch_grad_cam", "captum.attr"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=REFUSED[name]):
        find_method(name)


def test_other_classes_of_peers_are_refused() -> None:
    pytorch_grad_cam()
    with pytest.raises(InputError, match="expected GuidedBackpropReLUModel to be a class of pytorch_grad_cam that exp"):
        find_method("grad_cam:GuidedBackpropReLUModel")
