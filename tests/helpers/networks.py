"""Small networks for the tests: deterministic, quick, and rough enough that NeFLAG's search takes several steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Sine(nn.Module):
    """Sine of a multiple of the input: a bumpy landscape, where the first step often does not turn the flux
    negative."""

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return torch.sin(self.frequency * x)


def smooth_cnn(dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
    """Build a CNN with GELU for (B, 3, 12, 12) and 10 classes."""
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(8 * 25, 10),
        )
        .to(dtype)
        .eval()
    )


def relu_cnn(dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """Build a CNN with in-place ReLU and pooling for (B, 3, 12, 12) and 10 classes."""
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(16 * 9, 10),
        )
        .to(dtype)
        .eval()
    )


def bumpy_mlp(dtype: torch.dtype = torch.float64, seed: int = 0, entries: int = 6) -> nn.Module:
    """Build an MLP of sines for (B, entries) and 3 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(entries, 16), Sine(6.0), nn.Linear(16, 3)).to(dtype).eval()


def images(batch: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    """Draw (B, 3, 12, 12) inputs for the CNNs."""
    return torch.randn(batch, 3, 12, 12, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def vectors(batch: int, dtype: torch.dtype = torch.float64, seed: int = 1, entries: int = 6) -> Tensor:
    """Draw (B, entries) inputs for the MLPs."""
    return torch.randn(batch, entries, dtype=dtype, generator=torch.Generator().manual_seed(seed))
