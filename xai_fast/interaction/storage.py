"""Interaction maps in files: arrays of what is not zero, and a JSON text, in one npz archive without pickles."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.errors import InputError
from xai_fast.files import write_whole
from xai_fast.interaction.geometry import CellGeometry
from xai_fast.interaction.interaction_map import InteractionMap

__all__ = ["VERSION", "load", "save"]

VERSION = 1
"""Of the format; it changes when an older reader would misread a file."""

_KIND = "xai_fast.InteractionMap"


def save(interactions: InteractionMap, path: Path) -> None:
    """Write a map; see `InteractionMap.save`.

    Args:
        interactions: on any device.
        path: where to.
    """
    about = {
        "kind": _KIND,
        "version": VERSION,
        "shape": list(interactions.saliency.shape),
        "grid": list(interactions.grid),
        "layer": interactions.layer,
        "scope": interactions.scope,
        "symmetric": interactions.symmetric,
        "remedy": interactions.remedy,
        "geometry": None if interactions.geometry is None else interactions.geometry.to_dict(),
    }
    arrays: dict[str, NDArray[Any]] = {"scores": interactions.scores.detach().cpu().numpy()}
    if interactions.targets is not None:
        arrays["targets"] = interactions.targets.detach().cpu().numpy()
    arrays |= _sparse("saliency", interactions.saliency)
    if interactions.sums is not None:
        arrays |= _sparse("sums", interactions.sums)
    text = np.frombuffer(json.dumps(about, ensure_ascii=False).encode("utf-8"), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, about=text, **arrays)  # type: ignore[arg-type]  # numpy's stub reads ** as allow_pickle
    write_whole(path, file.getvalue())


def _sparse(name: str, tensor: Tensor) -> dict[str, NDArray[Any]]:
    values = tensor.detach().cpu().numpy().ravel()
    # Bits, not values, decide: a negative zero is kept, so that what is read is exactly what was written.
    bits = values.view(np.uint32 if values.dtype == np.float32 else np.uint64)
    index = np.flatnonzero(bits)
    # Steps from one entry to the next are small numbers, which compress well.
    steps = np.diff(index, prepend=0)
    narrow = next(
        kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if steps.max(initial=0) <= np.iinfo(kind).max
    )
    return {f"{name}_steps": steps.astype(narrow), f"{name}_values": values[index]}


def load(path: Path) -> InteractionMap:
    """Read a map; see `InteractionMap.load`.

    Args:
        path: the file.

    Returns:
        The map, on the CPU.

    Raises:
        InputError: the file does not fit.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        archive = np.load(content, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise _does_not_fit(path, "a single array")
        arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise _does_not_fit(path, f"a file that is damaged or of another kind ({error})") from error
    about = _about(path, arrays)
    try:
        return _assembled(about, arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _does_not_fit(path, f"one whose parts do not fit ({error})") from error


def _about(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    try:
        about = json.loads(arrays["about"].tobytes().decode("utf-8"))
        kind, version = about["kind"], about["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise _does_not_fit(path, f"an archive of {', '.join(arrays) or 'nothing'}") from error
    if kind != _KIND:
        raise _does_not_fit(path, f"one of the kind {kind!r}")
    if version != VERSION:
        raise _does_not_fit(path, f"version {version!r}, where this release reads version {VERSION}")
    known: dict[str, Any] = about
    return known


def _assembled(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> InteractionMap:
    shape = tuple(int(size) for size in about["shape"])
    return InteractionMap(
        saliency=_dense("saliency", arrays, shape),
        grid=tuple(int(size) for size in about["grid"]),
        scores=torch.from_numpy(arrays["scores"]),
        layer=str(about["layer"]),
        scope=about["scope"],
        symmetric=bool(about["symmetric"]),
        targets=torch.from_numpy(arrays["targets"]) if "targets" in arrays else None,
        sums=_dense("sums", arrays, shape) if "sums_values" in arrays else None,
        remedy=about["remedy"],
        geometry=None if about["geometry"] is None else CellGeometry.from_dict(about["geometry"]),
    )


def _dense(name: str, arrays: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Tensor:
    values = arrays[f"{name}_values"]
    dense = np.zeros(int(np.prod(shape)), values.dtype)
    index = np.cumsum(arrays[f"{name}_steps"], dtype=np.int64)
    if index.size and (index.min() < 0 or index.max() >= dense.size):
        raise IndexError(f"{name} has an entry outside {shape}")
    dense[index] = values
    return torch.from_numpy(dense.reshape(shape))


def _does_not_fit(path: Path, got: str) -> InputError:
    return InputError(f"path: expected a file that InteractionMap.save wrote, got {got} in {path}")
