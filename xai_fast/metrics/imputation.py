"""Linear imputation: missing pixels as weighted means of their neighbours.

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022, section 4.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.errors import InputError

__all__ = ["Imputation"]


class Imputation:
    """Fills in missing pixels so that each is the weighted mean of its neighbours.

    Neighbours weigh 1/6, diagonal ones 1/12, and those outside the picture nothing. In reading order the matrix of this
    system is a narrow band, and it is positive definite: one banded Cholesky factor per mask serves all channels.

    Args:
        height: of the pictures.
        width: of the pictures.

    Raises:
        InputError: scipy is not installed.
    """

    def __init__(self, height: int, width: int) -> None:
        try:
            from scipy import linalg, sparse
        except ImportError as error:
            raise InputError(f"ROAD needs scipy, which is not installed ({error}): pip install scipy") from error
        # The matrices of neighbours in a column and in a row.
        down, across = (sparse.diags([1.0, 1.0], [-1, 1], shape=(side, side)) for side in (height, width))
        straight = sparse.kron(sparse.identity(height), across) + sparse.kron(down, sparse.identity(width))
        weights = (straight / 6 + sparse.kron(down, across) / 12).tocsr()
        self._matrix = (sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights).tocsr()
        self._solve = linalg.solveh_banded

    def __call__(self, pixels: NDArray[Any], missing: NDArray[Any]) -> NDArray[Any]:
        """Fill in what is missing, (P,) bool, in the channels of a picture, (C, P) float64 in reading order.

        Returns:
            (C, P). Where no pixel is left, the means of the channels.
        """
        if missing.all():
            return np.broadcast_to(pixels.mean(1, keepdims=True), pixels.shape)
        found = pixels.copy()
        if missing.any():
            rows = self._matrix[missing]
            inner = rows[:, missing].tocoo()
            offset = inner.row - inner.col
            lower = offset >= 0
            band = np.zeros((1 + int(offset.max()), inner.shape[0]))
            band[offset[lower], inner.col[lower]] = inner.data[lower]
            right = -(rows[:, ~missing] @ pixels[:, ~missing].T)
            found[:, missing] = self._solve(band, right, overwrite_ab=True, overwrite_b=True, lower=True).T
        return found
