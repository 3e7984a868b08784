"""The fields of a ranking in JSON files, which are read with suspicion, and as records of shapiq."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

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
    orders = [
        {"order": order, "candidates": of.candidates, "exhaustive": of.exhaustive}
        | {name: getattr(of, name).tolist() for name in _ARRAYS}
        for order, of in sorted(fields["orders"].items())
    ]
    about = {"kind": _KIND, "version": VERSION, **fields, "orders": orders}
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_whole(path, (text + "\n").encode("utf-8", "surrogatepass"))


def read_fields(path: Path, build: Callable[..., Any]) -> Any:
    """Build a ranking of the fields that `write_fields` wrote; an `InputError` says why a file does not fit."""
    content = path.read_bytes()
    try:
        about = json.loads(content.decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _does_not_fit(path, f"no JSON ({error})") from error
    if not isinstance(about, dict) or about.get("kind") != _KIND:
        raise _does_not_fit(path, "JSON of another kind")
    if about.get("version") != VERSION:
        raise _does_not_fit(path, f"version {about.get('version')!r}, where this release reads version {VERSION}")
    try:
        return build(**_checked(about))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _does_not_fit(path, f"one whose parts do not fit ({error})") from error


def _does_not_fit(path: Path, got: str) -> InputError:
    return InputError(f"path: expected a file that InteractionRanking.save wrote, got {got} in {path}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _checked(about: Mapping[str, Any]) -> dict[str, Any]:
    names = _texts(about["feature_names"])
    orders: dict[int, OrderRanking] = {}
    for part in _instance(about["orders"], list):
        order = _instance(part["order"], int)
        if order in orders or not 1 <= order <= len(names):
            raise ValueError(f"order {order}")
        orders[order] = OrderRanking(
            sets=_array(part["sets"], "i", np.int64).reshape(len(part["sets"]), order),
            effects=_array(part["effects"], "if", np.float64),
            spread=_array(part["spread"], "if", np.float64),
            names=names,
            candidates=_instance(part["candidates"], int),
            exhaustive=_instance(part["exhaustive"], bool),
        )
    indices, remedy = about["representative_indices"], about["remedy"]
    return {
        "feature_names": names,
        "orders": orders,
        "representatives": _texts(about["representatives"]),
        "representative_indices": None if indices is None else tuple(_array(indices, "i", np.int64).tolist()),
        "scores": tuple(_array(about["scores"], "if", np.float64).tolist()),
        "settings": _instance(about["settings"], dict),
        "remedy": None if remedy is None else _instance(remedy, str),
        "facts": _instance(about.get("facts", {}), dict),
    }


def _instance(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise TypeError(f"expected {kind.__name__}, got {value!r:.40}")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_instance(value, str) for value in _instance(values, list))


def _array(values: object, kinds: str, dtype: type) -> NDArray[Any]:
    array = np.asarray(_instance(values, list))
    if array.size and (array.dtype.kind not in kinds or not np.isfinite(array).all()):
        raise TypeError(f"expected numbers, got {values!r:.40}")
    return array.astype(dtype)


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
