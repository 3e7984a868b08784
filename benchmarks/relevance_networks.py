"""Networks with random weights whose relevance is measured, written as their papers have them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai_fast.models.transformer_encoder import TransformerEncoder

__all__ = ["efficientnet_lite0", "resnet50", "vgg11_bn", "vit_base", "vit_small"]


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


def resnet50(width: int = 64) -> nn.Sequential:
    """ResNet-50 (He et al. 2016, Table 1), where the first stage has ``width`` channels."""
    layers: list[nn.Module] = [_convolution(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, (count, stride) in enumerate(((3, 1), (4, 2), (6, 2), (3, 2))):
        for block in range(count):
            layers.append(_Bottleneck(channels, width << stage, stride if block == 0 else 1))
            channels = 4 * width << stage
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


def vit_base(depth: int = 12, width: int = 768) -> nn.Module:
    """ViT-B/16 (Dosovitskiy et al. 2021, Table 1) at 224 x 224; ``depth`` and ``width`` for a smaller one."""
    torch.manual_seed(0)
    encoder = TransformerEncoder(length=196, width=width, depth=depth, heads=12)
    for block in encoder.blocks:
        block.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    return _VisionTransformer(nn.Conv2d(3, width, 16, 16), encoder, nn.Linear(width, 1000)).eval()


class _InvertedBottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, side: int, stride: int) -> None:
        super().__init__()
        width = expansion * inputs
        wider = [_convolution(inputs, width, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = nn.Conv2d(width, width, side, stride, side // 2, groups=width, bias=False)
        self.layers = nn.Sequential(
            *wider, depthwise, nn.BatchNorm2d(width), nn.ReLU6(), _convolution(width, outputs, 1)
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layers(x)
        return x + outputs if self.skips else outputs


def efficientnet_lite0() -> nn.Sequential:
    """EfficientNet-Lite0: EfficientNet-B0 (Tan and Le 2019, Table 1) without squeeze and excitation, and with ReLU6.

    Of pictures of 224 x 224, the output of layer "1.10", its 11th block, has 14 x 14 positions.
    """
    blocks: list[nn.Module] = []
    channels = 32
    stages = ((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3))
    for expansion, outputs, side, stride, count in (*stages, (6, 112, 5, 1, 3), (6, 192, 5, 2, 4), (6, 320, 3, 1, 1)):
        for block in range(count):
            blocks.append(_InvertedBottleneck(channels, outputs, expansion, side, stride if block == 0 else 1))
            channels = outputs
    stem = nn.Sequential(_convolution(3, 32, 3, 2), nn.ReLU6())
    head = nn.Sequential(_convolution(320, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(stem, nn.Sequential(*blocks), head, nn.Linear(1280, 1000)).eval()
