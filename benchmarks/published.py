"""Figures that papers published, each with its source; tables have them beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["INTERACTION_AUC", "INTERACTION_AUC_SPREAD", "ORDERS", "SORT_OF_CLEVR", "SORT_OF_CLEVR_IMAGES"]

INTERACTION_AUC: Mapping[str, Sequence[float]] = {
    # Lerman et al., "Explaining Local, Global, And Higher-Order Interactions In Deep Learning", ICCV 2021, Table 1.
    "T-NID": (0.962, 0.885, 0.999, 0.998, 0.991, 0.954, 0.98, 1.0, 0.98, 1.0),
    "GLIDER": (0.973, 0.84, 0.919, 0.951, 0.997, 0.767, 0.751, 0.998, 0.754, 0.974),
    # Tsang, Cheng and Liu, "Detecting Statistical Interactions from Neural Network Weights", ICLR 2018, Table 2.
    "NID": (0.970, 0.79, 0.999, 0.85, 1.0, 0.98, 0.84, 0.989, 0.83, 0.995),
    "NID, MLP-M": (0.995, 0.85, 1.0, 0.996, 1.0, 0.70, 0.82, 0.989, 0.83, 0.99),
    "ANOVA": (0.992, 0.468, 0.657, 0.563, 0.544, 0.780, 0.726, 0.929, 0.783, 0.765),
    "HierLasso": (1.0, 0.636, 0.556, 0.634, 0.625, 0.730, 0.571, 0.958, 0.681, 0.583),
    "RuleFit": (0.754, 0.698, 0.815, 0.689, 0.797, 0.811, 0.666, 0.946, 0.584, 0.876),
    "AG": (1.0, 0.88, 1.0, 0.999, 0.67, 0.64, 0.81, 0.937, 0.808, 1.0),
}
"""Pairwise AUC of F1 to F10, means over trainings."""

INTERACTION_AUC_SPREAD: Mapping[str, Sequence[float]] = {
    "T-NID": (0.022, 0.039, 0.001, 0.003, 0.016, 0.026, 0.021, 0.0, 0.023, 0.0),
}
"""The spread that the T-NID paper gives; its average of T-NID over the functions has 0.015."""

ORDERS: Mapping[int, Mapping[str, tuple[float, float]]] = {
    # T-NID, Table 2: averages over the functions, and their spread.
    3: {"T-NID": (0.76, 0.07), "NID": (0.08, 0.013)},
    4: {"T-NID": (0.78, 0.11), "NID": (0.75, 0.13)},
    5: {"T-NID": (0.97, 0.05), "NID": (0.92, 0.06)},
}

SORT_OF_CLEVR = (0.90, 0.55, 0.60)
"""Taylor-CAM, Table 3 (Lerman et al., 2021): the closest, the furthest, how many; judged by people."""

SORT_OF_CLEVR_IMAGES = 20
