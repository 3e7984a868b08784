"""Arrays, maps without channels and tables, as users have them: each the same as the tensors that are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xai_fast
from xai_fast import GradCAM, NeFLAG, TaylorCAM
from xai_fast.errors import InputError
from xai_fast.interaction import TNIDRows
from xai_fast.metrics import area_under_roc, insertion_deletion, pixel_flipping, pointing_game, rank_pixels

torch.manual_seed(0)
CNN = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 5)).eval()
GREY = nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 5)).eval()
TABLE = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)).eval()
X, G, T = torch.rand(4, 3, 8, 8), torch.rand(4, 8, 8), torch.rand(4, 6)
A = torch.randn(4, 3, 8, 8)
BOXES = torch.tensor([[[0.0, 0, 3, 3]], [[4.0, 4, 7, 7]], [[0.0, 4, 3, 7]], [[4.0, 0, 7, 3]]])


def wide(x: Tensor) -> np.ndarray:
    """As numpy has it by default: float64."""
    return x.double().numpy()


def curves(**changes: Any) -> Tensor:
    given = {"model": CNN, "inputs": X, "attributions": A, "steps": 4, "baselines": ("black",)}
    return insertion_deletion(**(given | changes)).insertion_curves


def flips(**changes: Any) -> Tensor:
    return pixel_flipping(**({"model": CNN, "inputs": X, "attributions": A, "steps": 4} | changes)).curves


def table(baseline: Any, **changes: Any) -> Tensor:
    return curves(**({"model": TABLE, "inputs": T, "attributions": T, "baselines": (baseline,)} | changes))


def hits(attributions: Any, boxes: Any) -> Tensor:
    return pointing_game(attributions, boxes, tolerance=0).distances


def turned(x: Tensor) -> np.ndarray:
    """The same numbers with strides that are negative, and bytes in the other order."""
    values = x.numpy()[..., ::-1].copy()[..., ::-1]
    return values.astype(values.dtype.newbyteorder(">"))[::1]


def scaled(x: Tensor, factor: Any) -> Tensor:
    return CNN(x) * factor


NEFLAG = {"radius": 0.05, "points": 2}
FACTOR = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
ARRAYS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "insertion": (lambda: curves(inputs=wide(X), attributions=wide(A)), curves),
    "insertion, other strides": (lambda: curves(inputs=turned(X), attributions=turned(A)), curves),
    "insertion, baseline": (lambda: curves(baselines=(np.full((3, 8, 8), 0.5),)), lambda: curves(black=0.5)),
    "insertion, baseline of each item": (
        lambda: curves(baselines=(wide(X.flip(0)),)),
        lambda: curves(baselines=(X.flip(0),)),
    ),
    "insertion, a map without channels": (
        lambda: curves(attributions=wide(A.sum(1))),
        lambda: curves(attributions=A.sum(1, keepdim=True)),
    ),
    "insertion, classes": (lambda: curves(target=np.array([0, 1, 2, 3])), lambda: curves(target=[0, 1, 2, 3])),
    "table": (lambda: table(wide(T.mean(0)), inputs=wide(T)), lambda: table(T.mean(0).expand(4, 6))),
    "table, a baseline per row": (lambda: table(wide(T.flip(0))), lambda: table(T.flip(0))),
    "flipping": (lambda: flips(inputs=wide(X), attributions=wide(A)), flips),
    "flipping, baseline": (lambda: flips(baseline=np.zeros((8, 8))), flips),
    "flipping, a table": (
        lambda: flips(model=TABLE, inputs=wide(T), attributions=wide(T)),
        lambda: flips(model=TABLE, inputs=T, attributions=T),
    ),
    "pointing": (lambda: hits(wide(A), BOXES.numpy()), lambda: hits(A, BOXES)),
    "pointing, a map without channels": (lambda: hits(wide(A.sum(1)), BOXES), lambda: hits(A.sum(1, True), BOXES)),
    "pointing, a box for each": (lambda: hits(A, BOXES[:, 0].numpy()), lambda: hits(A, BOXES)),
    "pointing, a box for each as a list": (lambda: hits(A, BOXES[:, 0].tolist()), lambda: hits(A, BOXES)),
    "ranking": (lambda: rank_pixels(A.numpy()), lambda: rank_pixels(A)),
    "area": (
        lambda: area_under_roc(np.array([3.0, 1, 2]), np.array([True, False, False])),
        lambda: torch.tensor(1.0).double(),
    ),
    "NeFLAG": (lambda: NeFLAG(CNN, **NEFLAG).attribute(wide(X)), lambda: NeFLAG(CNN, **NEFLAG).attribute(X)),
    "NeFLAG, float64": (
        lambda: NeFLAG(lambda v: v[:, :2].double() * 2, **NEFLAG).attribute(wide(T)),
        lambda: NeFLAG(lambda v: v[:, :2] * 2, **NEFLAG).attribute(T.double()),
    ),
    "NeFLAG, an argument for each item": (
        lambda: NeFLAG(scaled, **NEFLAG).attribute(X, 0, wide(FACTOR).astype(np.float32), internal_batch_size=3),
        lambda: NeFLAG(scaled, **NEFLAG).attribute(X, 0, FACTOR, internal_batch_size=3),
    ),
    "Grad-CAM": (lambda: GradCAM(CNN, "1").attribute(wide(X)), lambda: GradCAM(CNN, "1").attribute(X)),
    "Grad-CAM of pictures without channels": (
        lambda: GradCAM(GREY, "1", upsample=True).attribute(wide(G)),
        lambda: GradCAM(GREY, "1", upsample=(8, 8)).attribute(G),
    ),
    "Taylor-CAM": (lambda: TaylorCAM(CNN, "2").attribute(wide(X)), lambda: TaylorCAM(CNN, "2").attribute(X)),
    "TNIDRows": (lambda: TNIDRows(TABLE).attribute(wide(T)), lambda: TNIDRows(TABLE).attribute(T)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_given_as_an_array_is_the_same_as_the_tensor(name: str) -> None:
    found, expected = (make() for make in ARRAYS[name])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_shared_array_stays_what_it_is() -> None:
    seen: list[Any] = []
    factor = np.ones((4, 1), np.float32)
    NeFLAG(lambda x, f: [seen.append(f), CNN(x)][1], **NEFLAG).attribute(X, 0, xai_fast.shared(factor))
    assert all(one is factor for one in seen)


REFUSED = {
    "baselines: expected a tuple of .* got one ndarray": lambda: curves(baselines=np.zeros((3, 8, 8))),
    r"baselines\[0\]: expected values to replace, since inputs .* \(4, 6\) have no pixels": lambda: table("blur"),
    r"baselines\[0\]: expected .*, got 'noise'": lambda: curves(baselines=("noise",)),
    r"attributions: expected a tensor or an array, got FluxExplanation": lambda: curves(
        attributions=NeFLAG(CNN, **NEFLAG).explain(X)
    ),
    r"attributions: expected a tensor or an array, got list": lambda: hits([[1.0]], BOXES),
    r"attributions: expected shape \(B, C, H, W\), got \(4, 6\)": lambda: hits(T.numpy(), BOXES),
    r"inputs: expected dtype float32 or float64, got torch.uint8": lambda: NeFLAG(CNN).explain(np.zeros((1, 3), "u1")),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_plain_meaning_is_named(message: str) -> None:
    with pytest.raises(InputError, match=message):
        REFUSED[message]()
