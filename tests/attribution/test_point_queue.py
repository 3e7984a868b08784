"""The queue keeps batches full, reads the host once a turn at most, and never mixes devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch
from networks import bumpy_mlp, images, smooth_cnn, vectors
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xai_fast import AGI, BlurIG, GuidedIG, Method, NeFLAG
from xai_fast.engine.call import Call, HostReads
from xai_fast.engine.gradients import ScoreGradient
from xai_fast.engine.objective import Objective
from xai_fast.engine.points import Items, Rows, Statistics, Walk, walk_items

READS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "item", "unique", "_unique2"}
"""Operators whose result the host has to wait for."""


class OperatorCounter(TorchDispatchMode):
    """Counts operators, and those among them that make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.reads = 0

    def __torch_dispatch__(
        self, func: Callable[..., object], types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Count, then run."""
        name = func.overloadpacket.__name__
        self.operators[name] += 1
        boolean_index = name in ("index", "index_put_") and any(
            isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1]
        )
        self.reads += name in READS or boolean_index
        return func(*args, **(kwargs or {}))


def _rows_seen(model: nn.Module) -> list[int]:
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])) if torch.is_grad_enabled() else None)
    return seen


def test_batches_stay_full_to_the_end() -> None:
    model = bumpy_mlp()
    seen = _rows_seen(model)
    result = NeFLAG(model, radius=0.4, points=20, max_steps=4).explain(vectors(9), internal_batch_size=8)
    assert sum(seen) == int(result.evaluations.sum())  # nothing is evaluated that does not count
    full = seen.index(next(rows for rows in seen if rows < 8))
    assert full * 8 > 0.9 * sum(seen)
    assert seen == sorted(seen, reverse=True)
    assert max(seen) == 8


class _Compiled:
    """What torch.compile gives, without the compiler: it has a length only where the module has one."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, *args: Tensor) -> Tensor:
        return self.model(*args)

    def __len__(self) -> int:
        raise TypeError("_VisionTransformer does not support len()")


def test_static_shapes_pad_the_last_batches_and_do_not_count_them() -> None:
    model = bumpy_mlp()
    expected = NeFLAG(model, radius=0.4, points=7, max_steps=4).explain(vectors(5), internal_batch_size=8)
    method = NeFLAG(model, radius=0.4, points=7, max_steps=4, compile=True)
    method._compiled["cpu"] = _Compiled(model)
    seen = _rows_seen(model)
    got = method.explain(vectors(5), internal_batch_size=8)
    assert set(seen) == {8}
    assert torch.equal(got.evaluations, expected.evaluations)
    assert torch.allclose(got.attributions, expected.attributions, rtol=1e-12, atol=0)


@pytest.mark.parametrize("static", [False, True])
def test_the_host_reads_at_most_once_a_turn(static: bool) -> None:
    model, x = bumpy_mlp(), vectors(6)
    method = NeFLAG(model, radius=0.4, points=16, max_steps=4, compile=static)
    method._compiled["cpu"] = model
    targets = torch.zeros(6, dtype=torch.int64)
    with OperatorCounter() as counter:
        method.attribute(x, target=None, item_ids=targets.tolist(), internal_batch_size=4)
    turns = counter.operators["flux_accumulate"]
    assert turns > 40
    # Base scores, whether they round alike, whether they are probabilities, item ids, and two checks of the outcome.
    outside_the_loop = 6
    waiting = (6 * 16 - 4) // 4  # turns that cannot empty the queue, whatever happens
    assert counter.reads <= turns - waiting + outside_the_loop
    assert counter.reads > 3


class Scripted(HostReads):
    """The decisions of the host, written down beforehand."""

    def __init__(self, remaining: list[int]) -> None:
        self.script = remaining

    def remaining(self, alive: Tensor) -> int:
        """Take the next decision of the script."""
        return self.script.pop(0)

    def items(self, mask: Tensor) -> list[int]:
        """Find nothing wrong."""
        return []


@pytest.mark.parametrize("step", ["sign", "normalized", "tangent"])
def test_the_whole_loop_runs_on_the_meta_device(step: str) -> None:
    """Meta tensors have no values: any hidden read, and any tensor on another device, raises."""
    model = smooth_cnn(torch.float32).to("meta")
    method = NeFLAG(model, points=6, step=step)
    method._host = Scripted([4, 2, 0])
    with OperatorCounter() as counter:
        result = method.explain(images(3, torch.float32).to("meta"), target=[1, 2, 3], internal_batch_size=5)
    assert result.attributions.device.type == result.standard_error.device.type == "meta"
    assert result.attributions.shape == (3, 3, 12, 12)
    assert method._host.script == []
    assert counter.operators["flux_accumulate"] == 2 + 3  # two turns need no decision: 18 pairs, 5 rows


@pytest.mark.parametrize(
    ("kind", "options", "turns"),
    [
        (GuidedIG, {"steps": 3}, [3, 3, 0]),
        (BlurIG, {"steps": 4, "sigma": 1.0}, [2, 0]),
        (AGI, {"classes": 2, "max_steps": 3, "low": -9.0, "high": [9.0, 8.0, 7.0]}, [5, 2, 0]),
    ],
)
def test_walks_along_paths_read_nothing_on_the_meta_device(
    kind: type[Method], options: dict[str, object], turns: list[int]
) -> None:
    method = kind(smooth_cnn(torch.float32).to("meta"), **options)
    method._host = Scripted(turns)
    result = method.explain(images(3, torch.float32).to("meta"), target=[1, 2, 3], internal_batch_size=5)
    assert result.attributions.device.type == "meta"
    assert result.attributions.shape == (3, 3, 12, 12)
    assert method._host.script == []


def test_the_meta_device_notices_a_read_and_a_stray_tensor() -> None:
    """The check above is able to fail."""
    model, x = smooth_cnn(torch.float32).to("meta"), images(3, torch.float32).to("meta")
    with pytest.raises((RuntimeError, NotImplementedError)):
        NeFLAG(model, points=2).attribute(x, target=1)  # unscripted: reads how many rows remain
    stray = NeFLAG(lambda rows: model(rows) + torch.ones(10), points=2)
    stray._host = Scripted([0])
    with pytest.raises(RuntimeError, match="device"):
        stray.attribute(x, target=1)


def test_memory_is_bounded_by_the_internal_batch() -> None:
    """No tensor of points times items is ever made: the largest that the loop makes have R rows or B rows."""
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Callable[..., object], types: Sequence[type], args: tuple = (), kwargs: dict | None = None
        ) -> object:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    weight = torch.randn(3 * 12 * 12, 2, dtype=torch.float64)
    with Sizes():
        NeFLAG(lambda x: x.flatten(1) @ weight, points=50).explain(images(6), internal_batch_size=4)
    assert largest == 6 * 3 * 12 * 12


@pytest.mark.slow
def test_memory_stays_flat_over_many_calls() -> None:
    import resource

    method, x = NeFLAG(smooth_cnn(torch.float32), points=2), images(8, torch.float32)
    peaks = []
    for call in range(200):
        method.explain(x)
        if call in (49, 199):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 2048  # KiB: 150 calls later not 2 MiB more; a leaked map a call would be 4 MB


class MeanGradient(Walk):
    """One step per point: the gradient times a number of the point, where the point is the item shifted by it."""

    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        shifted = (
            items.centers[rows.item]
            + 0.1 * rows.point[:, None].double()
            + 0.01 * items.ids[rows.item][:, None].double()
        )
        rows.points[which] = shifted[which]

    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        statistics.add(gradients * (1.0 + rows.point[:, None]), rows.item, which)


@pytest.mark.parametrize("rows", [1, 4, 7, 64])
def test_a_walk_of_one_step_is_the_mean_over_its_points(rows: int) -> None:
    model, x, points = bumpy_mlp(), vectors(5), 6
    call = Call.of(model, x, Objective(None, "probability"), item_ids=[3, 1, 4, 1, 5], internal_batch_size=rows)
    with call.context():
        _, items, found = walk_items(ScoreGradient(call), MeanGradient(), points=points)
    for i, identity in enumerate([3, 1, 4, 1, 5]):
        at = (x[i] + 0.1 * torch.arange(points).double()[:, None] + 0.01 * identity).requires_grad_()
        (gradient,) = torch.autograd.grad(model(at).softmax(1)[:, items.targets[i]].sum(), at)
        values = gradient * (1.0 + torch.arange(points)[:, None])
        torch.testing.assert_close(found.mean[i], values.mean(0), rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found.standard_error(True)[i], values.std(0) / points**0.5, rtol=1e-8, atol=1e-14)
    assert found.evaluations.tolist() == found.count.tolist() == [points] * 5


def test_a_tolerance_ends_a_walk_after_rounds_of_doubled_points() -> None:
    call = Call.of(bumpy_mlp(), vectors(4), Objective(None, "probability"), internal_batch_size=8)
    with call.context():
        for tolerance, expected in ((1e9, {4}), (1e-9, {30})):
            found = walk_items(ScoreGradient(call), MeanGradient(), points=30, tolerance=tolerance)[2]
            assert set(found.evaluations.tolist()) == expected
