"""Linear imputation: missing pixels as weighted means of their neighbours.

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022, section 4.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.errors import needs

__all__ = ["Imputation"]


_AFTER = ((0, 1), (1, -1), (1, 0), (1, 1))
"""The neighbours that come later in reading order; the others are opposite."""


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
        self._solve, outside = needs("scipy.linalg.lapack", "ROAD", "scipy").dpbsv, height * width
        place = np.pad(np.arange(outside).reshape(height, width), 1, constant_values=outside)
        steps = [*_AFTER, *((-down, -across) for down, across in _AFTER)]
        views = [place[1 + i : 1 + i + height, 1 + j : 1 + j + width].ravel() for i, j in steps]
        self._neighbours = np.stack(views, 1)
        self._weights = np.array([1 / 12 if i and j else 1 / 6 for i, j in steps])
        self._totals = (self._neighbours < outside) @ self._weights

    def __call__(self, pixels: NDArray[Any], missing: NDArray[Any]) -> NDArray[Any]:
        """Fill in what is missing, (P,) bool, in the channels of a picture, (C, P) float64 in reading order.

        Returns:
            (C, P). Where no pixel is left, the means of the channels.
        """
        if missing.all():
            return np.broadcast_to(pixels.mean(1, keepdims=True), pixels.shape)
        (inside,) = missing.nonzero()
        if not len(inside):
            return pixels
        neighbours = self._neighbours[inside]
        found = np.zeros((len(pixels), len(missing) + 1))  # one more for all that is outside
        found[:, :-1] = np.where(missing, 0.0, pixels)
        right = (found[:, neighbours] @ self._weights).T
        number = np.full(found.shape[1], -1)
        number[inside] = np.arange(len(inside))
        after = number[neighbours[:, : len(_AFTER)]].ravel()
        at = np.flatnonzero(after >= 0)
        of, which = np.divmod(at, len(_AFTER))
        offset = after[at] - of
        band = np.zeros((len(inside), 1 + offset.max(initial=0)))
        band[:, 0], band[of, offset] = self._totals[inside], -self._weights[which]
        found[:, inside] = self._solve(band.T, right, lower=True, overwrite_ab=True, overwrite_b=True)[1].T
        return found[:, :-1]
