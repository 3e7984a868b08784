"""The contract of every registered method."""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import xai_fast
from xai_fast import GNNLRP, Explanation, InputError, KernelKMeans, Method, ModelError, neuralize
from xai_fast.interaction import HStatistic, ShapleyInteractions
from xai_fast.registry import find_method

OPTIONS: dict[str, dict[str, Any]] = {
    "neflag": {"radius": 0.3, "points": 3},
    "guided_ig": {"steps": 5},
    "blur_ig": {"steps": 5, "sigma": 2.0},
    "agi": {"max_steps": 4, "low": 0.0, "high": 1.0},
    "gradcam": {"layer": "1"},
    "gradcam_plus_plus": {"layer": "1"},
    "hires_cam": {"layer": "1", "smooth": True},
    "layer_cam": {"layer": ["0", "1"], "upsample": True},
    "score_cam": {"layer": "1"},
    "ablation_cam": {"layer": "1"},
    "eigen_cam": {"layer": "1"},
    "guided_gradcam": {"layer": "1", "against": True},
    "saliency": {},
    "gradient_x_input": {},
    "integrated_gradients": {"steps": 5, "baseline": 0.1},
    "smoothgrad": {"samples": 3},
    "expected_gradients": {"samples": 6},
    "gradient_shap": {"samples": 4, "noise": 0.1},
    "lrp": {"composite": "epsilon_plus", "layer": ["1"]},
    "deconvolution": {},
    "guided_backprop": {"times_input": True},
    "deeplift": {"baseline": 0.2},
    "fullgrad": {},
    "deepshap": {"baselines": [0.0, "blur", 0.4]},
    "occlusion": {"window": [4, 3], "stride": 2},
    "rise": {"masks": 12, "grid": 3},
    "feature_ablation": {"features": 3, "baseline": "blur"},
    "shapley_sampling": {"features": 3, "permutations": 4, "baseline": "mean"},
    "quantitative_input_influence": {"features": 2, "permutations": 4, "baseline": [[[[0.1]]], [[[0.6]]]]},
    "lime": {"features": 3, "samples": 40},
    "kernel_shap": {"features": [2, 3], "samples": 40, "baseline": [0.2, 0.3, 0.5]},
    "taylor_cam": {"layer": "1"},
    "removal_interactions": {"layer": "1", "shortlist": 4},
    "captum:IntegratedGradients": {"n_steps": 4},
    "captum:DeepLift": {},
}
TABLES: dict[str, dict[str, Any]] = {"tnid_rows": {"order": 3, "effect": "square"}}
"""Methods whose items are rows of a table."""
ATTENTION: dict[str, dict[str, Any]] = {"attention_rollout": {"token": 1}, "attcat": {}, "transformer_attribution": {}}
"""Methods that explain transformers."""
KERNELS: dict[str, dict[str, Any]] = {"neuralize": {}}
"""Methods that explain kernel models."""
PAIRS: dict[str, dict[str, Any]] = {"bilrp": {"cells": [3, 2], "layer": "2"}}
"""Methods whose items are pairs of inputs, and which have no target."""
GRAPHS: dict[str, dict[str, Any]] = {"gnn_lrp": {"gamma": 0.1}}
"""Methods whose items are graphs."""
ALL = OPTIONS | TABLES | ATTENTION | KERNELS | PAIRS | GRAPHS
ITEMS = 7
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}

CAPTUM = importlib.util.find_spec("captum") is not None
everywhere = pytest.mark.parametrize("name", [name for name in ALL if CAPTUM or not name.startswith("captum:")])


def test_every_method_is_in_the_table_of_this_test() -> None:
    assert set(xai_fast.methods()) <= ALL.keys()


class GraphNetwork(nn.Module):
    """Two steps of message passing, and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.second(adjacency @ self.first(adjacency @ x).relu()).sum(1)


class GraphsInOneTensor(GNNLRP):
    """Graphs (B, n, d + n), features and adjacency side by side, so that tests cut them like other items."""

    name = "gnn_lrp"

    def explain(self, x: Any, target: Any = None, *rest: Any, **named: Any) -> Any:  # type: ignore[override]
        graphs = (x[..., :3], x[..., 3:]) if isinstance(x, Tensor) and x.ndim == 3 else x
        return super().explain(graphs, None, target, *rest, **named)


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def model_for(name: str, dtype: torch.dtype) -> nn.Module:
    if name in KERNELS:  # constants in float64, whatever the rows are
        return neuralize(KernelKMeans(torch.rand(12, 5, dtype=torch.float64), [0, 1, 2, 3] * 3, 0.3))
    if name in GRAPHS:
        return GraphNetwork().to(dtype).eval()
    if name in TABLES:
        layers: list[nn.Module] = [nn.Linear(5, 8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 4)]
    elif name in ATTENTION:
        attention = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        layers = [nn.Conv2d(3, 8, 5, 5), nn.Flatten(2), Transposed(), attention, nn.Flatten(), nn.Linear(4 * 8, 4)]
    else:
        layers = [nn.Conv2d(3, 4, 3, 2), nn.GELU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 16, 4)]
    return nn.Sequential(*layers).to(dtype).eval()


def method_for(name: str, dtype: torch.dtype = torch.float64) -> Method:
    method: Any = GraphsInOneTensor if name in GRAPHS else find_method(name)
    made: Method = method(model_for(name, dtype), **ALL[name])
    return made


def items_for(name: str, dtype: torch.dtype = torch.float64, count: int = ITEMS) -> Tensor:
    shape = (
        (5,)
        if name in TABLES | KERNELS
        else (5, 8)
        if name in GRAPHS
        else (2, 3, 10, 10)
        if name in PAIRS
        else (3, 10, 10)
    )
    return torch.rand(count, *shape, dtype=dtype)


def assert_equal(got: Explanation, expected: Explanation, tolerances: Mapping[torch.dtype, float] = TOLERANCE) -> None:
    """Compare each field within the rounding of what it is made of."""
    assert type(got) is type(expected)
    assert got.constants() == expected.constants()
    mine, theirs = got.tensors(), expected.tensors()
    assert list(mine) == list(theirs)
    for field, value in theirs.items():
        if value.is_floating_point():
            scale = float(value.abs().max()) or 1.0
            if field == "standard_error":  # the difference of nearly equal numbers: its rounding is that of the maps
                scale = float(theirs["attributions"].abs().max())
            if field == "delta":  # likewise, of the scores
                scale = float(theirs["scores"].abs().max())
            if field == "relative_standard_error":
                scale = 1.0
            torch.testing.assert_close(mine[field], value, rtol=0, atol=tolerances[value.dtype] * scale, msg=field)
        else:
            assert torch.equal(mine[field], value), field


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@everywhere
def test_items_do_not_depend_on_their_batch(name: str, dtype: torch.dtype) -> None:
    assert_items_do_not_depend_on_their_batch(method_for(name, dtype), items_for(name, dtype))


def assert_items_do_not_depend_on_their_batch(method: Method, x: Tensor) -> None:
    ids = [11, 5, 7, 0, 3, 2, 9]
    whole = method.explain(x, item_ids=ids)
    alone = [method.explain(x[i : i + 1], item_ids=ids[i : i + 1]) for i in range(ITEMS)]
    assert_equal(Explanation.cat(alone), whole)
    order = [4, 0, 6, 1, 5, 2, 3]
    assert_equal(method.explain(x[order], item_ids=[ids[i] for i in order]), whole[order])
    for size in (1, 3, 50):
        assert_equal(method.explain(x, item_ids=ids, internal_batch_size=size), whole)


@everywhere
def test_attribute_is_the_tensor_of_explain(name: str) -> None:
    method, x = method_for(name), items_for(name)
    target = None if name in PAIRS else 2
    explanation = method.explain(x, target=target)
    assert torch.equal(method.attribute(x, target), explanation.attributions)
    assert explanation.targets is None if target is None else (explanation.targets == target).all()
    assert explanation.method == name
    assert set(explanation.settings) == set(type(method).options())
    assert ALL[name].items() <= dict(explanation.settings).items()
    assert explanation.evaluations.shape == explanation.scores.shape == (ITEMS,)
    assert explanation.stored().keys() <= explanation.tensors().keys()


@everywhere
def test_slices_files_and_concatenation_keep_every_field(name: str, tmp_path: Path) -> None:
    whole = method_for(name).explain(items_for(name))
    whole.save(tmp_path / "file")
    for same in (
        Explanation.load(tmp_path / "file"),
        Explanation.cat([whole[:2], whole[2], whole[[3, 4]], whole[torch.tensor([5, 6])]]),
        Explanation.from_parts(whole.tensors(), whole.constants()),
        whole.to("cpu"),
    ):
        assert type(same) is type(whole)
        assert same.constants() == whole.constants()
        assert same.tensors().keys() == whole.tensors().keys()
        assert all(torch.equal(same.tensors()[field], value) for field, value in whole.tensors().items())
    assert len(whole) == ITEMS
    assert len(whole[-1]) == 1
    assert repr(whole).startswith(f"{type(whole).__name__}(7 items of {name}: attributions")
    assert "tensor(" not in repr(whole)
    with pytest.raises(IndexError, match="item 7 of 7"):
        whole[7]


THIRD = torch.tensor(2)
WRONG: dict[str, tuple[type[Exception], str, Callable[[Method, Tensor], object]]] = {
    "empty": (InputError, "inputs: expected at least one item", lambda m, x: m.explain(x[:0])),
    "NaN": (
        ModelError,
        "NaN or infinity .*item 2",
        lambda m, x: m.explain(x.index_fill(0, torch.tensor(2), torch.nan)),
    ),
    "shape": (InputError, r"inputs: expected shape \(B, ...\)", lambda m, x: m.explain(x[0, ..., 0].flatten())),
    "half": (InputError, "inputs: expected dtype float32 or float64", lambda m, x: m.explain(x.half())),
    "complex": (InputError, "inputs: expected dtype", lambda m, x: m.explain(x.to(torch.complex64))),
    "list": (InputError, "inputs: expected a tensor", lambda m, x: m.explain(x.tolist())),
    "target": (InputError, "target: expected classes from 0 to 3", lambda m, x: m.explain(x, target=4)),
    "targets": (InputError, "target: expected one class per item", lambda m, x: m.explain(x, target=[0, 1])),
    "ids": (InputError, "item_ids: expected", lambda m, x: m.explain(x, item_ids=[1])),
    "rows": (InputError, "internal_batch_size: expected", lambda m, x: m.explain(x, internal_batch_size=0)),
    "arguments": (
        InputError,
        "additional_forward_args: expected",
        lambda m, x: m.explain(x, additional_forward_args=[x]),
    ),
    "training": (ModelError, "model: expected evaluation mode", lambda m, x: (m.model.train(), m.explain(x))),
}
OF_PAIRS = {
    "shape": r"inputs: expected a tensor \(B, 2, ...\) of pairs, or a tuple \(x, y\), got float64 \(60,\)",
    "target": "target: expected None, as a similarity has no classes, got 4",
    "targets": r"target: expected None, as a similarity has no classes, got \[0, 1\]",
}
OF_GRAPHS = dict.fromkeys(("shape", "list"), "adjacency: expected the graphs' adjacency or edges, or inputs that are a")


@pytest.mark.parametrize("wrong", WRONG)
@everywhere
def test_what_does_not_fit_gets_a_named_error_and_the_model_is_left_as_it_was(name: str, wrong: str) -> None:
    method, x = method_for(name), items_for(name)
    kept = x.clone()
    kind, message, call = WRONG[wrong]
    if name in PAIRS:
        message = OF_PAIRS.get(wrong, message)
    if name in GRAPHS:
        message = OF_GRAPHS.get(wrong, message)
    with pytest.raises(kind, match=message):
        call(method, x)
    assert_untouched(method.model, training=wrong == "training")
    assert torch.equal(x, kept)


@everywhere
def test_the_model_and_the_inputs_are_left_as_they_were(name: str) -> None:
    method, x = method_for(name), items_for(name)
    for parameter in list(method.model.parameters())[::2]:
        parameter.requires_grad_(False)
    flags = [p.requires_grad for p in method.model.parameters()]
    before = {key: value.clone() for key, value in method.model.state_dict().items()}
    kept = x.clone()
    with torch.no_grad():
        quiet = method.explain(x)
    with torch.inference_mode():
        inference = method.explain(x)
    for explanation in (quiet, inference):
        assert_equal(explanation, method.explain(x))
    assert_untouched(method.model, flags=flags)
    assert all(torch.equal(value, before[key]) for key, value in method.model.state_dict().items())
    assert torch.equal(x, kept)
    assert x.grad is None
    assert not x.requires_grad


def assert_untouched(model: nn.Module, training: bool = False, flags: list[bool] | None = None) -> None:
    parameters = list(model.parameters())
    assert all(module.training is training for module in model.modules())
    assert [p.requires_grad for p in parameters] == (flags or [True] * len(parameters))
    assert all(p.grad is None for p in parameters)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_unknown_names_have_a_hint() -> None:
    with pytest.raises(InputError, match=r"method: expected .*did you mean 'gradcam'.*got 'gradcm'"):
        find_method("gradcm")
    with pytest.raises(InputError, match=r"torch\.nn:Linear to be a subclass of xai_fast.Method"):
        find_method("torch.nn:Linear")
    if not CAPTUM:
        return
    with pytest.raises(InputError, match=r"method: expected a name in captum.attr, .*, got 'captum.attr:Nothing'"):
        find_method("captum:Nothing")
    with pytest.raises(InputError, match=r"steps: expected an option of captum:IntegratedGradients, .*n_steps"):
        find_method("captum:IntegratedGradients")(model_for("neflag", torch.float32), steps=3)


KNOWN: dict[str, dict[str, int]] = {
    "agi": {"classes": 3},  # the others of four
    "score_cam": {"channels": 4},
    "ablation_cam": {"channels": 4},
    "occlusion": {"windows": 4 * 5},
    "feature_ablation": {"K": 9},
    "shapley_sampling": {"K": 9},
    "quantitative_input_influence": {"K": 4},
    "lime": {"K": 9},
    "kernel_shap": {"K": 6},
    "removal_interactions": {"n": 16},
}
"""What the formulas have beside options, of the models and items above."""
SHORTER = ("agi", "neflag")
"""Methods whose points may end before their last step."""
ELSEWHERE = ("ablation_cam", "removal_interactions", "lrp", "bilrp", "deeplift", "blur_ig", *TABLES, *KERNELS, *GRAPHS)
"""Methods that run only what is behind the convolution, or run it in walks too, or for several items at once."""


def said(of: type, what: str) -> str:
    """Give what a class says of itself, or the next of its bases."""
    for base in of.__mro__:
        found = re.search(rf"(?ms)^{what}: (.*?)(?=\nLimits: |\n\n|\Z)", inspect.cleandoc(base.__doc__ or ""))
        if found:
            return " ".join(found[1].split())
    return ""


def cost(of: type, known: dict[str, Any]) -> int:
    formula = re.search(r"``(.+?)``", said(of, "Cost"))
    assert formula, f"{of.__name__}: no formula"
    return eval(formula[1], {"comb": math.comb, "len": len, "min": min}, known)


@pytest.mark.parametrize("of", [*xai_fast.methods().values(), *xai_fast.detectors().values()], ids=lambda of: of.name)
def test_every_method_says_what_it_costs_and_what_it_cannot_do(of: type) -> None:
    assert len(said(of, "Cost")) > 10
    assert len(said(of, "Limits")) > 30


_BACK = (torch.ops.aten.convolution_backward.default, torch.ops.aten._slow_conv2d_backward.output_mask)


class RowsOfConvolutions(TorchDispatchMode):
    """Counts the rows that go through convolutions, and back through them."""

    def __init__(self) -> None:
        super().__init__()
        self.forth = self.back = 0

    def __torch_dispatch__(self, func: Any, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        self.forth += len(args[0]) if func is torch.ops.aten.convolution.default else 0
        self.back += len(args[0]) if func in _BACK else 0
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", xai_fast.methods())
def test_the_cost_is_what_is_counted(name: str) -> None:
    method, x = method_for(name), items_for(name, count=2)
    known = {option: getattr(method, option) for option in type(method).options()} | KNOWN.get(name, {})
    most, spent = cost(xai_fast.methods()[name], known), method.explain(x).evaluations
    assert (0 < int(spent.max()) <= most) if name in SHORTER else (spent.tolist() == [most] * 2)
    with RowsOfConvolutions() as rows:  # of a second call: the first one prepares the model
        method.explain(x)
    assert name in ELSEWHERE or int(spent.sum()) in (rows.forth, rows.back)


@pytest.mark.parametrize(
    ("detector", "options"),
    [(HStatistic, {"sample": 3}), (ShapleyInteractions, {"background": torch.rand(4, 5, dtype=torch.float64)})],
)
def test_the_cost_of_a_detector_is_what_is_counted(detector: Any, options: dict[str, Any]) -> None:
    if detector is ShapleyInteractions:
        pytest.importorskip("shapiq")
    seen: list[int] = []

    def model(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return rows.prod(1)

    detector(model, **options).detect(torch.rand(6, 5, dtype=torch.float64))
    assert sum(seen) == cost(detector, {"rows": 6, "features": 5, **options, "background": 4})
