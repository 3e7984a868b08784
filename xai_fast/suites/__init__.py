"""Data and models to try the methods on: sample photos and `tables` of installed packages, image classifiers by name.

The experiments on interactions are modules of their own, each with its data, its network and trained weights:
`sort_of_clevr` with `relation_network`, `yield_or_go` and `three_objects`; ``python -m xai_fast.suites.train`` trains
them again.

`generated_shapes` draws small pictures of garments, as many as one likes, and has a network that knows them.

Tables whose interactions are known are functions with ranges: `synthetic_functions` (F1 to F10) and `physics`.
"""

from __future__ import annotations

from xai_fast.suites.images import open_image
from xai_fast.suites.models import MODEL_NAMES, ImageModel, load
from xai_fast.suites.photos import Photo, sample_photos

__all__ = ["MODEL_NAMES", "ImageModel", "Photo", "load", "open_image", "sample_photos"]
