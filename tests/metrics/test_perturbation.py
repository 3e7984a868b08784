"""The baselines, and what the engine of the curves sends to the model."""

from __future__ import annotations

import itertools

import literal_metrics
import pytest
import torch
from networks import images, smooth_cnn
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xai_fast.engine.masked import baseline_inputs, replaced_fractions, replaced_pixels
from xai_fast.errors import InputError
from xai_fast.metrics import gaussian_blur, insertion_deletion, pixel_flipping

BLURS = [
    # shape, sigma
    ((2, 3, 9, 7), 1.0),
    ((1, 1, 5, 40), 3.2),
    ((2, 3, 8, 8), 20.0),
    ((1, 2, 1, 6), 2.0),
    ((1, 2, 2, 3), 5.0),
    ((1, 2, 30, 31), 0.1),
]


@pytest.mark.parametrize(("shape", "sigma"), BLURS)
def test_blur_equals_the_definition(shape: tuple[int, ...], sigma: float) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    expected = torch.stack([literal_metrics.blur(item, sigma) for item in x])
    torch.testing.assert_close(gaussian_blur(x, sigma), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("shape", "sigma"), [*BLURS, ((2, 3, 224, 200), 20.0), ((2, 3, 50), 4.0), ((1, 2, 5, 6, 7), 1.5)]
)
def test_blur_equals_scipy(shape: tuple[int, ...], sigma: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = torch.randn(shape, dtype=torch.float64)
    per_axis = [0.0, 0.0] + [sigma] * (len(shape) - 2)
    expected = torch.from_numpy(ndimage.gaussian_filter(x.numpy(), per_axis, mode="mirror", truncate=4.0))
    torch.testing.assert_close(gaussian_blur(x, sigma), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(gaussian_blur(x.float(), sigma), expected.float(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_blur_keeps_layout_dtype_and_constants(memory_format: torch.memory_format) -> None:
    x = torch.full((2, 3, 6, 5), 0.7, requires_grad=True)
    x = x.contiguous(memory_format=memory_format)
    with torch.autocast("cpu", torch.bfloat16):
        blurred = gaussian_blur(x, 20.0)
    assert blurred.is_contiguous(memory_format=memory_format)
    assert not blurred.requires_grad
    torch.testing.assert_close(blurred, x.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "sigma", "message"),
    [
        ((2, 3), 1.0, r"inputs: expected spatial dimensions to blur, \(B, C, ...\), got \(2, 3\)"),
        ((2, 3, 4), 0.0, r"sigma: expected a positive, finite number, got 0.0"),
        ((2, 3, 4), -1.0, r"sigma: expected a positive, finite number, got -1.0"),
        ((2, 3, 4), torch.inf, r"sigma: expected a positive, finite number, got inf"),
        ((2, 3, 4), torch.nan, r"sigma: expected a positive, finite number, got nan"),
    ],
)
def test_blur_bad_arguments(shape: tuple[int, ...], sigma: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gaussian_blur(torch.zeros(shape), sigma)


@pytest.mark.parametrize(
    ("black", "expected"),
    [
        (-127 / 128, [-127 / 128] * 3),
        (0, [0.0] * 3),
        ((-1.0, 0.0, 2.0), [-1.0, 0.0, 2.0]),
        (torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64), [-1.0, 0.0, 2.0]),
        (torch.tensor(3), [3.0] * 3),
    ],
)
def test_black(black: float | tuple[float, ...] | Tensor, expected: list[float]) -> None:
    x = torch.zeros(2, 3, 4, 5)
    got = baseline_inputs("baseline", "black", x, black=black, blur_sigma=1.0)
    assert torch.equal(got, torch.tensor(expected)[None, :, None, None].expand(x.shape))


@pytest.mark.parametrize(("pixels", "steps"), [(1, 1), (10, 5), (10, 3), (3, 10), (224 * 224, 224)])
def test_every_step_replaces_its_share(pixels: int, steps: int) -> None:
    counts = replaced_pixels(pixels, steps)
    assert (counts[0], counts[-1], len(counts)) == (0, pixels, steps + 1)
    assert {later - earlier for earlier, later in itertools.pairwise(counts)} <= {pixels // steps, pixels // steps + 1}
    assert replaced_fractions(pixels, steps, torch.empty(0)).tolist() == pytest.approx([c / pixels for c in counts])


class Counting(nn.Module):
    """Note how many rows reach the model at once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(x.shape[0])
        return self.model(x)


@pytest.mark.parametrize(
    ("batch", "limit", "most"), [(5, 4, 4), (5, 1, 1), (2, 1000, 2 * 19), (3, None, 3 * 19), (40, None, 2**18 // 432)]
)
def test_rows_at_once_are_bounded_and_full(batch: int, limit: int | None, most: int) -> None:
    model = Counting(smooth_cnn())
    x = images(batch)
    insertion_deletion(model.eval(), x, x, steps=20, internal_batch_size=limit)
    tried, rows = model.rows[:2], model.rows[2:]
    assert tried == [1, 1]  # one item in each memory format
    assert max(rows) == most
    # The input once, each baseline once, and 19 inner steps of four curves: nothing is computed twice.
    assert sum(rows) == batch * (1 + 2 + 4 * 19)
    limit = limit or 2**18 // 432
    assert len(rows) == 3 * -(-batch // limit) + 4 * -(-batch * 19 // limit)


def test_a_photo_is_large_so_few_go_at_once() -> None:
    model = Counting(nn.Sequential(nn.Flatten(), nn.Linear(3 * 300 * 300, 2))).eval()
    x = torch.rand(3, 3, 300, 300)
    insertion_deletion(model, x, x, steps=10, baselines=("black",))
    assert max(model.rows) == 8


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_convolutions_get_channels_last_on_a_cpu(memory_format: torch.memory_format) -> None:
    seen = []
    model = smooth_cnn()
    handle = model[0].register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].is_contiguous(memory_format=torch.channels_last))
    )
    x = images(2).contiguous(memory_format=memory_format)
    insertion_deletion(model, x, x, steps=3)
    handle.remove()
    # The items themselves are scored in the user's format, which is tried too before another one is taken.
    assert seen.count(False) == (2 if memory_format == torch.contiguous_format else 0)
    assert seen.count(True) > 2


def test_steps_without_a_further_pixel_are_not_computed() -> None:
    model = Counting(nn.Linear(4, 3)).eval()
    x = torch.rand(2, 4)
    insertion_deletion(model, x, x, steps=50, baselines=("black",))
    assert sum(model.rows) == 2 * (1 + 1 + 2 * 3)


def test_memory_is_bounded_by_rows_not_by_steps() -> None:
    class Live(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                self.largest = max(self.largest, result.numel())
            return result

    x = images(6)
    with Live() as live:
        insertion_deletion(smooth_cnn(), x, x, steps=100, internal_batch_size=4)
    # The widest layer has 8 channels for 3 of the input.
    assert live.largest <= max(4 * 8 * 144, x.numel())


class Waits(TorchDispatchMode):
    """Count the operations that wait for the device."""

    names = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        self.count += func.overloadpacket.__name__ in self.names
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("metric", [insertion_deletion, pixel_flipping])
def test_waits_do_not_grow_with_steps_or_chunks(metric: object) -> None:
    x = images(3)
    counts = []
    for steps, limit in ((1, 100), (40, 1)):
        with Waits() as waits:
            metric(smooth_cnn(), x, x, steps=steps, internal_batch_size=limit)
        counts.append(waits.count)
    assert counts[0] == counts[1] <= 6


@pytest.mark.parametrize("metric", [insertion_deletion, pixel_flipping])
@pytest.mark.parametrize("target", [None, 3, [1, 2, 3]])
def test_runs_on_another_device_without_mixing_or_waiting(metric: object, target: object) -> None:
    """On the meta device a host value or a tensor left on the CPU raises."""
    x = images(3).to("meta")
    got = metric(smooth_cnn().to("meta"), x, x, steps=7, target=target, internal_batch_size=5)
    assert all(value.device.type == "meta" for value in vars(got).values() if isinstance(value, Tensor))
    assert got.fractions.shape == (8,)
