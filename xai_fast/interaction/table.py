"""Data as it comes, an array, a tensor or a data frame, read as a table of numbers whose columns have names."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xai_fast.errors import bad_argument

__all__ = ["Table", "column_of", "like_model", "read_names", "read_rows_like", "read_table"]

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Table:
    """Rows (N, D) of finite numbers, float32 or float64; ``shape`` is that of an item as the model takes it."""

    values: Tensor
    names: tuple[str, ...]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.values.shape[0]

    def center(self) -> Tensor:
        """Compute the mean of each column: (D,) float64."""
        unit = self._unit()
        return sum((rows / unit).sum(0) for rows in torch.split(self.values, _ROWS_AT_ONCE)) / len(self) * unit

    def deviation(self) -> Tensor:
        """Compute the standard deviation of each column (of the population): (D,) float64; 1 where it is constant."""
        center, unit = self.center(), self._unit()
        total = torch.zeros_like(center)
        for rows in torch.split(self.values, _ROWS_AT_ONCE):
            total += ((rows - center) / unit).square().sum(0)
        # Decided on the values: the mean of a thousand times 0.1 is not 0.1, and leaves a deviation of 1e-17.
        varies = self.values.amax(0) > self.values.amin(0)
        return torch.where(varies, (total / len(self)).sqrt() * unit, torch.ones_like(total))

    def _unit(self) -> Tensor:
        """Give a power of two near the largest magnitude of each column, (D,) float64: squares in it stay in range."""
        largest = torch.maximum(self.values.amax(0), -self.values.amin(0)).double()
        return torch.exp2(torch.frexp(largest).exponent.double() - 1)


def read_table(name: str, data: object, feature_names: Sequence[str] | None = None) -> Table:
    """Read and check an argument: a tensor, an array (N, D) or (N, ...), or a DataFrame; it stays on its device."""
    columns: list[str] | None = None
    if isinstance(data, Tensor):
        values = data.detach().clone() if data.is_inference() else data.detach()
    elif _is_frame(data):
        frame: Any = data
        columns = [str(column) for column in frame.columns]
        values = _frame_values(name, frame)
    else:
        values = _array_values(name, data)
    if values.dtype.is_complex:
        raise bad_argument(name, "real numbers", str(values.dtype))
    if values.ndim < 2 or 0 in values.shape:
        raise bad_argument(name, "rows and columns (N, D), at least one of each", str(tuple(values.shape)))
    if values.dtype not in (torch.float32, torch.float64):
        values = values.double()
    shape = tuple(values.shape[1:])
    values = values.flatten(1)
    names = read_names(feature_names if feature_names is not None or columns is None else columns, values.shape[1])
    _check_finite(name, values, names)
    return Table(values, names, shape)


def read_names(feature_names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Check that names are different, one per column; None for x0, x1, ..."""
    if feature_names is None:
        return tuple(f"x{i}" for i in range(count))
    expected = f"{count} different names, one per column"
    if isinstance(feature_names, str):
        raise bad_argument("feature_names", expected, repr(feature_names))
    names = tuple(feature_names)
    for value in names:
        if not isinstance(value, str) or not value:
            raise bad_argument("feature_names", "strings that are not empty", repr(value))
    if len(names) != count:
        raise bad_argument("feature_names", expected, f"{len(names)} names")
    if len(set(names)) != count:
        raise bad_argument("feature_names", expected, f"{max(names, key=names.count)!r} twice")
    return names


def column_of(argument: str, value: object, index: Mapping[str, int]) -> int:
    """Give the place of a column that is named, or told by its place; an `InputError` for anything else."""
    if isinstance(value, str) and value in index:
        return index[value]
    if not isinstance(value, bool) and isinstance(value, numbers.Integral) and 0 <= int(value) < len(index):
        return int(value)
    raise bad_argument(argument, f"names, or indices from 0 to {len(index) - 1}", repr(value))


def read_rows_like(name: str, data: object, table: Table) -> Table:
    """Read further rows of a table; the columns of a DataFrame are brought to its order by their names."""
    rows = read_table(name, data)
    if rows.shape != table.shape:
        raise bad_argument(name, f"rows of shape {table.shape}, like the data", str(rows.shape))
    named = _is_frame(data)
    # A table whose own columns are not named takes those of a DataFrame as they come.
    unnamed = table.names == tuple(f"x{i}" for i in range(len(table.names)))
    if not named or rows.names == table.names or (unnamed and set(rows.names) != set(table.names)):
        return rows
    if set(rows.names) != set(table.names):
        missing = next(column for column in table.names if column not in rows.names)
        raise bad_argument(name, "the columns of the data", f"none named {missing!r}")
    place = {column: i for i, column in enumerate(rows.names)}
    return Table(rows.values[:, [place[column] for column in table.names]], table.names, rows.shape)


def like_model(model: Callable[..., object], rows: Tensor) -> Tensor:
    """Bring rows to the dtype and the device of a model's parameters; a model without any takes them as they are."""
    parameter = None
    if isinstance(model, nn.Module):
        tensors = (*model.parameters(), *model.buffers())
        parameter = next((p for p in tensors if p.is_floating_point()), None)
    if parameter is None:
        return rows
    if parameter.dtype not in (torch.float32, torch.float64):
        raise bad_argument("model", "parameters in float32 or float64", str(parameter.dtype))
    return rows.to(parameter.device, parameter.dtype)


def _is_frame(data: object) -> bool:
    return not isinstance(data, Tensor) and hasattr(data, "columns") and hasattr(data, "to_numpy")


def _frame_values(name: str, data: Any) -> Tensor:
    for column, kind in zip(data.columns, data.dtypes, strict=True):
        if getattr(kind, "kind", "O") not in "biuf":
            raise bad_argument(
                name,
                "columns of numbers (write categories as one-hot columns, and name them as a group)",
                f"{kind} in the column {str(column)!r}",
            )
    return torch.from_numpy(np.array(data.to_numpy(dtype=np.float64, na_value=np.nan)))


def _array_values(name: str, data: object) -> Tensor:
    expected = "an array, a tensor or a DataFrame of numbers (N, D)"
    try:
        values: NDArray[Any] = np.asarray(data)
    except (TypeError, ValueError):
        raise bad_argument(name, expected, type(data).__name__) from None
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        kind = f"an array of {data.dtype}" if isinstance(data, np.ndarray) else type(data).__name__
        raise bad_argument(name, expected, kind)
    if values.dtype.kind in "ui":
        values = values.astype(np.float64)
    # A copy of its own: arrays may be read-only, strided, or in the other byte order.
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))


def _check_finite(name: str, values: Tensor, names: Sequence[str]) -> None:
    bad = ~torch.isfinite(values)
    columns = bad.any(0).nonzero().flatten()
    if columns.numel():
        column = int(columns[0])
        rows = bad[:, column].nonzero().flatten()
        raise bad_argument(
            name,
            "finite values",
            f"{float(values[rows[0], column])} in the column {names[column]!r}, row {int(rows[0])} "
            f"({rows.numel()} such rows; {columns.numel()} such columns)",
        )
