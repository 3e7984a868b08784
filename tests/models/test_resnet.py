from __future__ import annotations

import torch
from torch import nn

from xai_fast.models.resnet import ResNet18, resnet18_random


def test_it_is_the_network_of_the_paper() -> None:
    model = ResNet18()
    # 18 layers with weights (shortcuts not counted) and 11.7 million parameters.
    projections = sum(isinstance(block.shortcut, nn.Sequential) for stage in model.stages for block in stage)
    weighted = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules())
    assert weighted - projections == 18
    assert projections == 3
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512
    # Output sizes of Table 1.
    sizes = []
    for stage in (model.stem, *model.stages):
        stage.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)
    assert sizes == [(64, 56, 56), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]


def test_random_weights_depend_on_the_seed_only() -> None:
    before = torch.get_rng_state()
    models = [resnet18_random(seed, classes=5) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in models[0].modules())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        first, again, other = (model(x) for model in models)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    # Not saturated, and not blind: the logits differ between classes and between inputs.
    assert 0.05 < first.std() < 5
    assert (first[0] - first[1]).abs().max() > 1e-3
