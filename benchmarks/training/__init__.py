"""Trains the networks of the experiments, whose weights come with the package: ``python -m benchmarks.training``."""
