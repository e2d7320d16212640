"""What follows a loop: voxels that wait and move, a few at a time; keyframes that others carry; maps saved in between."""

import numpy as np
import pytest

from sab3r_ros.config import LoopConfig, MapperConfig
from sab3r_ros.geometry.camera import pinhole, pixel_grid
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping import atlas as atlas_module
from sab3r_ros.mapping.atlas import Atlas
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.types import View

SIZE, K = (30, 40), pinhole(30.0, 30, 40)
CONFIG = MapperConfig(voxel_size_m=0.05)
LOOPS = LoopConfig()
SURE = np.diag([1e-4] * 3 + [0.01] * 3 + [1e-4]) ** 2  # of steps; a loop is a hundred times surer
STEP = Sim3(1.0, np.eye(3), np.array([10.0, 0, 0]))  # no two keyframes see the same


def wall():
    """A wall 1 m ahead."""
    rays = np.concatenate([(pixel_grid(*SIZE) - K[:2, 2]) / 30.0, np.ones((*SIZE, 1))], -1)
    ones = np.ones(SIZE, np.float32)
    return View(
        rays.astype(np.float32),
        3 * ones,
        np.ones((15, 20, 24)),
        ones[::2, ::2],
        np.ones((*SIZE, 2), np.float16),
    )


def row_of_walls(count):
    atlas = Atlas(CONFIG, LOOPS, 2, "none")
    T = Sim3.identity()
    for k in range(count):
        keyframe = Keyframe(k, float(k), np.zeros((*SIZE, 3), np.uint8), K, None)
        edges = [Between(k - 1, k, STEP, SURE)] if k else []
        atlas.add(keyframe, wall(), T, edges, 0)
        atlas.fuse()
        T = T @ STEP
    return atlas


def closed(count=8, pull=-1.4):
    """The loop says that the last keyframe stands 1.4 m before where the chain has put it."""
    atlas = row_of_walls(count)
    T_ij = Sim3(1.0, np.eye(3), np.array([10.0 * (count - 1) + pull, 0, 0]))
    atlas.close(Between(0, count - 1, T_ij, SURE / 1e4, True))
    return atlas


def middles(snapshot):
    """Mean x of each keyframe's voxels."""
    return {k: snapshot.points[snapshot.anchors == k, 0].mean() for k in np.unique(snapshot.anchors).tolist()}


def test_a_loop_moves_a_counted_number_of_voxels_at_a_time(monkeypatch):
    atlas = closed()
    each = atlas.world.anchored(0)
    monkeypatch.setattr(atlas_module, "MOVED_AT_ONCE", 2 * each)
    counts, move = [], atlas.world.move
    monkeypatch.setattr(atlas.world, "move", lambda c: counts.append(move(c)) or counts[-1])
    before, total = middles(atlas.snapshot()), len(atlas.world)
    atlas.rest()
    # All but the first keyframe go, a seventh of 1.4 m each and more; some may lie in the same cells as before.
    assert len(counts) == 4 and max(counts) <= 2 * each and sum(counts) == 7 * each
    after = middles(atlas.snapshot())
    for k, x in after.items():
        assert x - before[k] == pytest.approx(-1.4 * k / 7, abs=0.06)
    assert len(atlas.world) <= total


def test_a_keyframe_with_more_voxels_than_that_still_moves(monkeypatch):
    atlas = closed()
    monkeypatch.setattr(atlas_module, "MOVED_AT_ONCE", 1)
    atlas.rest()
    assert middles(atlas.snapshot())[7] == pytest.approx(70 - 1.4, abs=0.05)


def test_a_snapshot_shows_each_keyframes_voxels_before_or_after_but_never_between(monkeypatch):
    old, new = middles(closed().snapshot()), closed()
    new.rest()
    new = middles(new.snapshot())
    atlas = closed()
    monkeypatch.setattr(atlas_module, "MOVED_AT_ONCE", 2 * atlas.world.anchored(0))
    states = []
    while atlas._waiting:
        atlas.world.move(atlas._next_moves(atlas_module.MOVED_AT_ONCE))
        atlas.version += 1
        now = middles(atlas.snapshot())
        for k, x in now.items():
            assert min(abs(x - old[k]), abs(x - new[k])) < 1e-3
        states.append(sum(abs(x - old[k]) > 1e-3 for k, x in now.items()))
    assert states == [2, 4, 6, 7]


def test_voxels_around_the_camera_move_first():
    assert list(closed()._waiting) == [7, 6, 5, 4, 3, 2, 1]


def test_a_map_saved_while_voxels_wait_comes_to_rest_where_the_other_does():
    first, second = closed(), Atlas(CONFIG, LOOPS, 2, "none")
    second.restore(first.snapshot(), first.state())
    assert second._waiting.keys() == first._waiting.keys()
    first.rest()
    second.rest()
    assert middles(second.snapshot()) == pytest.approx(middles(first.snapshot()), abs=1e-4)


def test_maps_that_know_of_no_carried_keyframes_are_read():
    first, second = row_of_walls(4), Atlas(CONFIG, LOOPS, 2, "none")
    new = ("carried", "waiting", "graph_loops")
    second.restore(first.snapshot(), {k: v for k, v in first.state().items() if not k.startswith(new)})
    assert len(second.graph) == 4 and not second._waiting and second.next_id == 4


def test_a_small_graph_carries_nobody():
    atlas = row_of_walls(6)
    atlas.thin(busy=set())
    assert not len(atlas.graph.carried)


def test_the_oldest_are_carried_first(monkeypatch):
    monkeypatch.setattr(atlas_module, "MOST_KEYFRAMES", 4)
    atlas = row_of_walls(6)
    atlas.places.remember(0, wall())
    atlas.places.remember(5, wall())
    atlas.thin(busy=set())
    assert list(atlas.graph.carried) == [1, 2]


def test_a_map_of_older_versions_knows_independent_errors_only():
    first, second = closed(), Atlas(CONFIG, LOOPS, 2, "none")
    state = first.state()
    covariance = state.pop("graph_covariance")
    state["graph_sigma"] = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    second.restore(first.snapshot(), state)
    assert np.allclose(second.graph.edges[0][0].covariance, first.graph.edges[0][0].covariance)


def test_carried_keyframes_stand_still_and_move_with_their_carrier(monkeypatch):
    monkeypatch.setattr(atlas_module, "MOST_KEYFRAMES", 0)
    atlas = row_of_walls(6)
    atlas.places.remember(0, wall())
    atlas.places.remember(4, wall())
    before = atlas.trajectory()
    atlas.thin(busy={3})
    assert sorted(atlas.graph.T_WK) == [0, 3, 4, 5] and sorted(atlas.graph.carried) == [1, 2]
    assert np.allclose(atlas.trajectory().T_WC, before.T_WC, atol=1e-4)
    assert (atlas.trajectory().stamps == before.stamps).all() and not atlas._waiting
    atlas.close(Between(4, 5, Sim3(1.0, np.eye(3), np.array([10.0, 0.5, 0])), SURE / 1e4, True))
    atlas.thin(busy=set())
    assert 3 in atlas.graph.carried and atlas.graph.carried.carrier(3) == 0
    again = Atlas(CONFIG, LOOPS, 2, "none")
    again.restore(atlas.snapshot(), atlas.state())
    assert np.allclose(again.trajectory().T_WC, atlas.trajectory().T_WC)
    assert again.graph.carried.of(0) == atlas.graph.carried.of(0) != ()
    assert again.graph.loops == 1


def test_cargo_moves_with_its_carrier(monkeypatch):
    monkeypatch.setattr(atlas_module, "MOST_KEYFRAMES", 0)
    atlas = row_of_walls(6)
    atlas.places.remember(2, wall())
    atlas.places.remember(5, wall())
    atlas.thin(busy=set())
    assert set(atlas.graph.carried) == {1, 3, 4}
    T_ij = Sim3(1.0, np.eye(3), np.array([50.0, 1.0, 0]))
    atlas.close(Between(0, 5, T_ij, SURE / 1e4, True))
    assert atlas.graph.T_WK[5].t[1] == pytest.approx(1.0, abs=0.01)
    moved = atlas.graph.T_WK[2].t[1]
    assert moved > 0.1
    assert np.allclose(atlas.graph.pose(4).t, (atlas.graph.T_WK[2] @ STEP @ STEP).t, atol=1e-4)
    atlas.rest()
    snapshot = atlas.snapshot()
    for k in range(6):
        y = snapshot.points[snapshot.anchors == k, 1].mean()
        assert y == pytest.approx(atlas.graph.pose(k).t[1], abs=0.06)
