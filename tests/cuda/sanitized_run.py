"""Run every case of some kernels on a device once, in a process that a sanitizer watches."""

from __future__ import annotations

import sys

import torch
from kernel_checks import ALL_CASES, assert_right, run_on

device, *operators = sys.argv[1:]
for operator, case in ALL_CASES:
    if operator in operators:
        assert_right(operator, case, run_on(operator, case, torch.device(device), guards=1))
print("all cases are right")
