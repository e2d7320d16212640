"""Voxel fusion against a brute-force twin, and what happens at the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.geometry.camera import pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.fading import BELIEVED, DOUBT, MAX_WEIGHT, PIXELS_A_VOXEL, Look
from sab3r_ros.mapping.homes import ENTRY_BYTES, Homes
from sab3r_ros.mapping.meeting import Seen
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.mapping.tiles import voxel_keys
from sab3r_ros.voxels import Voxels


def views(seed, count, points=60):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield (
            rng.uniform(-0.3, 0.3, (points, 3)).astype(np.float32),
            rng.integers(0, 255, (points, 3), np.uint8),
            rng.normal(size=(points, 4)).astype(np.float16),
            rng.uniform(0.1, 0.5, points).astype(np.float32),  # so little that none joins a voxel beside it
        )


def snapshot_columns(world):
    return Voxels.joined(world.blocks())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_fusion_is_the_weighted_mean_of_everything_in_a_voxel(seed, count):
    world = SemanticMap(0.1, 4)
    twin = {}
    for points, colors, features, confidence in views(seed, count):
        world.integrate(points, colors, features, confidence, 0)
        for p, c, f, w in zip(points, colors, features, confidence, strict=True):
            twin.setdefault(tuple(np.floor(p / 0.1)), []).append((p, c, f, w))
    assert len(world) == len(twin)
    held = snapshot_columns(world)
    cells = {tuple(np.floor(p / 0.1)): n for n, p in enumerate(held.points)}
    for cell, rows in twin.items():
        n, w = cells[cell], np.array([r[3] for r in rows])

        def mean(part, rows=rows, w=w):
            return (np.array([r[part] for r in rows], float) * w[:, None]).sum(0) / w.sum()

        step = max(np.abs(r[2]).max() for r in rows) / 127  # of a feature's code, at its largest
        assert np.allclose(held.points[n], mean(0), atol=1e-4)
        assert np.allclose(held.colors[n], mean(1), atol=2.0)
        assert np.allclose(held.features()[n], mean(2), atol=3 * step)
        assert held.confidence[n] == pytest.approx(w.sum(), rel=2e-3)
        assert held.hits[n] == len(rows)


def test_the_mean_of_a_thousand_views_is_that_of_a_float_twin():
    """Updates far smaller than a code's step still count: rounding is unbiased."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(50, 32)).astype(np.float32)
    points = np.arange(50)[:, None] * [0.1, 0, 0] + 0.05
    world, total, weight = SemanticMap(0.1, 32), np.zeros((50, 32)), 0.0
    for _ in range(1000):
        seen, w = true + rng.normal(size=true.shape), float(rng.uniform(1, 3))
        world.integrate(points, np.full((50, 3), 101), seen, np.full(50, w), 0)
        share = w / (min(weight, MAX_WEIGHT) + w)
        total, weight = total + share * (seen - total), weight + w
    held = snapshot_columns(world)
    order = np.argsort(held.points[:, 0])
    found = held.features()[order]
    cosine = (found * total).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(total, axis=1)
    assert cosine.min() > 0.996
    assert np.abs(held.colors.astype(float) - 101).max() <= 1


def test_seeing_the_same_again_adds_no_voxel():
    world = SemanticMap(0.1, 4)
    (view,) = views(0, 1)
    fresh = world.integrate(*view, 0)
    memory = world.memory_bytes
    assert fresh == len(world) > 0
    for _ in range(20):
        assert world.integrate(*view, 1) == 0
    assert world.memory_bytes == memory
    assert memory == len(world) * 2 + sum(b.nbytes for b in world.blocks())
    assert (snapshot_columns(world).anchors == 0).all()


def test_a_voxel_of_64_features_takes_less_than_100_bytes():
    assert SemanticMap(0.1, 64).row_bytes == 91


def line(count, y=0.05):
    return np.stack([np.arange(count) * 0.1 + 0.05, np.full(count, y), np.zeros(count)], 1)


def test_a_full_map_forgets_what_it_knows_least_about():
    world = SemanticMap(0.1, 1, max_bytes=1000 * SemanticMap(0.1, 1).row_bytes)
    confidence = np.where(np.arange(1000) < 100, 1.0, 5.0).astype(np.float32)
    ones = np.ones((1000, 1))
    world.integrate(line(1000), np.zeros((1000, 3)), ones, confidence, 0)
    assert len(world) == 1000
    world.integrate(line(1, 5.0), np.zeros((1, 3)), ones[:1], np.array([5.0], np.float32), 1)
    held = snapshot_columns(world).confidence
    assert len(world) == 980 and (held == 5).sum() == 901
    again = world.integrate(line(1000)[500:501], np.zeros((1, 3)), ones[:1], confidence[:1], 2)
    assert again == 0  # still found


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(5, 200))
def test_the_memory_cap_is_never_exceeded(seed, most):
    world = SemanticMap(0.1, 4, max_bytes=most * SemanticMap(0.1, 4).row_bytes)
    for n, view in enumerate(views(seed, 6, points=100)):
        world.integrate(view[0] + n, *view[1:], n)
        assert 0 < world.memory_bytes <= world.max_bytes
        assert len(world) == sum(map(len, world.blocks()))


def test_a_snapshot_stays_as_it_was():
    world = SemanticMap(0.1, 4)
    first, second = views(2, 2)
    world.integrate(*first, 0)
    before = world.blocks()
    copies = [[c.copy() for c in b.columns()] for b in before]
    world.integrate(*second, 1)
    world.move({0: Sim3(1.0, np.eye(3), np.array([1.0, 0, 0]))})
    for block, copy in zip(before, copies, strict=True):
        assert all((a == b).all() for a, b in zip(block.columns(), copy, strict=True))


def test_voxels_move_with_their_anchors_and_merge_where_they_meet():
    world = SemanticMap(0.1, 2)
    world.integrate(line(3), np.full((3, 3), 10), np.tile([1.0, 0], (3, 1)), np.full(3, 1.0), 7)
    world.integrate(line(3, 1.05), np.full((3, 3), 50), np.tile([0, 1.0], (3, 1)), np.full(3, 3.0), 8)
    world.integrate(line(2, 9.05), np.full((2, 3), 90), np.tile([1.0, 1], (2, 1)), np.full(2, 3.0), 9)
    world.move({8: Sim3(1.0, np.eye(3), np.array([0.1, -1.0, 0])), 3: Sim3.identity()})
    held = snapshot_columns(world)
    held = held.take(np.lexsort((held.points[:, 0], held.points[:, 1].round(2))))
    assert len(world) == len(held) == 6
    assert np.allclose(held.points[:4, 0], [0.05, 0.15, 0.25, 0.35], atol=1e-5)
    assert held.anchors.tolist() == [7, 8, 8, 8, 9, 9]
    assert held.confidence.tolist() == [1, 4, 4, 3, 3, 3]
    assert held.hits.tolist() == [1, 2, 2, 1, 1, 1]
    assert held.colors[:, 0].tolist() == [10, 40, 40, 50, 90, 90]
    assert np.allclose(held.features()[:4], [[1, 0], [0.25, 0.75], [0.25, 0.75], [0, 1]], atol=0.01)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.floats(-1, 1), st.floats(-1, 1))
def test_moving_loses_no_hit_and_no_confidence(seed, x, y):
    world = SemanticMap(0.1, 4)
    for n, view in enumerate(views(seed, 3)):
        world.integrate(*view, n)
    before = snapshot_columns(world)
    mine = before.anchors == 1
    assert world.anchored(1) == mine.sum()
    moved = world.move({1: Sim3.exp(np.array([0, 0, x, x, y, 0, 0])), 9: Sim3.identity()})
    after = snapshot_columns(world)
    assert moved == mine.sum() and len(world) == len(after) <= len(before)
    assert after.hits.sum() == before.hits.sum() == 180
    assert after.confidence.sum(dtype=float) == pytest.approx(before.confidence.sum(dtype=float), rel=2e-3)
    keys = voxel_keys(after.points, 0.1)
    assert len(set(keys)) == len(keys)
    # What moved is found again, wherever it went, however often.
    for _ in range(3):
        left = (snapshot_columns(world).anchors == 1).sum()
        assert (
            left <= world.anchored(1) and world.move({1: Sim3.exp(np.array([0, 0, 0, y, x, 0, 0]))}) == left
        )


def test_moving_looks_only_where_an_anchors_voxels_are():
    world = SemanticMap(0.1, 1)
    for k in range(5):
        world.integrate(line(20) + [0, 20.0 * k, 0], np.zeros((20, 3)), np.ones((20, 1)), np.ones(20), k)
    before = world.blocks()
    assert world.move({2: Sim3(1.0, np.eye(3), np.array([0, 0, 0.3]))}) == 20
    assert sum(any(b is a for a in world.blocks()) for b in before) == 4


def test_what_finds_an_anchors_voxels_is_small_and_goes_with_them():
    homes = Homes()
    homes.settle_in(np.array([3, 3, 5, 9]), np.array([7, 8, 7, 8], np.int32))
    homes.settle_in(np.array([4, 5]), np.array([7, 7], np.int32))
    assert [homes.count(k) for k in (7, 8, 9)] == [4, 2, 0]
    assert homes.nbytes == 2 * ENTRY_BYTES + 8 * (1 + 3 + 1 + 2)
    assert homes.leave([7, 9]).tolist() == [3, 4, 5] and homes.count(7) == 0
    assert homes.leave([8]).tolist() == [3, 9] and homes.nbytes == 0
    assert homes.leave([8]).tolist() == []


def test_loading_gives_the_same_map():
    world = SemanticMap(0.1, 4)
    for view in views(1, 3):
        world.integrate(*view, 0)
    other = SemanticMap(0.1, 4)
    other.load(snapshot_columns(world))
    (view,) = views(1, 1)
    assert other.integrate(*view, 0) == 0 and len(other) == len(world)


def test_nothing_to_integrate():
    world = SemanticMap(0.1, 4)
    assert world.integrate(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 4)), np.zeros(0), 0) == 0
    world.move({0: Sim3.identity()})
    assert len(world) == 0 and world.blocks() == ()


def test_keys_tell_neighbours_apart_also_across_zero():
    points = np.array([[x, y, z] for x in (-0.05, 0.05) for y in (-0.05, 0.05) for z in (-0.05, 0.05)])
    assert len(set(voxel_keys(points, 0.1))) == 8


def test_a_point_out_of_range_says_so():
    with pytest.raises(ValueError, match="outside the map's range"):
        voxel_keys(np.array([[1e6, 0, 0]]), 0.01)


def wall_seen_from_origin(depth_m):
    """A 40 × 30 camera looks along +x of the map, at something at a constant depth."""
    T_KW = Sim3(1.0, np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))
    return Look(T_KW, pinhole(30.0, 30, 40), np.full((30, 40), depth_m, np.float32), margin=0.2)


def test_what_is_looked_through_fades_and_what_is_seen_or_hidden_stays():
    world = SemanticMap(0.1, 2)
    there = np.array(
        [[1.05, 0.05, 0.05], [2.95, 0.05, 0.05], [3.55, 0.05, 0.05], [1.05, 3.05, 0.05], [-1.05, 0.05, 0.05]]
    )
    wall, behind, outside, back = 1, 2, 3, 4
    world.integrate(there, np.zeros((5, 3)), np.ones((5, 2)), np.full(5, 8.0), 0)
    gone = [world.fade(wall_seen_from_origin(3.0)) for _ in range(5)]
    assert gone == [0, 0, 0, 1, 0]  # 8 → 4 → 2 → 1 → gone
    held = snapshot_columns(world)
    assert len(world) == len(held) == 4
    left = {tuple(np.round(p, 2)) for p in held.points.astype(float)}
    assert left == {tuple(there[k]) for k in (wall, behind, outside, back)}
    order = np.argsort(held.points[:, 0])
    # The wall's own voxel and the one behind it are doubted a little, five times, as no pixel hits them.
    assert held.confidence[order][:2].tolist() == [8, 8]
    assert np.allclose(held.confidence[order][2:], 8 * (1 - DOUBT * doubt_at([2.95, 3.55])) ** 5, rtol=5e-3)


def doubt_at(depth_m):
    """How much of DOUBT a 10 cm voxel at such a depth meets in the 40 × 30 image: by the pixels that fall into it."""
    return np.minimum((30.0 * 0.1 / np.array(depth_m)) ** 2 / PIXELS_A_VOXEL, 1)


def test_noise_beside_a_surface_goes_and_the_surface_stays():
    world = SemanticMap(0.1, 2)
    wall, noise = np.array([[1.05, 0.05, 0.05]]), np.array([[1.15, 0.05, 0.05]])
    one = (np.zeros((1, 3)), np.ones((1, 2)), np.full(1, 3.0))
    world.integrate(noise, *one, 0)
    for _ in range(30):
        world.fade(wall_seen_from_origin(1.05))
        world.integrate(wall, *one, 0)
    held = snapshot_columns(world)
    assert len(held) == 1 and np.allclose(held.points, wall, atol=0.01)
    assert held.confidence[0] >= BELIEVED


def test_what_is_believed_is_not_doubted():
    world = SemanticMap(0.1, 2)
    world.integrate(
        np.array([[1.15, 0.05, 0.05]]), np.zeros((1, 3)), np.ones((1, 2)), np.full(1, BELIEVED), 0
    )
    for _ in range(50):
        world.fade(wall_seen_from_origin(1.05))
    assert snapshot_columns(world).confidence.tolist() == [BELIEVED]


def test_unknown_depth_fades_nothing():
    world = SemanticMap(0.1, 2)
    world.integrate(line(20) + [0.5, 0, 0], np.zeros((20, 3)), np.ones((20, 2)), np.full(20, 1.0), 0)
    assert world.fade(wall_seen_from_origin(0.0)) == 0 and len(world) == 20


def test_tiles_in_view_hold_every_voxel_that_projects_into_the_image():
    rng = np.random.default_rng(0)
    points = rng.uniform(-4, 4, (20_000, 3))
    for seed in range(5):
        T_KW = Sim3.exp(np.random.default_rng(seed).normal(size=7) * 0.5)
        K, depth = pinhole(30.0, 30, 40), np.full((30, 40), 4.0, np.float32)
        numbers = np.unique(voxel_keys(points, 0.05) >> 16)
        tiles = Look(T_KW, K, depth, 0.2).tiles_in_view(numbers, 0.05)
        X = T_KW.apply(points)
        uv = X[:, :2] / np.where(X[:, 2:] > 0, X[:, 2:], np.nan) * 30.0 + K[:2, 2]
        through = ((uv > -0.5) & (uv < np.array([39.5, 29.5]))).all(1) & (X[:, 2] < 4.0)
        assert through.any()
        assert set(np.unique(voxel_keys(points[through], 0.05) >> 16)) <= set(tiles.tolist())
        assert len(tiles) < len(numbers)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.floats(-1, 1), st.floats(-1, 1))
def test_fusing_and_moving_at_once_is_as_one_after_the_other(seed, x, y):
    one, other = SemanticMap(0.1, 4), SemanticMap(0.1, 4)
    *before, last = views(seed, 4)
    for n, view in enumerate(before):
        one.integrate(*view, n)
        other.integrate(*view, n)
    corrections = {1: Sim3.exp(np.array([0, 0, x, x, y, 0, 0])), 2: Sim3.exp(np.array([0, 0, y, y, x, 0, 0]))}
    one.update(Seen(*last, np.full(len(last[0]), 9, np.int32)), corrections)
    other.move(corrections)
    other.integrate(*last, 9)
    first, second = (snapshot_columns(w) for w in (one, other))
    order = [np.argsort(voxel_keys(v.points, 0.1)) for v in (first, second)]
    first, second = first.take(order[0]), second.take(order[1])
    assert len(one) == len(first) == len(other) == len(second)
    assert np.allclose(first.points, second.points, atol=1e-3)
    assert np.allclose(first.features(), second.features(), atol=0.08)
    assert (first.hits == second.hits).all() and (first.anchors == second.anchors).all()
