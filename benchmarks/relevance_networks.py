"""Networks with random weights whose relevance is measured, written as their papers have them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai_fast.models.transformer_encoder import TransformerEncoder

__all__ = ["resnet50", "vgg11_bn", "vit_small"]


def vgg11_bn(hidden: int = 4096, classes: int = 1000) -> nn.Sequential:
    """VGG11 with batch norm (Simonyan and Zisserman 2015, configuration A); ``hidden`` units in its dense layers."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    head = [nn.Linear(512 * 49, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(
        nn.Sequential(*layers), nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head, nn.Linear(hidden, classes)
    ).eval()


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _convolution(inputs, width, 1),
            nn.ReLU(),
            _convolution(width, width, 3, stride),
            nn.ReLU(),
            _convolution(width, 4 * width, 1),
        )
        same = stride == 1 and inputs == 4 * width
        self.shortcut = nn.Identity() if same else _convolution(inputs, 4 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return (self.branch(x) + self.shortcut(x)).relu()


def resnet50() -> nn.Sequential:
    """ResNet-50 (He et al. 2016, Table 1)."""
    layers: list[nn.Module] = [_convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(count):
            layers.append(_Bottleneck(channels, width, stride if block == 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)).eval()


class _VisionTransformer(nn.Module):
    def __init__(self, patches: nn.Module, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.patches, self.encoder, self.head = patches, encoder, head

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)))
        return outputs


def vit_small(depth: int = 6) -> nn.Module:
    """ViT-S/16 (Touvron et al. 2021) at 224 x 224, with fewer blocks, each with half the units in its MLP."""
    torch.manual_seed(0)
    encoder = TransformerEncoder(length=196, width=384, depth=depth, heads=6)
    return _VisionTransformer(nn.Conv2d(3, 384, 16, 16), encoder, nn.Linear(384, 1000)).eval()
