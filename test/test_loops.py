"""Loops, twins, cuts and sessions in rendered flats whose truth is known (bench/oracle_flat.py)."""

import numpy as np
import pytest
from oracle import trajectory_error
from oracle_flat import OracleNetwork, Place

from sab3r_ros.config import AlignmentConfig, LoopConfig, MapperConfig
from sab3r_ros.geometry.sim3 import Sim3, umeyama
from sab3r_ros.mapping import atlas as atlas_module
from sab3r_ros.mapping.alignment import PairAlignment
from sab3r_ros.mapping.atlas import Atlas
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.loops import Recogniser
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.mapping.places import Sighting
from sab3r_ros.types import TrackingState

CONFIG = MapperConfig(voxel_size_m=0.05)
SMALL = (80, 60)


def walked(place, poses, loops=None, first=0.0):
    mapper = IncrementalMapper(OracleNetwork(place), CONFIG, loops=loops)
    return go_on(mapper, place, poses, first)


def go_on(mapper, place, poses, first=0.0):
    for n, T_WC in enumerate(poses):
        mapper.add_keyframe(place.frame(T_WC, first + n))
    mapper.flush()
    return mapper


@pytest.mark.parametrize(("inliers", "believed"), [(0.45, False), (0.55, True)])
def test_a_lost_camera_does_not_believe_a_few_matches_that_a_loop_would(monkeypatch, inliers, believed):
    atlas = Atlas(CONFIG, LoopConfig(), 1, "none")
    atlas.graph.add(0, Sim3.identity(), 0)
    seen = Sighting(0, PairAlignment(Sim3.identity(), inliers, 80, np.eye(7)))
    monkeypatch.setattr(atlas.places, "alike", lambda *_: [0])
    monkeypatch.setattr(atlas.places, "compare", lambda *_: [seen])
    claim = Recogniser(atlas, AlignmentConfig(), LoopConfig()).locate(1, None, 1, 2.0)
    assert inliers > LoopConfig().min_inliers and (claim is not None) == believed


@pytest.mark.parametrize(("apart_m", "alike"), [(0.0, False), (4.0, True)])
def test_places_that_can_both_be_in_view_are_no_rivals(monkeypatch, apart_m, alike):
    """Two neighbours tell a view's place half a metre apart, as sure as they are; a twin room's place is elsewhere."""
    atlas = Atlas(CONFIG, LoopConfig(), 1, "none")
    at = [Sim3(1.0, np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 1.0 + apart_m)]
    for n, T_WK in enumerate(at):
        atlas.graph.add(n, T_WK, 0)
    atlas.graph.connect(Between(0, 1, at[1], 1e-4 * np.eye(7)))
    says = [Sim3(1.0, np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.8, 0.3)]
    seen = [Sighting(n, PairAlignment(says[n], 0.6, 100 - n, 1e-3 * np.eye(7))) for n in (0, 1)]
    monkeypatch.setattr(atlas.places, "alike", lambda *_: [0, 1])
    monkeypatch.setattr(atlas.places, "compare", lambda *_: seen)
    claim = Recogniser(atlas, AlignmentConfig(), LoopConfig()).locate(2, None, 2, 2.0)
    assert (claim is None) == alike


@pytest.fixture(scope="module")
def flat():
    place = Place("flat", 2, size=SMALL)
    return place, place.walk(200)


def there_and_back(poses, steps=30):
    return [*poses[:steps], *poses[steps::-1]]


def test_going_back_closes_loops_and_drift_goes(flat):
    place, poses = flat
    way = there_and_back(poses)
    with_loops, without = walked(place, way), walked(place, way, LoopConfig(min_gap=10_000))
    assert with_loops.status().loops >= 1 and without.status().loops == 0
    errors = [trajectory_error(m.trajectory().T_WC, np.stack(way)) for m in (with_loops, without)]
    assert errors[0] < 0.01 and errors[0] < errors[1]


def test_voxels_move_with_their_keyframes(flat):
    """After a large correction every voxel still lies where its keyframe sees it."""
    place, poses = flat
    mapper = walked(place, there_and_back(poses))
    snapshot, graph = mapper.snapshot(), mapper.atlas.graph
    T = np.linalg.inv(graph.poses(snapshot.anchors.tolist()))
    depth = (T[:, 2, :3] * snapshot.points).sum(1) + T[:, 2, 3]
    assert (depth > 0).mean() > 0.98


def test_seeing_a_place_again_adds_hardly_anything(flat, monkeypatch):
    """The keyframes are carried by those that are places; the graph that is settled hardly grows."""
    monkeypatch.setattr(atlas_module, "MOST_FRESH", 4)
    monkeypatch.setattr(atlas_module, "MOST_KEYFRAMES", 0)
    place, poses = flat
    mapper = walked(place, there_and_back(poses, 20))
    atlas = mapper.atlas
    nodes, places, keyframes = len(atlas.graph.T_WK), len(atlas.places), len(atlas.graph)
    go_on(mapper, place, there_and_back(poses, 20), first=1000.0)
    assert len(atlas.graph) == keyframes + 41 and len(mapper.trajectory().stamps) == len(atlas.graph)
    assert len(atlas.graph.T_WK) < nodes + 20 and len(atlas.places) < places + 8


@pytest.mark.slow
def test_twin_rooms_stay_two_rooms():
    place = Place("twins", 0, size=SMALL)
    way = place.walk(300)
    mapper, accepted = IncrementalMapper(OracleNetwork(place), CONFIG), []
    close = mapper.atlas.close
    mapper.atlas.close = lambda loop: accepted.append(loop) or close(loop)
    go_on(mapper, place, way)
    estimate, truth = mapper.trajectory().T_WC[:, :3, 3], np.stack(way)[:, :3, 3]
    metres, _, _ = umeyama(estimate, truth)
    graph, stamps = mapper.atlas.graph, mapper.atlas.stamps
    for e in accepted:
        T_Wi, T_Wj = (way[int(stamps[k])] for k in (e.i, e.j))
        claimed = T_Wi[:3, :3] @ e.T_ij.t * graph.pose(e.i).s * metres
        assert np.linalg.norm(T_Wi[:3, 3] + claimed - T_Wj[:3, 3]) < 1.0  # the twins are more than 3 m apart
    assert mapper.recogniser.refused >= 3  # and they were tempting
    assert trajectory_error(mapper.trajectory().T_WC, np.stack(way)) < 0.02


def test_a_second_session_stays_apart_until_a_known_place_joins_it(flat):
    place, poses = flat
    first = walked(place, poses[:24])
    second = IncrementalMapper(OracleNetwork(place), CONFIG)
    second.restore(first.snapshot(), first.state())
    assert second.status().state is TrackingState.LOST and second.status().keyframes == 24
    go_on(second, place, poses[60:48:-1], first=1000.0)
    assert second.status().state is TrackingState.RELOCALISING and second.status().pieces == 2
    go_on(second, place, poses[48:16:-1], first=1012.0)  # back to where the first session ended
    assert second.status().state is TrackingState.TRACKING and second.status().pieces == 1
    assert second.status().keyframes == 24 + 44  # nothing was lost
    truth = np.stack([*poses[:24], *poses[60:16:-1]])
    assert trajectory_error(second.trajectory().T_WC, truth) < 0.02


def test_a_kidnapped_camera_knows_where_it_is_within_three_keyframes(flat):
    place, poses = flat
    mapper = walked(place, poses[:40])
    for begin, stamp in ((8, 500.0), (28, 600.0)):
        for n in range(3):
            mapper.add_keyframe(place.frame(poses[begin + n], stamp + n))
        assert mapper.status().state is TrackingState.TRACKING and mapper.status().pieces == 1
        trajectory = mapper.trajectory()
        assert trajectory.stamps[-1] >= stamp
        newest, there = trajectory.T_WC[-1], trajectory.T_WC[begin + round(trajectory.stamps[-1] - stamp)]
        assert np.linalg.norm(newest[:3, 3] - there[:3, 3]) < 0.15
