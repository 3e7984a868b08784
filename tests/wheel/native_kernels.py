"""Runs the compiled kernels of the package that is installed, and compares them with plain PyTorch: a program.

Prints the folder of the package and the instruction set. The wheels of every platform are tried with it.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

import xai_fast
from xai_fast import LRP, NeFLAG, backends, native, use_backend

importlib.import_module("xai_fast.kernels")
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 7 * 7, 5)
).eval()
images = torch.rand(3, 3, 15, 15)

reasons = {kernel: backends.why(kernel, (images,))["native"] for kernel in backends.kernel_names()}
cannot_run = {kernel: reason for kernel, reason in reasons.items() if reason is not None}
if cannot_run or not reasons:
    raise SystemExit(f"the native kernels cannot run: {cannot_run}")
maps = {}
for backend in ("native", "reference"):
    with use_backend(backend):
        neflag = NeFLAG(model, radius=0.3, points=6).attribute(images, target=2)
        maps[backend] = torch.stack([neflag, LRP(model).attribute(images, target=2)])
torch.testing.assert_close(maps["native"], maps["reference"], rtol=1e-4, atol=1e-6)
print(Path(xai_fast.__file__).parent)
print(native.module().isa())
