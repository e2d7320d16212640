"""What comes to lie beside a well-known voxel joins it: by hand, against a brute-force twin, and on whole surfaces."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.geometry.camera import pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping import beside
from sab3r_ros.mapping.beside import OUTWEIGHS, REACH, SUPPORTED, join
from sab3r_ros.mapping.fading import Look
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.mapping.tiles import TILE, voxel_keys
from sab3r_ros.voxels import Voxels

SIZE = 0.05
KNOWN = 2 * SUPPORTED
FIRST = {"known": KNOWN, "weak": SUPPORTED - 1}


def see(world, points, confidence, anchor=0, color=0):
    points = np.asarray(points, np.float32).reshape(-1, 3)
    n = len(points)
    sure = np.full(n, confidence, np.float32)
    return world.integrate(points, np.full((n, 3), color, np.uint8), np.ones((n, 2)), sure, anchor)


def held(world):
    voxels = Voxels.joined(world.blocks())
    return voxels.take(np.lexsort(voxels.points.T))


def test_a_point_beside_a_known_voxel_joins_it_at_the_border_of_its_cell():
    world = SemanticMap(SIZE, 2)
    see(world, [0.04, 0.02, 0.02], KNOWN)
    assert see(world, [0.06, 0.02, 0.02], KNOWN, color=100) == 0
    voxels = held(world)
    # The point counts at .0495, a hundredth of the cell within its border.
    assert np.allclose(voxels.points, [[(0.04 + 0.0495) / 2, 0.02, 0.02]], atol=1e-5)
    assert voxels.hits.tolist() == [2] and voxels.confidence.tolist() == [2 * KNOWN]
    assert voxels.colors.tolist() == [[50, 50, 50]]


def test_only_what_is_known_and_within_reach_is_joined():
    for first, second, fresh in (
        ("known", [0.04 + 0.95 * REACH * SIZE, 0.02, 0.02], 0),
        ("known", [0.04 + 1.05 * REACH * SIZE, 0.02, 0.02], 1),
        ("known", [0.051, 0.051, 0.02], 0),  # over an edge of the cell
        ("weak", [0.06, 0.02, 0.02], 1),
    ):
        world = SemanticMap(SIZE, 2)
        see(world, [0.04, 0.02, 0.02], FIRST[first])
        assert see(world, second, 1.0) == fresh


def test_the_border_between_tiles_is_none():
    edge = TILE * SIZE
    world = SemanticMap(SIZE, 2)
    see(world, [[edge - 0.01, 0.02, 0.02], [edge + 0.02, 1.02, 0.02]], KNOWN)
    assert see(world, [[edge + 0.01, 0.02, 0.02], [edge - 0.01, 1.02, 0.02]], 1.0) == 0


def test_a_weak_voxel_gives_way_and_a_known_one_does_not():
    for confidence, hits in ((1.0, [2, 1]), (SUPPORTED - 1, [1, 2]), (KNOWN, [1, 2])):
        world = SemanticMap(SIZE, 2)
        see(world, [0.06, 0.02, 0.02], confidence)
        world.load(
            Voxels.joined(
                [
                    held(world),
                    Voxels.of(*map(np.array, ([[0.04, 0.02, 0.02]], [[0] * 3], [[1, 1]], [KNOWN], [1]))),
                ]
            )
        )
        see(world, [0.06, 0.02, 0.02], 1.0)
        assert held(world).hits.tolist() == hits


def test_surfaces_ten_centimetres_apart_stay_two_and_a_thin_sheet_stays():
    rng = np.random.default_rng(0)
    y, z = rng.uniform(0, 1, (2, 20_000))
    near, far = (np.stack([np.full_like(y, x), y, z], -1) for x in (1.02, 1.12))
    world = SemanticMap(SIZE, 2)
    for _ in range(4):
        for sheet in (near, far):
            see(world, sheet + rng.normal(0, 0.01, near.shape), 3.0)
    x = held(world).points[:, 0]
    sides = [np.abs(x - 1.02), np.abs(x - 1.12)]
    assert (np.minimum(*sides) < 0.03).mean() > 0.9
    for side in sides:
        assert (side < 0.03).sum() >= 20 * 20  # each has all its cells


def visits_of_a_plane(count):
    """How many voxels there are after each. A look at the square metre has noise of a third of a voxel, and an error of pose."""
    rng, world, sizes = np.random.default_rng(1), SemanticMap(SIZE, 2), []
    T_KW = Sim3(1.0, np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))
    look = Look(T_KW, pinhole(60.0, 60, 60), np.full((60, 60), 1.0, np.float32), margin=0.2)
    for _ in range(count):
        for _ in range(20):
            y, z = rng.uniform(-0.5, 0.5, (2, 1000))
            plane = np.stack([1 + rng.normal(0, SIZE / 3, len(y)), y, z], -1) + rng.normal(0, 0.01, 3)
            world.fade(look)
            see(world, plane, 3.0)
        sizes.append(len(world))
    return sizes


def test_a_second_noisy_visit_of_a_plane_adds_little(monkeypatch):
    first, second = visits_of_a_plane(2)
    assert second < 1.05 * first
    monkeypatch.setattr(beside, "REACH", 0.0)
    thick, thicker = visits_of_a_plane(2)
    assert first < 0.75 * thick and second < 0.75 * thicker


def test_a_weak_voxel_that_moves_beside_a_known_one_joins_it_and_a_known_one_stays_itself():
    for confidence, count in ((1.0, 1), (KNOWN, 2)):
        world = SemanticMap(SIZE, 2)
        see(world, [0.04, 0.02, 0.02], KNOWN, anchor=1)
        see(world, [1.06, 0.02, 0.02], confidence, anchor=2)
        world.move({2: Sim3(1.0, np.eye(3), np.array([-1.0, 0, 0]))})
        voxels = held(world)
        assert len(voxels) == len(world) == count and voxels.hits.sum() == 2
        assert voxels.anchors[0] == 1


def test_what_leaves_draws_nothing():
    world = SemanticMap(SIZE, 2)
    see(world, [0.04, 0.02, 0.02], KNOWN, anchor=1)
    (tile,) = world._tiles.values()
    number = np.array(list(world._tiles))
    points = np.array([[0.06, 0.02, 0.02]], np.float32)
    for leave, joined in ((None, 1), (np.array([False]), 1), (np.array([True]), 0)):
        arguments = [tile], [leave], np.ones(1, bool), voxel_keys(points, SIZE), points.copy(), SIZE
        assert join(number, *arguments) == joined


def twin(voxels, points, may_join):
    """Keys and points after joining, point by point, looking at every voxel."""
    known = dict(zip(voxel_keys(voxels.points, SIZE).tolist(), range(len(voxels)), strict=True))
    keys, out = voxel_keys(points, SIZE), points.copy()
    for n, (p, key) in enumerate(zip(points.astype(float), keys.tolist(), strict=True)):
        own = float(voxels.confidence[known[key]]) if key in known else 0.0
        if not may_join[n] or own >= SUPPORTED:
            continue
        cell, nearest = np.floor(points[n] / SIZE).astype(int), REACH * SIZE
        for step in product((-1, 0, 1), repeat=3):
            (there,) = voxel_keys((cell + step + 0.5)[None] * SIZE, SIZE).tolist()
            row = known.get(there)
            if row is None or step == (0, 0, 0):
                continue
            gap = np.linalg.norm(voxels.points[row] - p)
            if voxels.confidence[row] >= max(SUPPORTED, OUTWEIGHS * own) and gap < nearest:
                nearest, keys[n] = gap, there
                low = (cell + step) * SIZE
                out[n] = np.clip(p, low + 0.01 * SIZE, low + 0.99 * SIZE)
    return keys, out


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_joining_is_as_its_twin(seed):
    rng = np.random.default_rng(seed)
    corner = rng.integers(-2, 2, 3) * TILE * SIZE  # tiles meet here
    world = SemanticMap(SIZE, 2)
    there = rng.uniform(-0.2, 0.2, (150, 3)) + corner
    world.load(
        Voxels.of(there, there * 0, np.ones((150, 2)), rng.uniform(1, 4 * SUPPORTED, 150), np.ones(150))
    )
    points = (rng.uniform(-0.2, 0.2, (200, 3)) + corner).astype(np.float32)
    may_join, keys = rng.random(200) < 0.9, voxel_keys(points, SIZE)
    expected, places = twin(held(world), points, may_join)
    numbers = np.unique(keys >> 16)
    tiles = [world._tiles.get(n, world._empty) for n in numbers.tolist()]
    moved = points.copy()
    count = join(numbers, tiles, [None] * len(tiles), may_join, keys, moved, SIZE)
    assert count == (expected != voxel_keys(points, SIZE)).sum()
    assert (keys == expected).all() and np.allclose(moved, places, atol=1e-6)
