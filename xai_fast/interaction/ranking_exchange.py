"""Rankings in JSON files, which are read with suspicion, and as records of shapiq."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from xai_fast.errors import InputError
from xai_fast.files import write_whole
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.order_ranking import OrderRanking

__all__ = ["VERSION", "load", "save", "shapiq_values"]

VERSION = 1
"""Of the format; it changes when an older reader would misread a file."""

_KIND = "xai_fast.InteractionRanking"


def save(ranking: InteractionRanking, path: Path) -> None:
    """Write a ranking; see `InteractionRanking.save`."""
    about = {
        "kind": _KIND,
        "version": VERSION,
        "feature_names": list(ranking.feature_names),
        "representatives": list(ranking.representatives),
        "representative_indices": ranking.representative_indices and list(ranking.representative_indices),
        "scores": list(ranking.scores),
        "settings": dict(ranking.settings),
        "remedy": ranking.remedy,
        "facts": dict(ranking.facts),
        "orders": [
            {
                "order": order,
                "candidates": of_order.candidates,
                "exhaustive": of_order.exhaustive,
                "sets": of_order.sets.tolist(),
                "effects": of_order.effects.tolist(),
                "spread": of_order.spread.tolist(),
            }
            for order, of_order in sorted(ranking.orders.items())
        ],
    }
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_whole(path, (text + "\n").encode("utf-8", "surrogatepass"))


def load(path: Path) -> InteractionRanking:
    """Read a ranking; see `InteractionRanking.load`."""
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
        return _assembled(about)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _does_not_fit(path, f"one whose parts do not fit ({error})") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _assembled(about: Mapping[str, Any]) -> InteractionRanking:
    names = tuple(_instance(name, str) for name in _instance(about["feature_names"], list))
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
    return InteractionRanking(
        feature_names=names,
        orders=orders,
        representatives=tuple(_instance(name, str) for name in _instance(about["representatives"], list)),
        representative_indices=None if indices is None else tuple(_array(indices, "i", np.int64).tolist()),
        scores=tuple(_array(about["scores"], "if", np.float64).tolist()),
        settings=_instance(about["settings"], dict),
        remedy=None if remedy is None else _instance(remedy, str),
        facts=_instance(about.get("facts", {}), dict),
    )


def _instance(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise TypeError(f"expected {kind.__name__}, got {value!r:.40}")
    return value


def _array(values: object, kinds: str, dtype: type) -> NDArray[Any]:
    array = np.asarray(_instance(values, list))
    if array.size and (array.dtype.kind not in kinds or not np.isfinite(array).all()):
        raise TypeError(f"expected numbers, got {values!r:.40}")
    return array.astype(dtype)


def _does_not_fit(path: Path, got: str) -> InputError:
    return InputError(f"path: expected a file that InteractionRanking.save wrote, got {got} in {path}")


def shapiq_values(ranking: InteractionRanking, shapiq: Any) -> Any:
    """Make shapiq's record; see `InteractionRanking.to_shapiq`."""
    values: dict[tuple[int, ...], float] = {(): 0.0}
    for of_order in ranking.orders.values():
        values |= {tuple(s): e for s, e in zip(of_order.sets.tolist(), of_order.effects.tolist(), strict=True)}
    with warnings.catch_warnings():
        # The index is a free text, of which shapiq says that it knows no such game-theoretic index.
        warnings.filterwarnings("ignore", message="Index `.*` is not a valid", category=UserWarning)
        return shapiq.InteractionValues(
            values=np.array(list(values.values())),
            index=str(ranking.settings.get("method", "effects")),
            max_order=ranking.max_order,
            n_players=len(ranking.feature_names),
            min_order=0,
            interaction_lookup={members: i for i, members in enumerate(values)},
            estimated=False,
            baseline_value=0.0,
        )
