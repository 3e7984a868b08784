"""Detectors are not disturbed by the caller's modes, leave what they are given, and say what explains black boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_fast import GLIDER, NID, TNID, GradCAM, InputError, IntegratedHessians, ModelError, NeFLAG, TaylorCAM, fit_mlp
from xai_fast.interaction import HStatistic, ShapleyInteractions, TNIDRows
from xai_fast.metrics import insertion_deletion
from xai_fast.registry import find_method


def network(kind: type[nn.Module] = nn.Linear) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(kind(4, 6), nn.GELU(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 1)).eval()


class InPlace(nn.Linear):
    """A first layer that works in place on the rows."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


class Gentle(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 0.5)


def effects(found: Any) -> Tensor:
    return torch.cat([torch.as_tensor(order.effects).double() for order in found.orders.values()])


def shapley(model: Any, rows: Tensor) -> Tensor:
    pytest.importorskip("shapiq")
    return effects(ShapleyInteractions(model).detect(rows))


WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "tnid": lambda model, rows: effects(TNID(model).detect(rows)),
    "nid": lambda model, rows: effects(NID(model).detect(rows)),
    "glider": lambda model, rows: effects(GLIDER(model).detect(rows)),
    "integrated_hessians": lambda model, rows: effects(IntegratedHessians(model, steps=3).detect(rows)),
    "shapley": shapley,
    "h_statistic": lambda model, rows: effects(HStatistic(model).detect(rows)),
    "tnid_rows": lambda model, rows: TNIDRows(model).attribute(rows),
}
ways = pytest.mark.parametrize("way", WAYS)
MODES: dict[str, Callable[[], Any]] = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


@ways
@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_change_nothing(way: str, mode: str, rows: Tensor) -> None:
    model = network()
    expected = WAYS[way](network(), rows)
    with MODES[mode]():
        found = WAYS[way](model, rows.clone())
    assert torch.equal(found, expected)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_a_network_is_fitted_in_any_mode(mode: str, rows: Tensor) -> None:
    def fitted() -> list[Tensor]:
        found = fit_mlp(rows, rows.prod(1), hidden=(4,), epochs=2, progress=False)
        return list(found.model.state_dict().values())

    expected = fitted()
    with MODES[mode]():
        found = fitted()
    assert all(map(torch.equal, found, expected))
    assert not any(value.is_inference() for value in found)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "nid"])
@pytest.mark.parametrize("target", [None, 0])
def test_a_model_that_changes_its_rows_gets_copies(way: str, target: int | None, rows: Tensor) -> None:
    kept = rows.clone()
    assert torch.equal(WAYS[way](network(InPlace), rows), WAYS[way](network(Gentle), kept.clone()))
    assert torch.equal(rows, kept)


@ways
def test_a_model_made_in_inference_mode_has_a_named_error(way: str, rows: Tensor) -> None:
    with torch.inference_mode():
        model = network()
    with pytest.raises(ModelError, match=r"gradients can pass through, got 0.weight made under torch.inference_mode"):
        WAYS[way](model, rows)


@ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_in_half_precision_work_or_have_a_named_error(way: str, dtype: torch.dtype, rows: Tensor) -> None:
    model = network().to(dtype)
    if way == "nid":  # reads weights only
        assert torch.equal(WAYS[way](model, rows), WAYS[way](network().to(dtype).double(), rows))
        return
    with pytest.raises(InputError, match=f"model: expected parameters in float32 or float64, got {dtype}"):
        WAYS[way](model, rows)


@ways
def test_compiled_networks(way: str, rows: Tensor) -> None:
    if way == "nid":
        return
    expected = WAYS[way](network(), rows)
    torch.testing.assert_close(WAYS[way](torch.compile(network(), backend="eager"), rows), expected)


class Estimator:
    """What scikit-learn calls an estimator: nothing that can be called."""

    def predict(self, rows: Any) -> Any:
        values = rows.numpy()  # as numpy's functions do, and not for tensors that require gradients
        return (values[:, 0] > 0) * (values[:, 1] > 0) + values[:, 2].round()


NO_WAY: dict[str, Callable[[Any, Tensor], object]] = {
    **{way: WAYS[way] for way in ("tnid", "nid", "glider", "integrated_hessians", "tnid_rows")},
    "neflag": lambda model, rows: NeFLAG(model).explain(rows),
    "gradcam": lambda model, rows: GradCAM(model, "0").explain(rows),
    "taylor_cam": lambda model, rows: TaylorCAM(model, "0").explain(rows),
}
BLACK_BOXES: dict[str, Callable[[Estimator], Any]] = {
    "estimator": lambda estimator: estimator,
    "array": lambda estimator: estimator.predict,
    "tensor": lambda estimator: lambda rows: torch.as_tensor(estimator.predict(rows)),
}


@pytest.mark.parametrize("way", NO_WAY)
@pytest.mark.parametrize("box", BLACK_BOXES)
def test_the_error_for_a_black_box_names_what_works(way: str, box: str, rows: Tensor) -> None:
    with pytest.raises((InputError, ModelError), match=r"^model: .*HStatistic.*ShapleyInteractions.*fit_mlp"):
        NO_WAY[way](BLACK_BOXES[box](Estimator()), rows)


def test_metrics_refuse_an_estimator_by_name(rows: Tensor) -> None:
    with pytest.raises(InputError, match="model: expected a module or another callable, got Estimator"):
        insertion_deletion(Estimator(), rows, rows)


def test_what_the_error_for_black_boxes_names_works(rows: Tensor) -> None:
    box = BLACK_BOXES["tensor"](Estimator())
    for model in (box, Estimator().predict):
        ranking = HStatistic(model).detect(rows)
        assert ranking.top(1)[0].features == ("x0", "x1")
    insertion_deletion(box, rows, rows, score="output", baselines=("black",))
    assert fit_mlp(rows, box(rows), hidden=(4,), epochs=1, progress=False).model(rows).shape == (8, 1)


def test_shapley_interactions_of_a_black_box(rows: Tensor) -> None:
    pytest.importorskip("shapiq")
    assert ShapleyInteractions(Estimator().predict).detect(rows).top(1)[0].features == ("x0", "x1")


@pytest.mark.parametrize("name", ["feature_ablation", "kernel_shap", "shapley_sampling"])
def test_black_boxes_whose_features_are_replaced(rows: Tensor, name: str) -> None:
    found = find_method(name)(BLACK_BOXES["tensor"](Estimator())).attribute(rows)
    torch.testing.assert_close(found[:, 2], rows[:, 2].round(), rtol=0, atol=1e-6)
