"""What is done on the machine, the most important first: build, checks, and measurements.

Nothing is timed before it is known to be right.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.kernel_runs import KERNELS
from benchmarks.gpu.setting import PRECISIONS, Setting, precision
from benchmarks.gpu.watch import Watch, loop_of
from benchmarks.relevance_networks import efficientnet_lite0, resnet50, vit_base
from xai_fast import LRP, RISE, TNID, NeFLAG, TaylorCAM, jobs, use_backend
from xai_fast.attribution.neflag_reference import neflag_reference
from xai_fast.backends import select
from xai_fast.images import ImageModel
from xai_fast.taylor.sets import SetDerivatives

__all__ = ["STEPS", "Step", "lite0", "tiny_lite0"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Step:
    """Something to do, and the share of all minutes that it may take."""

    run: Callable[[Setting], None]
    share: float


# --- Build and checks -------------------------------------------------------------------------------------------------


def _logged(setting: Setting, command: list[str], **environment: str) -> None:
    """Run a command, keep what it prints in a file, and raise with the end of it where the command fails."""
    log = setting.out / f"{setting.name}.txt"
    setting.keep("log", file=log.name)
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    environment = {**os.environ, "PATH": os.pathsep.join(folders), "PYTHONUNBUFFERED": "1", **environment}
    with log.open("w") as file:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    lines = log.read_text(errors="replace").splitlines()
    setting.keep("log", file=log.name, last_line=lines[-1] if lines else "", code=done.returncode)
    if done.returncode:
        raise RuntimeError("\n".join([f"{' '.join(command)} ended with {done.returncode}:", *lines[-60:]]))


def build(setting: Setting) -> None:
    """Compile the native module in place, for this GPU; without isolation, nothing is fetched."""
    command = [sys.executable, "setup.py", "build_ext"]
    with tempfile.TemporaryDirectory() as folder:
        if setting.rehearse:  # what it takes to compile is what the tests of the build are about
            where = [f"--build-{name}={folder}" for name in ("lib", "temp")]
            return _logged(setting, [*command, *where], XAI_FAST_NATIVE="off")
        where = ["--inplace", f"--build-temp={folder}"]
        modes = {"XAI_FAST_NATIVE": "required", "XAI_FAST_CUDA": "required"}
        _logged(setting, [*command, *where], **modes, CUDAARCHS="native")


def checks(setting: Setting) -> None:
    """Run the state `cuda` of the tests, in several processes where pytest can: most of it is Triton's compiler."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "tests/cuda", "-m", "cuda"]
    if not setting.rehearse and importlib.util.find_spec("xdist") is not None:
        command += ["-n", str(min(8, os.cpu_count() or 1))]
    _logged(setting, command, XAI_FAST_CHECK_DEVICE=setting.device.type)


# --- Kernels ----------------------------------------------------------------------------------------------------------


def kernels(setting: Setting) -> None:
    """Bytes per second of each kernel, against a copy of as many; NeFLAG's also as a share of one of its steps."""
    items, side = setting.pick((128, 224), (2, 32))
    network = _network("ResNet-50", setting)
    gradient = _gradient(network, torch.rand(items, 3, side, side, device=setting.device))
    for name, make in KERNELS.items():
        run = make(setting.device, items, 3 * side * side)
        _assert_as_the_reference(run.call, run.outputs)
        source = torch.zeros(max(run.moved // 8, 1), device=setting.device)
        target = torch.empty_like(source)

        def copy(source: Tensor = source, target: Tensor = target) -> None:
            target.copy_(source)

        seconds = setting.seconds_of(1.0, kernel=run.call, copy=copy, gradient=gradient)
        setting.keep(
            name,
            backend=select(run.kernel, (source,)).__name__.rpartition(".")[2],
            bytes=run.moved,
            bytes_per_second=run.moved / seconds["kernel"],
            of_a_copy=seconds["copy"] / seconds["kernel"],
            of_a_gradient=seconds["kernel"] / seconds["gradient"],
            seconds=seconds,
        )


def _assert_as_the_reference(run: Callable[[], None], outputs: list[Tensor]) -> None:
    before = [output.clone() for output in outputs]
    run()
    got = [output.clone() for output in outputs]
    for output, was in zip(outputs, before, strict=True):
        output.copy_(was)
    with use_backend("reference"):
        run()
    for one, other in zip(got, outputs, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=1e-4 * float(other.abs().max()))


# --- NeFLAG -----------------------------------------------------------------------------------------------------------

# In full, and tiny.
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "ResNet-50": (resnet50, lambda: resnet50(2)),
    "ViT-B/16": (vit_base, lambda: vit_base(1, 24)),
    "EfficientNet-Lite0": (efficientnet_lite0, efficientnet_lite0),
}


def _network(name: str, setting: Setting) -> nn.Module:
    make: Callable[[], nn.Module] = setting.pick(*NETWORKS[name])
    return make().requires_grad_(False).to(setting.device)


def _pictures(name: str, batch: int, setting: Setting) -> Tensor:
    side = setting.pick(224, 224 if name == "ViT-B/16" else 32)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, side, side, generator=generator).to(setting.device)


def _gradient(model: nn.Module, x: Tensor, bf16: bool = False) -> Callable[[], None]:
    """Return the owner's own gradient of a batch."""

    def run() -> None:
        point = x.detach().requires_grad_()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            outputs = model(point)
        torch.autograd.grad(outputs.softmax(1)[:, 0].sum(), point)

    return run


def _neflag(model: nn.Module, kind: str, **options: Any) -> NeFLAG:
    half = "bf16" if kind == "bfloat16" else "fp32"
    return NeFLAG(model, radius=0.1, points=2, max_steps=3, precision=half, **options)


def _measure(setting: Setting, label: str, method: NeFLAG, x: Tensor, kind: str) -> None:
    """Time NeFLAG beside as many bare gradients; before that, see that nothing waits inside."""
    batch = len(x)

    def explain() -> Tensor:
        return method.explain(x, 0, internal_batch_size=batch).evaluations

    with precision(kind):
        evaluations = int(explain().sum())
        if not method.compile:
            counts = loop_of(method, Watch(setting.device), explain)
            if counts["reads"] > counts["steps"]:
                raise RuntimeError(f"{label}: expected one read of the host per step at most, got {dict(counts)}")
        gradient = _gradient(method.model, x, kind == "bfloat16")
        seconds = setting.seconds_of(2.0, neflag=explain, gradient=gradient)
    bare = seconds["gradient"] * evaluations / batch
    setting.keep(
        label,
        items_per_second=batch / seconds["neflag"],
        gradients_per_second=evaluations / seconds["neflag"],
        times_its_gradients=seconds["neflag"] / bare,
        evaluations=evaluations,
        seconds=seconds,
    )


def neflag(setting: Setting) -> None:
    """NeFLAG by network, precision and batch against the bare gradient."""
    for batch in setting.pick((128, 32, 1024, 512), (2,)):
        for name in NETWORKS:
            model, x = _network(name, setting), _pictures(name, batch, setting)
            for kind in PRECISIONS:
                label = f"{name}, {kind}, batch {batch}"
                try:
                    _measure(setting, label, _neflag(model, kind), x, kind)
                except torch.OutOfMemoryError as error:  # a result, too: the next batch is a smaller one
                    setting.keep(label, does_not_fit=str(error))


def compiled(setting: Setting) -> None:
    """The same through torch.compile, with CUDA graphs and without."""
    batch = setting.pick(64, 2)
    for name in setting.pick(("EfficientNet-Lite0", "ResNet-50", "ViT-B/16"), ("ViT-B/16",)):
        model, x = _network(name, setting), _pictures(name, batch, setting)
        for kind in ("bfloat16", "float32"):
            label = f"{name}, {kind}, batch {batch}"
            _measure(setting, f"{label}, as it is", _neflag(model, kind), x, kind)
            _measure(setting, f"{label}, compiled, CUDA graphs", _neflag(model, kind, compile=True), x, kind)
            without = _neflag(model, kind, compile=True)
            without._compiled[setting.device.type] = torch.compile(model, dynamic=False)
            _measure(setting, f"{label}, compiled", without, x, kind)


def others(setting: Setting) -> None:
    """NeFLAG against Algorithm 1 as a loop, and captum where it is installed, with as many evaluations."""
    batch = setting.pick(8, 2)
    for name in NETWORKS:
        model, x = _network(name, setting), _pictures(name, batch, setting)
        method = _neflag(model, "float32")
        each = max(2, int(method.explain(x).evaluations.sum()) // batch)

        def literal(model: nn.Module = model, x: Tensor = x) -> None:
            neflag_reference(model, x, radius=0.1, points=2, max_steps=3)

        runs: dict[str, Callable[[], object]] = {"neflag": lambda m=method, x=x: m.explain(x), "literal": literal}
        if importlib.util.find_spec("captum") is not None:
            from captum.attr import IntegratedGradients

            integrated = IntegratedGradients(model)
            runs["captum"] = lambda i=integrated, x=x, n=each: i.attribute(x, target=0, n_steps=n)
        seconds = setting.seconds_of(**runs)
        over = {f"{key}_over_neflag": seconds[key] / seconds["neflag"] for key in runs if key != "neflag"}
        setting.keep(f"{name}, batch {batch}", evaluations_per_item=each, seconds=seconds, **over)


# --- Other methods ----------------------------------------------------------------------------------------------------


def relevance(setting: Setting) -> None:
    """LRP composites in gradients."""
    batch = setting.pick(64, 1)
    composites = ("epsilon", "epsilon_plus", "epsilon_gamma_box", "epsilon_alpha2_beta1")
    for name, chosen in (("ResNet-50", composites), ("EfficientNet-Lite0", composites), ("ViT-B/16", ("attn_lrp",))):
        model, x = _network(name, setting), _pictures(name, batch, setting)
        gradient = _gradient(model, x)
        for composite in chosen:
            method = LRP(model, composite=composite, low=0, high=1)

            def explain(method: LRP = method, x: Tensor = x) -> None:
                method.explain(x, 0, internal_batch_size=len(x))

            explain()  # traces the model
            seconds = setting.seconds_of(1.5, lrp=explain, gradient=gradient)
            gradients = seconds["lrp"] / seconds["gradient"]
            setting.keep(f"{name}, {composite}, batch {batch}", gradients=gradients, seconds=seconds)


def taylor_cam(setting: Setting) -> None:
    """Taylor-CAM's pairs of cells against batched Hessian-vector products; float32."""
    model, x = _network("EfficientNet-Lite0", setting), _pictures("EfficientNet-Lite0", 2, setting)
    for layer in setting.pick(("1.10", "1.15"), ("1.15",)):
        methods = {"taylor": TaylorCAM(model, layer), "products": TaylorCAM(model, layer, method="hvp")}
        runs = {name: functools.partial(method.explain, x, 0) for name, method in methods.items()}
        ours, products = (run().sums for run in runs.values())
        torch.testing.assert_close(ours, products, rtol=1e-2, atol=1e-2 * float(products.abs().max()))
        seconds = setting.seconds_of(4.0, **runs)
        setting.keep(
            f"EfficientNet-Lite0, layer {layer}",
            pairs_per_second=ours.numel() / seconds["taylor"],
            products_over_taylor=seconds["products"] / seconds["taylor"],
            seconds=seconds,
        )


def tnid(setting: Setting) -> None:
    """T-NID's triples of a network of 1,000 features: all of them, and those of the strongest pairs."""
    features = setting.pick(1000, 12)
    torch.manual_seed(0)
    widths = (features, 140, 100, 60, 20, 1)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.GELU()]
    network = nn.Sequential(*layers[:-1]).eval().requires_grad_(False).to(setting.device)
    data = torch.randn(200, features, generator=torch.Generator().manual_seed(1)).to(setting.device)
    eye = torch.eye(features, device=setting.device)
    derivatives = SetDerivatives(lambda x: network(x)[:, 0], data[:1], eye)

    def every(order: int) -> int:
        return sum(values.shape[1] for *_, values in derivatives.at(data[:1]).exhaustive(order))

    for order in (2, 3):
        sets = every(order)
        seconds = setting.seconds_of(4.0, sets=lambda order=order: every(order))["sets"]  # type: ignore[misc]
        setting.keep(f"all sets of {order} of {features}", sets_per_second=sets / seconds, sets=sets, seconds=seconds)
    method = TNID(network, order=3, exhaustive_order=2, top_k=setting.pick(1000, 10))
    seconds = setting.seconds_of(4.0, detect=lambda: method.detect(data))["detect"]
    setting.keep(f"strongest triples of {features}", detect_seconds=seconds)


def rise(setting: Setting) -> None:
    """RISE against as many bare forward passes."""
    masks, batch = setting.pick((1000, 250), (4, 2))
    for name in ("ResNet-50", "EfficientNet-Lite0"):
        model, x = _network(name, setting), _pictures(name, 4, setting)
        rows, method = x.repeat(-(-batch // 4), 1, 1, 1)[:batch], RISE(model, masks=masks, grid=7)

        @torch.no_grad()
        def forward(model: nn.Module = model, rows: Tensor = rows) -> None:
            model(rows)

        def explain(method: RISE = method, x: Tensor = x) -> None:
            method.explain(x, 0, internal_batch_size=batch)

        seconds = setting.seconds_of(rise=explain, forward=forward)
        bare = seconds["forward"] * 4 * masks / batch
        setting.keep(
            f"{name}, {masks} masks",
            masks_per_second=4 * masks / seconds["rise"],
            times_its_passes=seconds["rise"] / bare,
            seconds=seconds,
        )


def lite0(side: int = 224) -> ImageModel:
    """Give jobs their model, always the same."""
    torch.manual_seed(0)
    return ImageModel(efficientnet_lite0(), "EfficientNet-Lite0 with random weights", (side, side))


def tiny_lite0() -> ImageModel:
    """Give the jobs of a rehearsal theirs."""
    return lite0(32)


def photos(setting: Setting) -> None:
    """Photos per second of a job that decodes JPEG files, by method."""
    from PIL import Image

    count, workers, model = setting.pick((2000, None, "lite0"), (2, 0, "tiny_lite0"))
    pixels = torch.randint(256, (setting.pick(50, 1), 16, 12, 3), generator=torch.Generator().manual_seed(0))
    made = [Image.fromarray(picture.numpy()).resize((500, 375)) for picture in pixels.to(torch.uint8)]
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            made[i % len(made)].save(Path(folder) / f"{i:05d}.jpg", quality=90)
        for name, options in (("gradcam", {"layer": "1.15"}), ("neflag", {"points": 2})):
            spec = jobs.JobSpec(
                source=folder,
                method=name,
                options=options,
                model=f"benchmarks.gpu.steps:{model}",
                shard_size=max(1, count // 8),
                batch_size=setting.pick(128, 2),
            )
            with tempfile.TemporaryDirectory() as out:
                begun = time.perf_counter()
                done = jobs.run(spec, out, workers=workers, device=setting.device.type, progress=False)
                seconds = time.perf_counter() - begun
            if not done.complete or done.failed:
                raise RuntimeError(f"{name}: expected all photos to be explained, got {done}")
            setting.keep(name, photos_per_second=count / seconds, photos=count, seconds=seconds)


STEPS: Mapping[str, Step] = {
    "build": Step(build, 0.25),
    "checks": Step(checks, 0.40),
    "kernels": Step(kernels, 0.10),
    "neflag": Step(neflag, 0.25),
    "others": Step(others, 0.08),
    "relevance": Step(relevance, 0.08),
    "tnid": Step(tnid, 0.08),
    "taylor_cam": Step(taylor_cam, 0.10),
    "rise": Step(rise, 0.08),
    "photos": Step(photos, 0.12),
    "compiled": Step(compiled, 0.40),
}
"""In this order; a step may take what is left where that is less than its share."""
