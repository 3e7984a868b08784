"""The size of a map as a picture file, a proxy of how complex it looks.

Samek, Montavon, Lapuschkin, Anders and Müller, "Explaining Deep Neural Networks and Beyond: A Review of Methods and
Applications", Proceedings of the IEEE 2021, section VI.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor, check_choice
from xai_fast.errors import bad_argument
from xai_fast.metrics.ranking import rank_pixels
from xai_fast.terminal import ShortRepr

__all__ = ["FileSize", "file_size"]

_CODECS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 9},
    "jpeg": {"format": "JPEG", "quality": 90},
}


@dataclass(frozen=True, repr=False)
class FileSize(ShortRepr):
    """Size of the map of each item.

    Attributes:
        values: (B,) float64, bytes; smaller is better.
        settings: codec and its options, colours, scaling, and the version of Pillow: what sizes to compare must share.
    """

    values: Tensor
    settings: Mapping[str, object] = field(default_factory=dict)


def file_size(attributions: Tensor | NDArray[Any], *, ranking: str = "signed_sum", codec: str = "png") -> FileSize:
    """Write each map as a picture of 256 greys, and count the bytes.

    A map is scaled by its largest magnitude m: -m is black, 0 the grey 127.5 and m white, rounded half to even.

    Args:
        attributions: (B, C, H, W) or (B, H, W).
        ranking: how channels become one, see `xai_fast.metrics.rank_pixels`.
        codec: ``"png"``, lossless, the strongest compression, or ``"jpeg"`` of quality 90.

    Returns:
        The bytes of each item's file.

    Raises:
        InputError: an argument does not fit, or attributions are not finite; items are named.
    """
    import PIL
    from PIL import Image

    check_choice("codec", codec, tuple(_CODECS))
    maps = as_tensor(attributions)
    if isinstance(maps, Tensor) and maps.ndim == 3:
        maps = maps.unsqueeze(1)
    pixels = rank_pixels(maps, ranking=ranking)
    if maps.ndim != 4:
        raise bad_argument("attributions", "shape (B, C, H, W)", str(tuple(maps.shape)))
    largest = pixels.abs().amax(1, keepdim=True)
    scaled = pixels / torch.where(largest == 0, 1, largest)
    greys = (127.5 * (scaled + 1)).round().to("cpu", torch.uint8).view(len(maps), *maps.shape[2:]).numpy()
    sizes = []
    for grey in greys:
        file = io.BytesIO()
        Image.fromarray(grey).save(file, **_CODECS[codec])
        sizes.append(file.tell())
    return FileSize(
        values=torch.tensor(sizes, dtype=torch.float64, device=pixels.device),
        settings={
            "ranking": ranking,
            **_CODECS[codec],
            "colors": "256 greys",
            "scaling": "largest magnitude",
            "pillow": PIL.__version__,
        },
    )
