"""Data to try the methods on: photos and tables of packages, drawn pictures, functions with known interactions."""

from xai_fast.datasets.photos import Photo, sample_photos

__all__ = ["Photo", "sample_photos"]
