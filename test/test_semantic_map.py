"""Voxel fusion against a brute-force twin, and what happens at the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.mapping.semantic_map import SemanticMap, voxel_keys


def views(seed, count, points=60):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield (
            rng.uniform(-0.3, 0.3, (points, 3)).astype(np.float32),
            rng.integers(0, 255, (points, 3), np.uint8),
            rng.normal(size=(points, 4)).astype(np.float16),
            rng.uniform(1, 5, points).astype(np.float32),
        )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_fusion_is_the_weighted_mean_of_everything_in_a_voxel(seed, count):
    world = SemanticMap(0.1, 4, 10_000)
    twin = {}
    for points, colors, features, confidence in views(seed, count):
        world.integrate(points, colors, features, confidence)
        for p, c, f, w in zip(points, colors, features, confidence, strict=True):
            twin.setdefault(tuple(np.floor(p / 0.1)), []).append((p, c, f, w))
    assert len(world) == len(twin)
    cells = {tuple(np.floor(p / 0.1)): n for n, p in enumerate(world.points[: len(world)])}
    for cell, rows in twin.items():
        n, w = cells[cell], np.array([r[3] for r in rows])
        for store, part, tolerance in (
            (world.points, 0, 1e-4),
            (world.colors, 1, 0.01),
            (world.features, 2, 0.01),
        ):
            mean = (np.array([r[part] for r in rows], float) * w[:, None]).sum(0) / w.sum()
            assert np.allclose(store[n], mean, atol=tolerance)
        assert world.confidence[n] == pytest.approx(w.sum(), rel=1e-4)
        assert world.hits[n] == len(rows)


def test_seeing_the_same_again_adds_no_voxel():
    world = SemanticMap(0.1, 4, 10_000)
    (view,) = views(0, 1)
    fresh = world.integrate(*view)
    memory = world.memory_bytes
    assert fresh == len(world) > 0
    for _ in range(20):
        assert world.integrate(*view) == 0
    assert world.memory_bytes == memory


def test_a_full_map_forgets_what_it_knows_least_about():
    world = SemanticMap(0.1, 1, 1000)
    x = np.arange(1000, dtype=np.float32)[:, None] * [0.1, 0, 0] + 0.05
    confidence = np.where(np.arange(1000) < 100, 1.0, 5.0).astype(np.float32)
    ones = np.ones((1000, 1))
    world.integrate(x, np.zeros((1000, 3)), ones, confidence)
    world.integrate(np.array([[0.05, 5.0, 0]]), np.zeros((1, 3)), ones[:1], np.array([5.0], np.float32))
    assert len(world) <= 1000
    assert (world.confidence[: len(world)] >= 1).all()
    assert (world.confidence[: len(world)] == 5).sum() == 901
    assert (
        world.integrate(x[500:501], np.zeros((1, 3)), ones[:1], confidence[:1]) == 0
    )  # still found by its key


def test_loading_gives_the_same_map():
    world = SemanticMap(0.1, 4, 10_000)
    for view in views(1, 3):
        world.integrate(*view)
    n = len(world)
    other = SemanticMap(0.1, 4, 10_000)
    other.load(*(getattr(world, name)[:n] for name in ("points", "colors", "features", "confidence", "hits")))
    (view,) = views(1, 1)
    assert other.integrate(*view) == 0 and len(other) == n


def test_nothing_to_integrate():
    world = SemanticMap(0.1, 4, 10)
    assert world.integrate(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 4)), np.zeros(0)) == 0


def test_keys_tell_neighbours_apart_also_across_zero():
    points = np.array([[x, y, z] for x in (-0.05, 0.05) for y in (-0.05, 0.05) for z in (-0.05, 0.05)])
    assert len(set(voxel_keys(points, 0.1))) == 8


def test_a_point_out_of_range_says_so():
    with pytest.raises(ValueError, match="outside the map's range"):
        voxel_keys(np.array([[1e6, 0, 0]]), 0.01)
