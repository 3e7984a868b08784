"""Rankings in JSON files, which are read with suspicion, and as records of shapiq."""

from __future__ import annotations

import json
import math
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
    """Write a ranking; see `InteractionRanking.save`.

    Args:
        ranking: what to write.
        path: where to.
    """
    about = {
        "kind": _KIND,
        "version": VERSION,
        "feature_names": list(ranking.feature_names),
        "representatives": list(ranking.representatives),
        "representative_indices": ranking.representative_indices and list(ranking.representative_indices),
        "scores": list(ranking.scores),
        "settings": dict(ranking.settings),
        "remedy": ranking.remedy,
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
    """Read a ranking; see `InteractionRanking.load`.

    Args:
        path: the file.

    Returns:
        The ranking.

    Raises:
        InputError: the file does not fit.
    """
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
    names = tuple(_text(name) for name in _list(about["feature_names"]))
    orders = {}
    for part in _list(about["orders"]):
        order = _integer(part["order"])
        if order in orders or not 1 <= order <= len(names):
            raise ValueError(f"order {order}")
        orders[order] = OrderRanking(
            sets=_sets(part["sets"], order),
            effects=_numbers(part["effects"]),
            spread=_numbers(part["spread"]),
            names=names,
            candidates=_integer(part["candidates"]),
            exhaustive=_truth(part["exhaustive"]),
        )
    indices, remedy = about["representative_indices"], about["remedy"]
    settings = about["settings"]
    if not isinstance(settings, dict):
        raise TypeError("settings")
    return InteractionRanking(
        feature_names=names,
        orders=orders,
        representatives=tuple(_text(name) for name in _list(about["representatives"])),
        representative_indices=None if indices is None else tuple(_integer(i) for i in _list(indices)),
        scores=tuple(_numbers(about["scores"]).tolist()),
        settings=settings,
        remedy=None if remedy is None else _text(remedy),
    )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list is a {type(value).__name__}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a name is a {type(value).__name__}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false is a {type(value).__name__}")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise TypeError(f"a count is {value!r:.40}")
    return value


def _numbers(values: object) -> NDArray[np.float64]:
    for value in _list(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TypeError(f"a number is {value!r:.40}")
    return np.asarray(values, np.float64).reshape(-1)


def _sets(values: object, order: int) -> NDArray[np.int64]:
    for members in _list(values):
        if len(_list(members)) != order:
            raise ValueError(f"a set of {len(members)} at order {order}")
        for member in members:
            _integer(member)
    return np.asarray(values, np.int64).reshape(-1, order)


def _does_not_fit(path: Path, got: str) -> InputError:
    return InputError(f"path: expected a file that InteractionRanking.save wrote, got {got} in {path}")


def shapiq_values(ranking: InteractionRanking, shapiq: Any) -> Any:
    """Make shapiq's record; see `InteractionRanking.to_shapiq`.

    Args:
        ranking: what to convert.
        shapiq: the package.

    Returns:
        The InteractionValues.
    """
    values: dict[tuple[int, ...], float] = {(): 0.0}
    for of_order in ranking.orders.values():
        values |= {tuple(s): e for s, e in zip(of_order.sets.tolist(), of_order.effects.tolist(), strict=True)}
    with warnings.catch_warnings():
        # The index is a free text, of which shapiq says that it knows no such game-theoretic index.
        warnings.filterwarnings("ignore", message="Index `T-NID` is not a valid", category=UserWarning)
        return shapiq.InteractionValues(
            values=np.array(list(values.values())),
            index="T-NID",
            max_order=ranking.max_order,
            n_players=len(ranking.feature_names),
            min_order=0,
            interaction_lookup={members: i for i, members in enumerate(values)},
            estimated=False,
            baseline_value=0.0,
        )
