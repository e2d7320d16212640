"""Furnished rooms with exact truth, rendered from real furniture models: for training, tests and benchmarks."""
