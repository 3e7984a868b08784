"""The operations that `xai_fast.taylor` has rules for, each as a function of (B, *shape): tables for the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # as everybody calls it
from torch import Tensor, nn

Operation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """An operation.

    Attributes:
        name: for the test's name.
        build: makes the operation, a module or a function; weights are drawn after a fixed seed.
        shape: of an item.
        positive: whether the operation wants positive numbers.
    """

    name: str
    build: Callable[[], Operation]
    shape: tuple[int, ...]
    positive: bool = False

    def operation(self) -> Operation:
        """Build it in float64, in evaluation mode."""
        torch.manual_seed(11)
        made = self.build()
        if isinstance(made, nn.Module):
            made = made.double().eval()
            for module in made.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2.0)
            for parameter in made.parameters():
                # Norms start with ones and zeros, which would hide a forgotten weight.
                parameter.data.add_(0.3 * torch.randn_like(parameter))
        return made


def constant(*shape: int) -> Tensor:
    """Draw normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64)


def of(operation: Operation) -> Callable[[], Operation]:
    """Give a builder of an operation without weights."""
    return lambda: operation


def with_constant(operation: Callable[[Tensor, Tensor], Tensor], *shape: int) -> Callable[[], Operation]:
    """Give a builder of an operation of x and a constant."""

    def build() -> Operation:
        c = constant(*shape)
        return lambda x: operation(x, c)

    return build


def _elementwise() -> list[Case]:
    smooth: dict[str, Operation] = {
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "elu": F.elu,
        "elu_alpha": lambda x: F.elu(x, 0.7),
        "celu": F.celu,
        "celu_alpha": lambda x: F.celu(x, 1.7),
        "selu": F.selu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
        "softplus_beta": lambda x: F.softplus(x, 3.0, 2.0),
        "logsigmoid": F.logsigmoid,
        "mish": F.mish,
        "hardswish": F.hardswish,
        "exp": torch.exp,
        "expm1": torch.expm1,
        "exp2": torch.exp2,
        "sin": torch.sin,
        "cos": torch.cos,
        "tan": torch.tan,
        "sinh": torch.sinh,
        "cosh": torch.cosh,
        "erf": torch.erf,
        "square": torch.square,
        "pow3": lambda x: x**3,
        "pow2": lambda x: x**2,
        "pow1": lambda x: x**1,
        "pow0": lambda x: x + x**0,
        "base_pow": lambda x: 1.7**x,
        "softsign": F.softsign,
        "tanhshrink": F.tanhshrink,
        "sinc": torch.sinc,
        "erfc": torch.erfc,
        "logit": lambda x: torch.logit(x, eps=0.1),
    }
    positive: dict[str, Operation] = {
        "log": torch.log,
        "log1p": torch.log1p,
        "log2": torch.log2,
        "log10": torch.log10,
        "sqrt": torch.sqrt,
        "rsqrt": torch.rsqrt,
        "reciprocal": torch.reciprocal,
        "pow_half": lambda x: x**0.5,
        "pow_minus": lambda x: x**-2,
        "pow_real": lambda x: x**2.3,
        "divided": lambda x: 2.0 / x,
        "xlogy": lambda x: torch.xlogy(x, x),
        "pow_parameter": lambda x: x ** torch.full((1,), 2.3, dtype=torch.float64),
    }
    linear: dict[str, Operation] = {
        "relu": F.relu,
        "relu_in_place": lambda x: F.relu(x.clone(), inplace=True),
        "relu6": F.relu6,
        "leaky_relu": F.leaky_relu,
        "leaky_relu_slope": lambda x: F.leaky_relu(x, -0.3),
        "hardsigmoid": F.hardsigmoid,
        "hardtanh": F.hardtanh,
        "hardtanh_limits": lambda x: F.hardtanh(x, -0.2, 0.4),
        "abs": torch.abs,
        "threshold": lambda x: F.threshold(x, 0.1, 0.7),
        "softshrink": F.softshrink,
        "hardshrink": F.hardshrink,
        "clamp": lambda x: x.clamp(-0.5, 0.6),
        "clamp_min": lambda x: x.clamp(min=0.1),
        "clamp_max": lambda x: x.clamp(max=0.1),
        "neg": torch.neg,
        "dropout": lambda x: F.dropout(x, 0.5, training=False),
        "positive": torch.positive,
        "deg2rad": torch.deg2rad,
        "times": lambda x: 3 * x,
        "over": lambda x: x / 3,
        "identity": nn.Identity(),
    }
    cases = [Case(name, of(function), (7,)) for name, function in (smooth | linear).items()]
    cases += [Case(name, of(function), (7,), positive=True) for name, function in positive.items()]
    cases += [
        Case("prelu_of_one", nn.PReLU, (7,)),
        Case("prelu", lambda: nn.PReLU(3), (3, 4)),
        Case("clamp_tensor", with_constant(lambda x, c: x.clamp(min=c), 5), (5,)),
        Case("glu", of(F.glu), (6,)),
        Case("glu_channels", of(lambda x: F.glu(x, 1)), (4, 3)),
        Case("hypot", with_constant(torch.hypot, 5), (5,)),
        Case("lerp", with_constant(lambda x, c: torch.lerp(x, c, 0.3), 5), (5,)),
        Case("addcmul", with_constant(lambda x, c: torch.addcmul(x, x, c, value=0.3), 5), (5,)),
        Case("addcdiv", with_constant(lambda x, c: torch.addcdiv(c, c, x, value=0.3), 5), (5,), positive=True),
    ]
    return cases


def _arithmetic() -> list[Case]:
    def branches(x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :3], x[:, 3:]

    two: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mul": torch.mul,
        "add": torch.add,
        "sub": torch.sub,
        "rsub": torch.rsub,
        "div": torch.div,
        "add_alpha": lambda a, b: torch.add(a, b, alpha=-0.7),
        "sub_alpha": lambda a, b: torch.sub(a, b, alpha=0.7),
        "rsub_alpha": lambda a, b: torch.rsub(a, b, alpha=0.7),
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "where": lambda a, b: torch.where(a > b, a * a, b),
        "where_constant": lambda a, b: torch.where(a > b, a * b, 0.3),
        "fmax": torch.fmax,
        "outer": lambda a, b: (a.unsqueeze(2) * b.unsqueeze(1)).flatten(1),
        "add_outer": lambda a, b: (a.unsqueeze(2) - b.unsqueeze(1)).flatten(1),
        "mul_itself": lambda a, b: a * a + b,
        "add_itself": lambda a, b: a + a * b + a,
        "masked_fill": lambda a, b: (a * b).masked_fill(a > b, 0.5),
        "cross": lambda a, b: torch.linalg.cross(a, b),
        "cosine_similarity": lambda a, b: F.cosine_similarity(a, b).unsqueeze(1),
        "dot": lambda a, b: torch.linalg.vecdot(a, b).unsqueeze(1),
        "pairwise_distance": lambda a, b: F.pairwise_distance(a, b).unsqueeze(1),
        "logaddexp": torch.logaddexp,
        "squared_error": lambda a, b: F.mse_loss(a, b, reduction="none"),
        "hypot": torch.hypot,
        "smooth_l1": lambda a, b: F.smooth_l1_loss(a, b, reduction="none"),
    }
    cases = [Case(f"{name}_of_two", of(lambda x, f=f: f(*branches(x))), (6,), positive=True) for name, f in two.items()]
    one: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
        "mul_constant": (torch.mul, (4,)),
        "add_constant": (torch.add, (4,)),
        "sub_constant": (torch.sub, (4,)),
        "rsub_constant": (torch.rsub, (4,)),
        "div_constant": (torch.div, (4,)),
        "constant_div": (lambda x, c: c / x, (4,)),
        "mul_broadcast": (lambda x, c: x.unsqueeze(1) * c, (3, 1)),
        "add_broadcast": (lambda x, c: x.unsqueeze(1) + c, (3, 1)),
        "maximum_constant": (torch.maximum, (4,)),
        "where_mask": (lambda x, c: torch.where(c > 0, x * x, c), (4,)),
        "masked_fill_constant": (lambda x, c: x.masked_fill(c > 0, -2.0), (4,)),
        "fmod": (lambda x, c: x.fmod(1.0), (1,)),
        "remainder": (lambda x, c: x.remainder(0.7), (1,)),
        "index_put": (_index_put, (2,)),
        "scatter": (lambda x, c: x.scatter(1, torch.tensor([[0, 2]]).expand(len(x), 2), c.expand(len(x), 2)), (2,)),
        "scatter_add": (
            lambda x, c: torch.zeros_like(x).scatter_add(1, torch.tensor([[0, 0, 2, 1]]).expand(len(x), 4), x),
            (1,),
        ),
        "index_add": (lambda x, c: torch.zeros_like(x).index_add(1, torch.tensor([0, 0, 2, 1]), x), (1,)),
    }
    cases += [Case(name, with_constant(f, *shape), (4,), positive=True) for name, (f, shape) in one.items()]
    return cases


def _index_put(x: Tensor, c: Tensor) -> Tensor:
    y = x * x
    y[:, 1:3] = y[:, :2] * c
    y[:, 0] += 2.0
    return y


def _products() -> list[Case]:
    return [
        Case("linear", lambda: nn.Linear(4, 3), (4,)),
        Case("linear_no_bias", lambda: nn.Linear(4, 3, bias=False), (4,)),
        Case("linear_rank3", lambda: nn.Linear(4, 3), (2, 4)),
        Case("linear_rank4", lambda: nn.Linear(4, 3), (2, 3, 4)),
        Case("bilinear_layer", lambda: _Both(nn.Bilinear(3, 3, 2)), (6,)),
        Case("matmul_vector", with_constant(lambda x, c: x @ c, 4), (3, 4)),
        Case("matmul_matrix", with_constant(lambda x, c: x @ c, 4, 3), (4,)),
        Case("matmul_left", with_constant(lambda x, c: c @ x, 3, 4), (4, 2)),
        Case("matmul_batched_constant", with_constant(lambda x, c: x.unsqueeze(1) @ c, 2, 4, 3), (5, 4)),
        Case("matmul_rank3", of(lambda x: x @ x.transpose(1, 2)), (3, 4)),
        Case("matmul_rank4", of(lambda x: x @ (x * x).transpose(2, 3)), (2, 3, 4)),
        Case("matmul_broadcast", of(lambda x: x @ (x[:, :1] * x[:, 1:]).transpose(2, 3)), (2, 3, 4)),
        Case("matmul_vectors", of(lambda x: (x.unsqueeze(1) @ x.unsqueeze(2)).flatten(1)), (4,)),
        Case("bmm", of(lambda x: torch.bmm(x, x.transpose(1, 2))), (3, 4)),
        Case("baddbmm", of(lambda x: torch.baddbmm(x, x, x, beta=0.3, alpha=-0.7)), (3, 3)),
        Case("baddbmm_constant", with_constant(lambda x, c: torch.baddbmm(c, x, x, alpha=0.7), 3, 3), (3, 3)),
        Case("addmm", with_constant(lambda x, c: torch.addmm(x, x, c), 4, 4), (4,)),
        Case("addmm_alpha", with_constant(lambda x, c: torch.addmm(x, x, c, beta=0.3, alpha=-0.7), 4, 4), (4,)),
        Case("addmm_constant", with_constant(lambda x, c: torch.addmm(c[0], x, c, beta=0.5), 4, 4), (4,)),
        Case("addmv", of(lambda x: torch.stack([torch.addmv(r[0], r, r[1]) for r in x.unbind()])), (3, 3)),
        Case("mv", with_constant(lambda x, c: (c @ x.unsqueeze(2)).squeeze(2), 3, 4), (4,)),
        Case("einsum", of(lambda x: torch.einsum("bij,bkj->bik", x, x * x)), (3, 4)),
        Case("einsum_pairs", of(lambda x: torch.einsum("bid,bjd,bid->bij", x, x, x)), (3, 4)),
        Case("einsum_constant", with_constant(lambda x, c: torch.einsum("bij,jkl->bikl", x, c), 4, 2, 3), (3, 4)),
        Case("tensordot", with_constant(lambda x, c: torch.tensordot(x, c, dims=([2], [0])), 4, 2), (3, 4)),
        Case("outer", of(lambda x: torch.einsum("bi,bj->bij", x, x.exp())), (4,)),
        Case("kron", with_constant(lambda x, c: torch.kron(x, c), 1, 2), (4,)),
    ]


class _Both(nn.Module):
    """A module of two inputs, given the halves of one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(*x.chunk(2, 1))


def _convolutions() -> list[Case]:
    return [
        Case("conv1d", lambda: nn.Conv1d(3, 4, 3), (3, 6)),
        Case("conv1d_dilated", lambda: nn.Conv1d(3, 4, 2, dilation=2, stride=2, padding=1), (3, 7)),
        Case("conv2d", lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 4, 5)),
        Case("conv2d_strided", lambda: nn.Conv2d(3, 2, (2, 3), stride=(1, 2), padding=(0, 1)), (3, 4, 5)),
        Case("conv2d_grouped", lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 4, 4)),
        Case("conv2d_depthwise", lambda: nn.Conv2d(3, 3, 3, groups=3, padding=1, bias=False), (3, 4, 4)),
        Case("conv2d_same", lambda: nn.Conv2d(2, 2, 3, padding="same", dilation=2), (2, 4, 4)),
        Case("conv2d_reflect", lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), (2, 4, 4)),
        Case("conv2d_circular", lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 4, 4)),
        Case("conv3d", lambda: nn.Conv3d(2, 3, 2, padding=1), (2, 2, 3, 3)),
        Case("conv_transpose1d", lambda: nn.ConvTranspose1d(3, 2, 3, stride=2), (3, 4)),
        Case("conv_transpose2d", lambda: nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), (3, 3, 3)),
        Case("conv_transpose2d_grouped", lambda: nn.ConvTranspose2d(4, 4, 2, groups=2, dilation=2), (4, 3, 3)),
        Case("conv_transpose3d", lambda: nn.ConvTranspose3d(2, 2, 2), (2, 2, 2, 2)),
        Case("unfold", lambda: nn.Unfold(2, stride=2), (2, 4, 4)),
        Case("fold", lambda: nn.Fold((3, 3), 2), (8, 4)),
        Case("tensor_unfold", of(lambda x: x.unfold(1, 3, 2)), (7,)),
    ]


PRODUCTS_AND_ELEMENTS = [*_elementwise(), *_arithmetic(), *_products(), *_convolutions()]
