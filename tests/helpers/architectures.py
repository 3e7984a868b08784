"""Small architectures with random weights: what `docs/architectures.md` lists, and what its test runs.

``python tests/helpers/architectures.py`` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import xai_fast

ITEMS, CLASSES = 3, 4


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes:
        about: what it is.
        make: builds the model, in the default dtype.
        layer: for Grad-CAM and Taylor-CAM.
        inputs: builds the inputs, in the default dtype.
        extra: builds the additional arguments.
        embeddings: for NeFLAG, where the inputs are token ids.
        reads: where the layer's output has its channels: "first", "last", or "sequence" for (n, B, C).
        skip: tokens in front that are no positions.
        refuses: method to the error that it has to raise.
        plain: builds the same function as a module that hooks reach; None for ``make``.
        narrow: the dtype of the model's weights where it is not the default.
    """

    about: str
    make: Callable[[], nn.Module]
    layer: str
    inputs: Callable[[], Any]
    extra: Callable[[], Any] = lambda: None
    embeddings: str | None = None
    reads: str = "first"
    skip: int = 0
    refuses: dict[str, str] = field(default_factory=dict)
    plain: Callable[[], nn.Module] | None = None
    narrow: torch.dtype | None = None


def photos(side: int = 12) -> Callable[[], Tensor]:
    return lambda: torch.rand(ITEMS, 3, side, side)


def sequences(length: int = 5, width: int = 6) -> Callable[[], Tensor]:
    return lambda: torch.randn(ITEMS, length, width)


def token_ids() -> Tensor:
    return torch.randint(1, 20, (ITEMS, 6))


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Tutorial(nn.Module):
    """The network of torch's tutorial on classifying CIFAR-10, ``view`` included."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.fc1 = nn.Linear(8, 10)
        self.fc2 = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.view(-1, 8))))


def vgg() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Sequential(nn.Linear(54, 12), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(12, CLASSES)),
    )


class Residual(nn.Module):
    """ResNet's two blocks: a stem, a block with identity, and one with a projection."""

    def __init__(self) -> None:
        super().__init__()
        from xai_fast.models.resnet import BasicBlock

        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.blocks = nn.Sequential(BasicBlock(6, 6, 1), BasicBlock(6, 8, 2))
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(3 + 4 * i), nn.ReLU(), nn.Conv2d(3 + 4 * i, 4, 3, 2 if i == 0 else 1, 1))
            for i in range(3)
        )
        self.down = nn.AvgPool2d(2)
        self.head = head(15)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for i, layer in enumerate(self.layers):
            found = layer(torch.cat(features, 1))
            features = [self.down(x) if i == 0 else f for f in features] + [found]
        return self.head(torch.cat(features, 1))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, 3)
        self.branches = nn.ModuleList(
            [
                nn.Conv2d(5, 3, 1),
                nn.Sequential(nn.Conv2d(5, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(5, 3, 1)),
            ]
        )
        self.head = head(9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head(torch.cat([branch(x) for branch in self.branches], 1).relu())


def mobilenet() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, 3, bias=False), nn.BatchNorm2d(6), nn.Hardswish()),
        nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6()),
        nn.Sequential(nn.Conv2d(6, 8, 1), nn.Hardswish()),
        head(8),
    )


class SqueezeExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(3, 6, 3, 3, bias=False), nn.BatchNorm2d(6), nn.SiLU())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 2, 1), nn.SiLU(), nn.Conv2d(2, 6, 1), nn.Sigmoid()
        )
        self.head = head(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        return self.head(x * self.gate(x))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], batch_first: bool = True) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(6, 5), nn.Tanh())
        self.recurrent = kind(5, 4, batch_first=batch_first)
        self.fc = nn.Linear(4, CLASSES)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        outputs, _ = self.recurrent(x if self.batch_first else x.transpose(0, 1))
        return self.fc(outputs.mean(1 if self.batch_first else 0).tanh())


def convolutions(dimensions: int) -> nn.Module:
    conv = nn.Conv1d if dimensions == 1 else nn.Conv3d
    pool = nn.AdaptiveAvgPool1d(1) if dimensions == 1 else nn.AdaptiveAvgPool3d(1)
    return nn.Sequential(conv(2, 4, 3, 2), nn.GELU(), conv(4, 4, 2), pool, nn.Flatten(), nn.Linear(4, CLASSES))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, padding=1)
        self.bottom = nn.Conv2d(4, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.out = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.gelu(self.down(x))
        low = F.gelu(self.bottom(F.max_pool2d(wide, 4)))
        low = F.interpolate(self.up(low), size=wide.shape[2:], mode="bilinear", align_corners=False)
        return self.out(torch.cat([wide, low], 1)).mean((2, 3))


class Encoder(nn.Module):
    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(6, CLASSES)
        self.batch_first = batch_first

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        return self.fc(self.encoder(x, src_key_padding_mask=padding).mean(1 if self.batch_first else 0))


def padding() -> Tensor:
    return torch.arange(5) >= torch.tensor([[3], [5], [4]])


class GCN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 5)
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        x = (adjacency @ self.first(x)).tanh()
        return self.fc((adjacency @ self.second(x)).tanh().mean(1))


def adjacency() -> Any:
    return xai_fast.shared(torch.rand(5, 5).softmax(1))


class ImageAndTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.GELU(), nn.Flatten())
        self.table = nn.Sequential(nn.Linear(5, 6), nn.GELU())
        self.fc = nn.Linear(42, CLASSES)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.fc(torch.cat([self.image(image), self.table(table)], 1))


def image_and_table() -> tuple[Tensor, Tensor]:
    return torch.rand(ITEMS, 3, 12, 12), torch.randn(ITEMS, 5)


class SharedModules(nn.Module):
    """One convolution that runs three times; the layer is the last run's activation, a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Tanh()
        self.head = head(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            x = x + F.gelu(self.again(x))
        return self.head(F.gelu(self.again(self.last(x))))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)
        self.weight = nn.Parameter(torch.randn(CLASSES, 4) / 2)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(F.softplus(self.stem(x)).flatten(2).transpose(1, 2), (4,))
        x = torch.einsum("bnc,kc->bnk", x, self.weight) * self.scale
        return torch.logsumexp(x, 1) - F.elu(x).amax(1)


class Checkpointed(nn.Module):
    def __init__(self, on: bool = True) -> None:
        super().__init__()
        self.on = on
        self.stem = nn.Conv2d(3, 4, 4, 4)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 4, 1))
        self.head = head(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((checkpoint(self.block, x, use_reentrant=False) if self.on else self.block(x)).tanh())


class Tied(nn.Module):
    """Scores against the embeddings themselves, the weights of input and output tied."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.mix = nn.GRU(6, 6, batch_first=True)
        self.out = nn.Linear(6, 20, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.mix(self.embedding(ids))[0].mean(1))


class InPlace(nn.Module):
    """Works in place on its input and behind every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 4, 4)
        self.head = head(4)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(0.25)
        return self.head(F.relu_(self.convolution(x).add_(0.1)))


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, 4), nn.GELU(), nn.Conv2d(4, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 4)
    )


def scripted(freeze: bool) -> nn.Module:
    made = torch.jit.script(small().eval())
    return torch.jit.freeze(made) if freeze else made


def hugging_face(name: str, **options: Any) -> Callable[[], nn.Module]:
    """Build a model for classification from its configuration, without a download."""

    def make() -> nn.Module:
        transformers = pytest.importorskip("transformers")
        config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
        kind = "ForSequenceClassification" if "vocab_size" in options else "ForImageClassification"
        return getattr(transformers, name + kind)(config).to(torch.get_default_dtype())

    return make


TEXT = {"vocab_size": 20, "pad_token_id": 0}
BERT = hugging_face(
    "Bert", **TEXT, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
    max_position_embeddings=8,
)  # fmt: skip
GPT2 = hugging_face("GPT2", **TEXT, n_embd=8, n_layer=2, n_head=2, n_positions=8, bos_token_id=1, eos_token_id=1)
VIT = hugging_face(
    "ViT", hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, image_size=16, patch_size=4
)
CONVNEXT = hugging_face("ConvNext", hidden_sizes=[6, 8], depths=[1, 1], num_stages=2)
SWIN = hugging_face(
    "Swin", image_size=16, patch_size=2, embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=2, mlp_ratio=2.0
)


def attention_mask() -> dict[str, Tensor]:
    return {"attention_mask": (torch.arange(6) < torch.tensor([[4], [6], [5]])).long()}


NO_HOOKS = "a layer that hooks reach"

ARCHITECTURES: dict[str, Architecture] = {
    "tutorial": Architecture("CNN of torch's tutorial, with `view`", Tutorial, "conv2", photos()),
    "vgg": Architecture("VGG", vgg, "1.0", photos()),
    "resnet": Architecture("ResNet", Residual, "blocks.1", photos()),
    "densenet": Architecture("DenseNet block", Dense, "layers.2.2", photos(8)),
    "inception": Architecture("Inception branches", Inception, "branches.1.2", photos()),
    "mobilenet": Architecture("MobileNet: depthwise, hardswish", mobilenet, "1.0", photos()),
    "efficientnet": Architecture("EfficientNet: squeeze and excitation", SqueezeExcitation, "expand.0", photos()),
    "unet": Architecture("U-Net with a pooled head", UNet, "bottom", photos(8)),
    "convnext": Architecture("ConvNeXt (transformers)", CONVNEXT, "convnext.embeddings", photos(16)),
    "swin": Architecture("Swin (transformers)", SWIN, "swin.embeddings", photos(16), reads="last"),
    "vit": Architecture("ViT (transformers)", VIT, "vit.layers.0.layernorm_before", photos(16), reads="last", skip=1),
    "conv1d": Architecture("1-D CNN", lambda: convolutions(1), "2", lambda: torch.randn(ITEMS, 2, 16)),
    "conv3d": Architecture("3-D CNN", lambda: convolutions(3), "2", lambda: torch.randn(ITEMS, 2, 7, 7, 7)),
    "lstm": Architecture("LSTM", lambda: Recurrent(nn.LSTM), "recurrent", sequences(3), reads="last"),
    "before lstm": Architecture(
        "the layer before an LSTM", lambda: Recurrent(nn.LSTM), "project", sequences(3), reads="last"
    ),
    "gru": Architecture(
        "GRU, sequence first", lambda: Recurrent(nn.GRU, False), "recurrent", sequences(4), reads="sequence"
    ),
    "encoder": Architecture(
        "TransformerEncoder with padding", Encoder, "encoder.layers.0", sequences(), padding, reads="last"
    ),
    "encoder, sequence first": Architecture(
        "TransformerEncoder, sequence first", lambda: Encoder(False), "encoder.layers.0", sequences(), reads="sequence"
    ),
    "bert": Architecture(
        "BERT (transformers), token ids and a mask as keywords",
        BERT,
        "bert.encoder.layer.0",
        token_ids,
        attention_mask,
        "bert.embeddings.word_embeddings",
        "last",
    ),
    "gpt2": Architecture(
        "GPT-2 (transformers), token ids",
        GPT2,
        "transformer.h.0.ln_1",
        token_ids,
        embeddings="transformer.wte",
        reads="last",
    ),
    "tied": Architecture("tied embeddings, token ids", Tied, "mix", token_ids, embeddings="embedding", reads="last"),
    "gcn": Architecture("GCN, the adjacency as `shared`", GCN, "first", sequences(), adjacency, reads="last"),
    "image and table": Architecture("image and table", ImageAndTable, "image.0", image_and_table),
    "shared modules": Architecture("a module that runs three times", SharedModules, "last", photos()),
    "functional": Architecture("functional operations, parameters of its own", Functional, "stem", photos()),
    "checkpointed": Architecture("checkpoints", Checkpointed, "block.1", photos(), plain=lambda: Checkpointed(False)),
    "in place": Architecture("in place, also on its input", InPlace, "convolution", photos()),
    "data parallel": Architecture("nn.DataParallel on the CPU", lambda: nn.DataParallel(small()), "module.1", photos()),
    "bfloat16": Architecture(
        "bfloat16",
        small,
        "1",
        photos(),
        narrow=torch.bfloat16,
        refuses=dict.fromkeys(("taylor_cam", "lrp"), "float32 or float64"),
    ),
    "compiled": Architecture(
        "torch.compile", lambda: torch.compile(small(), backend="aot_eager"), "_orig_mod.1", photos(), plain=small
    ),
    "scripted": Architecture(
        "torch.jit.script",
        lambda: scripted(False),
        "1",
        photos(),
        plain=small,
        refuses={"gradcam": NO_HOOKS, "taylor_cam": NO_HOOKS},
    ),
    "frozen": Architecture(
        "torch.jit.freeze",
        lambda: scripted(True),
        "1",
        photos(),
        plain=small,
        refuses={"gradcam": "no submodules", "taylor_cam": "no submodules"},
    ),
}


def table() -> str:
    """Give the table of the documentation."""
    lines = ["| architecture | layer | NeFLAG, gradient x input | Grad-CAM | Taylor-CAM |", "|---|---|---|---|---|"]
    for row in ARCHITECTURES.values():
        neflag = f'`embeddings="{row.embeddings}"`' if row.embeddings else "yes"
        cams = ["yes" if name not in row.refuses else "no" for name in ("gradcam", "taylor_cam")]
        layer = f"`{row.layer}`" if "yes" in cams else ""
        lines.append(f"| {row.about} | {layer} | {neflag} | {cams[0]} | {cams[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
