"""The engine knows the model; methods do not touch it otherwise."""
