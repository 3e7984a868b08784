"""Networks to try the methods on: image classifiers by name, and those of the experiments with their trained weights.

``python -m benchmarks.training`` trains the latter again.
"""

from xai_fast.models.classifiers import MODEL_NAMES, load

__all__ = ["MODEL_NAMES", "load"]
