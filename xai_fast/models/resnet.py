"""ResNet-18, layer by layer as published.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1 (18 layers, projection
shortcuts where the shape changes: option B) with batch normalisation after each convolution (Section 3.4).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

__all__ = ["BasicBlock", "ResNet18", "resnet18_random"]


def _conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first with the stride, and a shortcut around them (Fig. 2 and Fig. 5, left).

    The shortcut is a 1x1 projection where the stride is not 1 or the channels change.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv3x3(outputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Run the block: x is (B, inputs, H, W), the result (B, outputs, ceil(H / stride), ceil(W / stride))."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        outputs: Tensor = self.relu(residual + self.shortcut(x))
        return outputs


class ResNet18(nn.Module):
    """The 18-layer network of Table 1: a 7x7 stem, eight blocks in four stages, average pooling, one linear layer."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False),
                bn=nn.BatchNorm2d(64),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            )
        )
        stages = []
        inputs = 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            stages.append(nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, C) of images (B, 3, H, W)."""
        logits: Tensor = self.fc(self.pool(self.stages(self.stem(x))).flatten(1))
        return logits


def resnet18_random(seed: int = 0, classes: int = 1000) -> ResNet18:
    """Return a ResNet-18 in evaluation mode with random weights, the same at each call; no global random state changes.

    The convolutions are drawn as in He et al., "Delving Deep into Rectifiers", ICCV 2015 (fan out), and the second
    normalisation of each block is scaled by 1/2, so that activations keep their size through the eight blocks and the
    probabilities of the untrained network are not saturated.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNet18(classes)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, BasicBlock):
                nn.init.constant_(module.bn2.weight, 0.5)
    return model.eval()
