"""The maps of pytorch-grad-cam, before it scales them; where it differs, the test says how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from networks import images, relu_cnn
from peers import pytorch_grad_cam
from torch import Tensor, nn
from torch.nn import functional as F

from xai_fast import AblationCAM, EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    package = pytorch_grad_cam()
    monkeypatch.setattr("tqdm.tqdm", lambda batches: batches)
    return package


def unscaled(cams: Any, _size: object = None) -> Any:
    return np.float32(cams)


def model(gain: float = 1.0) -> nn.Sequential:
    made = relu_cnn()
    with torch.no_grad():
        made[7].weight.mul_(gain)
    return made


X, TARGETS = images(3, torch.float32), [1, 4, 7]
LAST = "5"
"""A ReLU: pytorch-grad-cam ablates a layer without zeros by its minimum minus 1e7 (the paper: by zero)."""


def theirs(peer: Any, name: str, made: nn.Sequential, layers: list[str], **smooth: bool) -> Tensor:
    of_class = peer.utils.model_targets.ClassifierOutputTarget
    with getattr(peer, name)(made, [made[int(layer)] for layer in layers]) as cam:
        return torch.as_tensor(cam(X.clone(), [of_class(target) for target in TARGETS], **smooth))


def assert_same(ours: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


PAIRS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "GradCAM": (GradCAM, {}),
    "HiResCAM": (HiResCAM, {}),
    "LayerCAM": (LayerCAM, {}),
    "ScoreCAM": (ScoreCAM, {}),
    "AblationCAM": (AblationCAM, {}),
    "EigenCAM": (EigenCAM, {"centered": True, "relu": False}),  # it subtracts the mean of each channel
    "GradCAMPlusPlus": (GradCAMPlusPlus, {}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_maps(peer: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", unscaled)
    # The masks are resized with the centres of the corner pixels in one place; here, as everywhere, the corners are.
    monkeypatch.setattr(
        nn, "UpsamplingBilinear2d", lambda size: lambda a: F.interpolate(a, size, mode="bilinear", align_corners=False)
    )
    # It adds 1e-6 to the square of the gradients in GradCAMPlusPlus: these have to be larger.
    made = model(300.0 if name == "GradCAMPlusPlus" else 1.0)
    method, options = PAIRS[name]
    found = method(made, LAST, **options).explain(X, TARGETS)
    ours, expected = found.attributions, theirs(peer, name, made, [LAST])
    if name == "AblationCAM":
        # It divides by the score, so that the weights of a negative one have the wrong sign.
        positive = found.scores > 0
        ours, expected = ours[positive], expected[positive]
    if name == "EigenCAM":
        # The sign is that of the decomposition; here the largest magnitude is positive. It takes the positive part.
        same = (ours.relu() - expected).abs().flatten(1).amax(1) < (ours.neg().relu() - expected).abs().flatten(1).amax(
            1
        )
        ours = torch.where(same[:, None, None], ours, -ours).relu()
    assert_same(ours, expected)


@pytest.mark.parametrize("name", ["GradCAM", "LayerCAM", "EigenCAM"])
def test_smoothing(peer: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It averages scaled maps; here they keep their units."""
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", unscaled)
    if name == "EigenCAM":
        monkeypatch.setattr("pytorch_grad_cam.eigen_cam.get_2d_projection", largest_positive)
    method, options = PAIRS[name]
    made = model()
    ours = method(made, LAST, **{**options, "relu": True}, smooth=True).attribute(X, TARGETS)
    assert_same(ours, theirs(peer, name, made, [LAST], aug_smooth=True))


def largest_positive(activations: Any) -> Any:
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

    return get_2d_projection_with_sign_correction(activations)


def test_several_layers(peer: Any) -> None:
    """It scales each map by its minimum too, which is 0 here, and scales the mean again."""
    made, layers = model(), ["2", LAST]
    ours = HiResCAM(made, layers, upsample=True).attribute(X, TARGETS)
    for layer in layers:
        assert (HiResCAM(made, layer).attribute(X, TARGETS).flatten(1).amin(1) == 0).all()
    low, high = (getattr(ours.flatten(1), name)(1)[:, None, None] for name in ("amin", "amax"))
    assert_same((ours - low) / (high - low), theirs(peer, "HiResCAM", made, layers))
