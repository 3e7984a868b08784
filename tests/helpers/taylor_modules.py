"""Norms, pooling, attention and the operations that move entries: the second table of operations for the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # as everybody calls it
from taylor_operations import Case, of, with_constant
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to themselves."""

    def __init__(self, width: int, heads: int, **more: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True, **more)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class PaddedAttention(SelfAttention):
    """Self-attention that leaves the last token out."""

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.tensor([[False, False, True]]).expand(len(x), 3)
        return self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]


def _norms() -> list[Case]:
    return [
        Case("batch_norm_vector", lambda: nn.BatchNorm1d(4), (4,)),
        Case("batch_norm1d", lambda: nn.BatchNorm1d(3), (3, 4)),
        Case("batch_norm2d", lambda: nn.BatchNorm2d(3), (3, 2, 2)),
        Case("batch_norm3d", lambda: nn.BatchNorm3d(2, affine=False), (2, 2, 2, 2)),
        Case("layer_norm", lambda: nn.LayerNorm(4), (3, 4)),
        Case("layer_norm_two", lambda: nn.LayerNorm((3, 4)), (2, 3, 4)),
        Case("layer_norm_bare", lambda: nn.LayerNorm(4, elementwise_affine=False), (4,)),
        Case("layer_norm_no_bias", lambda: nn.LayerNorm(4, bias=False), (2, 4)),
        Case("group_norm", lambda: nn.GroupNorm(2, 4), (4, 2, 3)),
        Case("group_norm_vector", lambda: nn.GroupNorm(2, 6, affine=False), (6,)),
        Case("instance_norm1d", lambda: nn.InstanceNorm1d(3), (3, 4)),
        Case("instance_norm2d", lambda: nn.InstanceNorm2d(2, affine=True), (2, 2, 3)),
        Case("instance_norm_tracked", lambda: nn.InstanceNorm2d(2, affine=True, track_running_stats=True), (2, 2, 3)),
        Case("rms_norm", lambda: nn.RMSNorm(4), (3, 4)),
        Case("local_response_norm", lambda: nn.LocalResponseNorm(2), (3, 2, 2)),
        Case("normalize", of(lambda x: F.normalize(x, dim=1)), (4, 2)),
        Case("weight_norm", lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (4,)),
    ]


def _pooling() -> list[Case]:
    return [
        Case("avg_pool1d", lambda: nn.AvgPool1d(2, 1), (2, 5)),
        Case("avg_pool2d", lambda: nn.AvgPool2d(2), (2, 4, 4)),
        Case("avg_pool2d_padded", lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 4, 4)),
        Case("avg_pool3d", lambda: nn.AvgPool3d(2), (1, 2, 4, 2)),
        Case("max_pool1d", lambda: nn.MaxPool1d(2), (2, 6)),
        Case("max_pool2d", lambda: nn.MaxPool2d(2), (2, 4, 4)),
        Case("max_pool2d_padded", lambda: nn.MaxPool2d(3, 2, 1, dilation=1, ceil_mode=True), (2, 4, 4)),
        Case("max_pool3d", lambda: nn.MaxPool3d(2), (1, 2, 4, 2)),
        Case("adaptive_avg_pool1d", lambda: nn.AdaptiveAvgPool1d(2), (2, 5)),
        Case("adaptive_avg_pool2d", lambda: nn.AdaptiveAvgPool2d((2, 3)), (2, 4, 5)),
        Case("adaptive_avg_pool2d_one", lambda: nn.AdaptiveAvgPool2d(1), (2, 3, 3)),
        Case("adaptive_avg_pool3d", lambda: nn.AdaptiveAvgPool3d(2), (1, 3, 3, 2)),
        Case("adaptive_max_pool1d", lambda: nn.AdaptiveMaxPool1d(2), (2, 5)),
        Case("adaptive_max_pool2d", lambda: nn.AdaptiveMaxPool2d((2, 3)), (2, 4, 5)),
        Case("adaptive_max_pool2d_one", lambda: nn.AdaptiveMaxPool2d(1), (2, 3, 3)),
        Case("adaptive_max_pool3d", lambda: nn.AdaptiveMaxPool3d(1), (1, 3, 3, 2)),
        Case("lp_pool2d", lambda: nn.LPPool2d(2, 2), (2, 4, 4), positive=True),
    ]


def _shapes() -> list[Case]:
    functions = {
        "view": lambda x: x.view(len(x), 6, 4),
        "reshape": lambda x: x.transpose(1, 2).reshape(len(x), -1),
        "flatten": lambda x: x.flatten(1),
        "flatten_inner": lambda x: x.flatten(2),
        "unflatten": lambda x: x.unflatten(1, (1, 2)),
        "permute": lambda x: x.permute(0, 3, 1, 2),
        "transpose": lambda x: x.transpose(-1, -2),
        "mT": lambda x: x.mT,
        "movedim": lambda x: x.movedim(1, 3),
        "swapaxes": lambda x: x.swapaxes(1, 2),
        "squeeze": lambda x: x[:, :1].squeeze(1),
        "squeeze_all": lambda x: x[:, :1].squeeze() if len(x) > 1 else x[:, 0],
        "unsqueeze": lambda x: x.unsqueeze(2),
        "unsqueeze_last": lambda x: x.unsqueeze(-1),
        "expand": lambda x: x.unsqueeze(1).expand(-1, 3, -1, -1, -1),
        "expand_as": lambda x: x[:, :, :1].expand_as(x),
        "repeat": lambda x: x.repeat(1, 2, 1, 3),
        "tile": lambda x: x.tile(2, 1),
        "repeat_interleave": lambda x: x.repeat_interleave(2, 2),
        "select": lambda x: x[:, 1],
        "select_last": lambda x: x[..., -1],
        "slice": lambda x: x[:, :, 1:],
        "slice_step": lambda x: x[..., ::2],
        "slice_negative": lambda x: x[..., -3:-1],
        "narrow": lambda x: x.narrow(2, 1, 2),
        "index": lambda x: x[:, :, torch.tensor([2, 0, 0])],
        "index_two": lambda x: x[:, torch.tensor([0, 1]), torch.tensor([2, 0])],
        "index_mask": lambda x: x[:, torch.tensor([True, False])],
        "index_apart": lambda x: x[:, torch.tensor([0, 1]), :, torch.tensor([2, 0])].transpose(0, 1),
        "index_select": lambda x: x.index_select(3, torch.tensor([3, 0, 0])),
        "take_along": lambda x: x.take_along_dim(x.argsort(2), 2),
        "gather": lambda x: x.gather(2, x.argsort(2)[:, :, :2]),
        "flip": lambda x: x.flip(1, 2),
        "roll": lambda x: x.roll((1, 2), (2, 3)),
        "rot90": lambda x: x.rot90(1, (2, 3)),
        "diagonal": lambda x: x.diagonal(0, 2, 3),
        "tril": lambda x: x.tril(),
        "triu": lambda x: x.triu(1),
        "diag_embed": lambda x: torch.diag_embed(x),
        "cat": lambda x: torch.cat([x, x * x, x[:, :1]], 1),
        "cat_constant": lambda x: torch.cat([x, torch.ones_like(x)], -1),
        "stack": lambda x: torch.stack([x, x.exp()], 2),
        "hstack": lambda x: torch.hstack([x, x]),
        "split": lambda x: x.split(2, 2)[0] * x.split(2, 2)[1],
        "split_sizes": lambda x: torch.cat([a * a for a in x.split([1, 3], 3)], 3),
        "tensor_split": lambda x: x.tensor_split(2, 3)[1],
        "chunk": lambda x: x.chunk(2, 1)[0] - x.chunk(2, 1)[1] ** 2,
        "unbind": lambda x: x.unbind(1)[0] * x.unbind(1)[1],
        "contiguous": lambda x: x.transpose(1, 2).contiguous(),
        "to_same": lambda x: x.to(torch.float64),
        "float32_and_back": lambda x: x.double(),
        "meshgrid": lambda x: torch.stack(torch.broadcast_tensors(x[:, :1], x), 1),
        "block": lambda x: x.view(len(x), -1, 1) * x.view(len(x), 1, -1),
        "pixel_shuffle": lambda x: F.pixel_shuffle(x.reshape(len(x), 4, 3, 2), 2),
        "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[:, :, :2], 2),
        "channel_shuffle": lambda x: F.channel_shuffle(x.reshape(len(x), 4, 2, 3), 2),
        "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
        "pad_value": lambda x: F.pad(x, (1, 0), value=0.7),
        "pad_negative": lambda x: F.pad(x, (-1, 1)),
        "pad_reflect": lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"),
        "pad_replicate": lambda x: F.pad(x, (1, 1, 2, 0), mode="replicate"),
        "pad_circular": lambda x: F.pad(x, (1, 1, 2, 0), mode="circular"),
        "pad_reflect1d": lambda x: F.pad(x.flatten(2), (2, 1), mode="reflect"),
        "pad_replicate1d": lambda x: F.pad(x.flatten(2), (2, 1), mode="replicate"),
        "nearest": lambda x: F.interpolate(x, scale_factor=2),
        "bilinear": lambda x: F.interpolate(x, (5, 7), mode="bilinear"),
        "bilinear_corners": lambda x: F.interpolate(x, (5, 7), mode="bilinear", align_corners=True),
        "nearest_exact": lambda x: F.interpolate(x, (5, 3), mode="nearest-exact"),
        "bicubic": lambda x: F.interpolate(x, (5, 7), mode="bicubic"),
        "linear1d": lambda x: F.interpolate(x.flatten(2), 7, mode="linear"),
        "nearest1d": lambda x: F.interpolate(x.flatten(2), 7),
        "nearest3d": lambda x: F.interpolate(x.unsqueeze(1), scale_factor=2),
        "trilinear": lambda x: F.interpolate(x.unsqueeze(1), (3, 2, 5), mode="trilinear"),
        "area": lambda x: F.interpolate(x, (2, 2), mode="area"),
        "antialias": lambda x: F.interpolate(x, (2, 3), mode="bilinear", antialias=True),
    }
    return [Case(name, of(function), (2, 3, 4)) for name, function in functions.items()]


def _reductions() -> list[Case]:
    functions = {
        "sum": lambda x: x.sum((1, 2)).unsqueeze(1),
        "sum_all": lambda x: x.sum((1, 2), keepdim=True),
        "sum_one": lambda x: x.sum(-1),
        "mean": lambda x: x.mean((1, 2)).unsqueeze(1),
        "mean_one": lambda x: x.mean(2, keepdim=True),
        "var": lambda x: x.var(2),
        "var_biased": lambda x: x.var((1, 2), unbiased=False).unsqueeze(1),
        "var_mean": lambda x: torch.cat(torch.var_mean(x, 2), 1),
        "std": lambda x: x.std(2, keepdim=True),
        "std_biased": lambda x: x.std(1, correction=0),
        "max_dim": lambda x: x.max(2).values,
        "min_dim": lambda x: x.min(1, keepdim=True).values,
        "max_full": lambda x: torch.stack([r.max() for r in x.unbind()]).unsqueeze(1),
        "min_full": lambda x: torch.stack([r.min() for r in x.unbind()]).unsqueeze(1),
        "amax": lambda x: x.amax((1, 2)).unsqueeze(1),
        "amin": lambda x: x.amin(2, keepdim=True),
        "aminmax": lambda x: torch.aminmax(x, dim=2).max,
        "topk": lambda x: x.topk(2, 2).values,
        "topk_first": lambda x: x.topk(2, 1, largest=False).values,
        "sort": lambda x: x.sort(2).values,
        "sort_descending": lambda x: x.sort(dim=1, descending=True).values,
        "sort_stable": lambda x: x.sort(dim=1, stable=True).values,
        "msort": lambda x: x.transpose(0, 1).msort().transpose(0, 1),
        "median": lambda x: x.median(2).values,
        "kthvalue": lambda x: x.kthvalue(2, 2).values,
        "cummax": lambda x: x.cummax(1).values,
        "cummin": lambda x: x.cummin(2).values,
        "cumsum": lambda x: x.cumsum(2),
        "flip_cumsum": lambda x: x.flip(1).cumsum(1),
        "prod": lambda x: x.prod(2),
        "prod_all": lambda x: x.flatten(1).prod(1, keepdim=True),
        "cumprod": lambda x: x.cumprod(1),
        "norm": lambda x: x.norm(dim=2),
        "norm1": lambda x: x.norm(p=1, dim=2),
        "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=(1, 2)).unsqueeze(1),
        "vector_norm3": lambda x: torch.linalg.vector_norm(x, 3, dim=2),
        "norm_infinite": lambda x: x.norm(p=float("inf"), dim=1),
        "nansum": lambda x: x.nansum(1),
        "softmax": lambda x: x.softmax(1),
        "softmax_last": lambda x: F.softmax(x, -1),
        "softmin": lambda x: F.softmin(x, 2),
        "log_softmax": lambda x: x.log_softmax(2),
        "logsumexp": lambda x: x.logsumexp(1),
        "logsumexp_two": lambda x: x.logsumexp((1, 2), keepdim=True),
        "logcumsumexp": lambda x: x.logcumsumexp(2),
        "cross_entropy": lambda x: F.cross_entropy(x, torch.zeros(len(x), 5, dtype=torch.int64), reduction="none"),
        "nll": lambda x: F.nll_loss(x.log_softmax(1), torch.ones(len(x), 5, dtype=torch.int64), reduction="none"),
        "diff": lambda x: x.diff(dim=2),
        "trace": lambda x: torch.einsum("bii->b", x[:, :, :4]).unsqueeze(1),
        "trapezoid": lambda x: torch.trapezoid(x, dim=2),
        "argmax_pick": lambda x: x.gather(2, x.argmax(2, keepdim=True)),
        "masked": lambda x: x * (x > x.mean(2, keepdim=True)),
        "round": lambda x: x + x.round(),
        "sign": lambda x: x * x.sign(),
        "detached": lambda x: x * x.detach(),
        "kl_div": lambda x: F.kl_div(x.log_softmax(2), (x * x).softmax(2), reduction="none"),
        "bce": lambda x: F.binary_cross_entropy_with_logits(x, torch.full_like(x, 0.3), reduction="none"),
    }
    return [Case(name, of(function), (4, 5), positive=True) for name, function in functions.items()]


def _masked_attention(x: Tensor) -> Tensor:
    mask = torch.tensor([[True, False, True], [True, True, False], [True, True, True]])
    return F.scaled_dot_product_attention(x, x * x, x, attn_mask=mask)


def _attention() -> list[Case]:
    attend = F.scaled_dot_product_attention
    encoder = nn.TransformerEncoderLayer
    return [
        Case("attention", of(lambda x: attend(x, x * x, x)), (3, 4)),
        Case("attention_heads", of(lambda x: attend(x, x * x, x)), (2, 3, 4)),
        Case("attention_causal", of(lambda x: attend(x, x, x, is_causal=True)), (3, 4)),
        Case("attention_scale", of(lambda x: attend(x, x, x, scale=0.3)), (3, 4)),
        Case("attention_mask", of(_masked_attention), (3, 4)),
        Case("attention_bias", with_constant(lambda x, c: attend(x, x, x, attn_mask=c), 3, 3), (3, 4)),
        Case("attention_grouped", of(lambda x: attend(x, x[:, :1], x[:, :1], enable_gqa=True)), (2, 3, 4)),
        Case("attention_all_masked", of(lambda x: attend(x, x, x, attn_mask=torch.zeros(3, 3).bool()) + x), (3, 4)),
        Case("multihead", lambda: SelfAttention(4, 2), (3, 4)),
        Case("multihead_no_bias", lambda: SelfAttention(4, 1, bias=False), (3, 4)),
        Case("multihead_bias_kv", lambda: SelfAttention(4, 2, add_bias_kv=True, add_zero_attn=True), (3, 4)),
        Case("multihead_padding", lambda: PaddedAttention(4, 2), (3, 4)),
        Case("encoder_layer", lambda: encoder(4, 2, 6, batch_first=True), (3, 4)),
        Case(
            "encoder_layer_gelu", lambda: encoder(4, 2, 6, activation="gelu", batch_first=True, norm_first=True), (3, 4)
        ),
        Case("encoder", lambda: nn.TransformerEncoder(encoder(4, 2, 6, batch_first=True), 2), (3, 4)),
        Case("decoder_layer", lambda: _OfItself(nn.TransformerDecoderLayer(4, 2, 6, batch_first=True)), (3, 4)),
        Case("embedding_of_constants", lambda: _Tokens(), (3, 4)),
    ]


class _OfItself(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x, x * x)


class _Tokens(nn.Module):
    """Adds embedded positions."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        numbers = torch.arange(x.shape[1]).expand(len(x), -1)
        return x * self.positions(numbers)


MODULES = [*_norms(), *_pooling(), *_shapes(), *_reductions(), *_attention()]
