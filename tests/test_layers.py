"""Layers are found by name and by identity, and what they give is captured."""

from __future__ import annotations

import threading
from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn

from xai_fast.engine.layers import capture_output, find_layer
from xai_fast.errors import InputError
from xai_fast.models.resnet import resnet18_random

Pair = namedtuple("Pair", "values rest")


class Odd(nn.Module):
    """A layer that is shared by two names, one that runs twice, one that never runs, and outputs of many kinds."""

    def __init__(self, output: str = "tensor") -> None:
        super().__init__()
        self.once = nn.Linear(3, 3)
        self.alias = self.once
        self.twice = nn.Linear(3, 3)
        self.never = nn.Linear(3, 3)
        self.kind = Kind(output)
        self.inplace = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.kind(self.twice(self.twice(self.once(x))))
        while not isinstance(y, Tensor):
            y = y["x"] if isinstance(y, dict) else y[0]
        return self.inplace(y)


class Kind(nn.Module):
    def __init__(self, output: str) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> object:
        x = x - 1
        return {
            "tensor": x,
            "tuple": (x, None),
            "namedtuple": Pair(x, None),
            "list": [x],
            "dict": {"x": x},
            "nested": ((x,),),
        }[self.output]


RESNET = resnet18_random()
WRONG = {
    "no such name": (RESNET, "stages.0.0.conv9", r"near that name, such as 'stages\.0\.0\.conv\d'.*got 'stages"),
    "front of the name left out": (RESNET, "conv1", r"'stages\.0\.0\.conv1', 'stages\.0\.1\.conv1', .*\.\.\."),
    "nothing near": (RESNET, "xyzzy", r"the name of a layer, such as 'stem', 'stages', 'pool', 'fc' "),
    "the whole model": (RESNET, RESNET, "a layer inside the model, got the whole model"),
    "empty name": (RESNET, "", "a layer inside the model, got the whole model"),
    "another model's": (RESNET, nn.Linear(2, 2), "a submodule of ResNet18, got a Linear outside it"),
    "a number": (RESNET, 3, "a submodule or its dotted name, got int"),
    "no submodules": (nn.Linear(2, 2), "fc", "has no submodules"),
    "a function": (torch.relu, "fc", "model: expected a torch.nn.Module"),
}


@pytest.mark.parametrize("case", WRONG)
def test_layers_that_are_not_there(case: str) -> None:
    model, layer, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        find_layer(model, layer)


def test_layers_are_found_by_name_and_by_identity() -> None:
    model = Odd()
    assert find_layer(model, "once") == find_layer(model, model.once) == ("once", model.once)
    assert find_layer(model, "alias") == ("alias", model.once)
    assert find_layer(RESNET, "stages.3.1")[1] is RESNET.stages[3][1]


@pytest.mark.parametrize("output", ["tensor", "tuple", "namedtuple"])
@pytest.mark.parametrize("cut", [False, True])
def test_the_output_is_captured_before_what_works_in_place(output: str, cut: bool) -> None:
    model, x = Odd(output), torch.randn(4, 3)
    expected = model(x)
    with capture_output(model, "kind", cut=cut) as captured:
        got = model(x)
    assert torch.equal(got, expected)
    assert (captured.tensor < 0).any()
    assert torch.equal(captured.tensor, model.twice(model.twice(model.once(x))) - 1)
    (gradient,) = torch.autograd.grad(got.sum(), captured.tensor)
    assert torch.equal(gradient, (captured.tensor > 0).float())
    assert captured.tensor.is_leaf == cut


RUNS = {"twice": "twice, which ran 2 times", "never": "never, which did not run"}


@pytest.mark.parametrize("layer", RUNS)
def test_how_often_a_layer_ran_is_said(layer: str) -> None:
    model = Odd()
    with capture_output(model, layer) as captured:
        model(torch.randn(4, 3))
    with pytest.raises(InputError, match=f"^layer: expected a layer that runs once.*got {RUNS[layer]}"):
        _ = captured.tensor


OUTPUTS = {
    "list": "got kind: list",
    "dict": "got kind: dict",
    "nested": "got kind: a tuple that starts with tuple",
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs_without_a_tensor_are_refused_and_the_hook_is_gone(output: str) -> None:
    model = Odd(output)
    with pytest.raises(InputError, match=OUTPUTS[output]), capture_output(model, "kind"):
        model(torch.randn(4, 3))
    assert not model.kind._forward_hooks
    model(torch.randn(4, 3))


def test_passes_of_other_threads_are_not_seen() -> None:
    model, x = Odd(), torch.randn(4, 3)
    with capture_output(model, "once") as captured:
        other = threading.Thread(target=model, args=(torch.randn(4, 3),))
        other.start()
        other.join()
        model(x)
    assert torch.equal(captured.tensor, model.once(x))
