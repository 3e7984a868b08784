"""What a machine with one GPU is asked once: whether the package is right there, and how fast it is."""
