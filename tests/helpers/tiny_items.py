"""An explainer that costs next to nothing, for jobs whose length is the only thing about them."""

from __future__ import annotations

from torch import Tensor


class Sums:
    """Adds up each item."""

    def explain(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"sums": inputs.sum(1)}
