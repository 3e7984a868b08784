"""Kernel machines, mixtures, clusterings and classifiers as networks of two layers, explained by relevance.

Kauffmann, Müller and Montavon, "Towards explaining anomalies: a deep Taylor decomposition of one-class models", Pattern
Recognition 2020. Kauffmann, Esders, Ruff, Montavon, Samek and Müller, "From Clustering to Cluster Explanations via
Neural Networks", TNNLS 2022.
"""

from xai_fast.neuralize.estimators import KernelKMeans, neuralize
from xai_fast.neuralize.log_ratio import LogRatio as log_ratio
from xai_fast.neuralize.network import Neuralized
from xai_fast.neuralize.relevance import Neuralize

__all__ = ["KernelKMeans", "Neuralize", "Neuralized", "log_ratio", "neuralize"]
