"""Benchmarks: how well a network reconstructs, segments and locates, on data that others publish and on rooms."""
