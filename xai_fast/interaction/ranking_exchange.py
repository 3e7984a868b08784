"""The fields of a ranking in JSON files, which are read with suspicion, and as records of shapiq."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xai_fast.errors import InputError
from xai_fast.files import write_whole
from xai_fast.interaction.order_ranking import OrderRanking

__all__ = ["VERSION", "read_fields", "shapiq_values", "write_fields"]

VERSION = 1
"""Of the format; it changes when an older reader would misread a file."""

_KIND = "xai_fast.InteractionRanking"
_ARRAYS = ("sets", "effects", "spread")


def write_fields(fields: Mapping[str, Any], path: Path) -> None:
    """Write the fields of an `InteractionRanking` as JSON."""
    write_whole(path, (_text(fields) + "\n").encode("utf-8", "surrogatepass"))


def _text(fields: Mapping[str, Any]) -> str:
    orders = [
        {"order": order, "candidates": of.candidates, "exhaustive": of.exhaustive}
        | {name: getattr(of, name).tolist() for name in _ARRAYS}
        for order, of in sorted(fields["orders"].items())
    ]
    about = {"kind": _KIND, "version": VERSION, **fields, "orders": orders}
    return json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_fields(path: Path, build: Callable[..., Any]) -> Any:
    """Build a ranking of the fields that `write_fields` wrote; an `InputError` says why a file does not fit."""
    content = path.read_bytes()
    try:
        about = json.loads(content.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise _does_not_fit(path, f"no JSON ({error})") from error
    if not isinstance(about, dict) or about.get("kind") != _KIND:
        raise _does_not_fit(path, "JSON of another kind")
    if about.get("version") != VERSION:
        raise _does_not_fit(path, f"version {about.get('version')!r}, where this release reads version {VERSION}")
    try:
        about = {"facts": {}, **about}
        fields = _fields(about)
        if json.loads(_text(fields)) != about:  # of other types, or more than one would read
            raise ValueError("it would be written otherwise")
        return build(**fields)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _does_not_fit(path, f"one whose parts do not fit ({error})") from error


def _does_not_fit(path: Path, got: str) -> InputError:
    return InputError(f"path: expected a file that InteractionRanking.save wrote, got {got} in {path}")


def _fields(about: Mapping[str, Any]) -> dict[str, Any]:
    names, indices, remedy = tuple(map(str, about["feature_names"])), about["representative_indices"], about["remedy"]
    orders = {
        part["order"]: OrderRanking(
            sets=np.array(part["sets"], np.int64).reshape(len(part["sets"]), part["order"]),
            effects=np.array(part["effects"], np.float64),
            spread=np.array(part["spread"], np.float64),
            names=names,
            candidates=int(part["candidates"]),
            exhaustive=bool(part["exhaustive"]),
        )
        for part in about["orders"]
    }
    return {
        "feature_names": names,
        "orders": orders,
        "representatives": tuple(map(str, about["representatives"])),
        "representative_indices": None if indices is None else tuple(map(int, indices)),
        "scores": tuple(map(float, about["scores"])),
        "settings": dict(about["settings"]),
        "remedy": None if remedy is None else str(remedy),
        "facts": dict(about["facts"]),
    }


def shapiq_values(orders: Mapping[int, OrderRanking], features: int, index: str, shapiq: Any) -> Any:
    """Make shapiq's record; see `InteractionRanking.to_shapiq`."""
    values: dict[tuple[int, ...], float] = {(): 0.0}
    for of_order in orders.values():
        values |= {tuple(s): e for s, e in zip(of_order.sets.tolist(), of_order.effects.tolist(), strict=True)}
    with warnings.catch_warnings():
        # The index is a free text, of which shapiq says that it knows no such game-theoretic index.
        warnings.filterwarnings("ignore", message="Index `.*` is not a valid", category=UserWarning)
        return shapiq.InteractionValues(
            values=np.array(list(values.values())),
            index=index,
            max_order=max(orders, default=0),
            n_players=features,
            min_order=0,
            interaction_lookup={members: i for i, members in enumerate(values)},
            estimated=False,
            baseline_value=0.0,
        )
