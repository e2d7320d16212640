"""The mapper against a world whose truth is known (oracle.py)."""

import numpy as np
import pytest
from oracle import BOXES, OracleModel, World, look_at, trajectory_error, walk

from sab3r_ros.config import MapperConfig
from sab3r_ros.errors import ImageError, MapFileError
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.types import Frame, TrackingState

CONFIG = MapperConfig(keyframe_disparity=0.03, voxel_size_m=0.05, min_texture=1.0)


def mapped(model, poses, config=CONFIG):
    mapper = IncrementalMapper(model, config)
    for n, T_WC in enumerate(poses):
        mapper.add_frame(model.world.frame(T_WC, 0.1 * n))
    mapper.flush()
    return mapper


def truth_of(mapper, poses):
    return np.stack([poses[round(stamp / 0.1)] for stamp in mapper.trajectory().stamps])


def test_true_pointmaps_give_the_true_trajectory_and_map():
    model, poses = OracleModel(World()), walk(30)
    mapper = mapped(model, poses)
    truth = truth_of(mapper, poses)
    assert len(truth) >= 12 and mapper.windows_rejected == 0
    assert trajectory_error(mapper.trajectory().T_WC, truth) < 0.004
    # The map frame is the first camera turned to REP-103; take the map to the true world and look for a box's top.
    snapshot = mapper.snapshot()
    T = truth[0] @ np.linalg.inv(mapper.trajectory().T_WC[0])
    X = snapshot.points @ T[:3, :3].T + T[:3, 3]
    box = BOXES[1]
    top = (
        (np.abs(X[:, 2] - box[1, 2]) < 0.06) & (X[:, :2] > box[0, :2]).all(1) & (X[:, :2] < box[1, :2]).all(1)
    )
    assert top.sum() > 50
    assert (snapshot.features_of(np.flatnonzero(top)).argmax(1) == 2).mean() > 0.95


def test_a_keyframe_is_encoded_once():
    model = OracleModel(World())
    mapper = mapped(model, walk(20))
    assert model.encoded == len(mapper.trajectory().stamps)


@pytest.mark.parametrize(
    ("noise", "limit"),
    [
        ({"depth_noise": 0.05}, 0.01),
        ({"depth_noise": 0.1, "outliers": 0.2}, 0.03),
        ({"scale_noise": 0.15, "depth_noise": 0.03}, 0.03),
    ],
)
def test_noisy_pointmaps_still_give_a_trajectory(noise, limit):
    model, poses = OracleModel(World(), **noise), walk(30)
    mapper = mapped(model, poses)
    assert trajectory_error(mapper.trajectory().T_WC, truth_of(mapper, poses)) < limit


def test_a_cut_to_another_world_makes_a_piece_of_its_own_and_the_way_back_is_found():
    home, poses = World(), walk(24)
    model = OracleModel(home)
    mapper = mapped(model, poses)
    known, points = len(mapper.trajectory().stamps), mapper.snapshot().points
    abroad = World(shift=37.0)
    states = []
    for n, T_WC in enumerate(walk(8)):
        frame = abroad.frame(T_WC, 10 + 0.1 * n)
        home.seen |= abroad.seen
        model.world = abroad
        mapper.add_frame(frame)
        states.append(mapper.status().state)
    assert TrackingState.LOST in states and states[-1] is TrackingState.RELOCALISING
    assert mapper.status().pieces == 2 and len(mapper.trajectory().stamps) > known  # nothing is lost
    assert (mapper.snapshot().points[: len(points)] == points).all()  # and nothing mixed
    assert mapper.snapshot().points[len(points) :, 0].min() > points[:, 0].max() + 50
    model.world = home
    again = walk(24)[10]
    again[:3, 3] += [0.03, 0.02, 0.0]
    mapper.add_frame(home.frame(again, 20.0))
    assert mapper.status().state is TrackingState.TRACKING
    T_0W = mapper.trajectory().T_WC[0] @ np.linalg.inv(poses[0])
    assert np.linalg.norm((T_0W @ again)[:3, 3] - mapper.trajectory().T_WC[-1][:3, 3]) < 0.05


def test_stamps_that_jump_back_keep_the_map_and_go_on():
    model, poses = OracleModel(World()), walk(24)
    mapper = mapped(model, poses)
    known = len(mapper.trajectory().stamps)
    for n, T_WC in enumerate(poses[:12]):  # a looping bag
        mapper.add_frame(model.world.frame(T_WC, 0.1 * n))
    mapper.flush()
    assert mapper.status().state is TrackingState.TRACKING
    assert len(mapper.trajectory().stamps) > known


def test_a_frame_that_was_overtaken_is_left_out():
    model, poses = OracleModel(World()), walk(24)
    mapper = IncrementalMapper(model, CONFIG)
    for n in [*range(12), 14, 13, *range(15, 24)]:
        result = mapper.add_frame(model.world.frame(poses[n], 0.1 * n))
        assert ("overtaken: 0.100 s" in result.reason) == (n == 13)
        assert mapper.status().state is not TrackingState.LOST
    mapper.flush()
    assert trajectory_error(mapper.trajectory().T_WC, truth_of(mapper, poses)) < 0.004


def test_a_saved_map_goes_on_where_it_is_recognised():
    model, poses = OracleModel(World()), walk(24)
    first = mapped(model, poses)
    second = IncrementalMapper(model, CONFIG)
    second.restore(first.snapshot(), first.state())
    assert len(second.world) == len(first.world)
    for n, T_WC in enumerate(poses[5:15]):
        second.add_frame(model.world.frame(T_WC, 100 + 0.1 * n))
    second.flush()
    assert second.status().state is TrackingState.TRACKING
    truth = poses[5][:3, 3] - poses[0][:3, 3]
    placed = second.trajectory().T_WC[len(first.trajectory().stamps)][:3, 3]
    assert abs(np.linalg.norm(placed) - np.linalg.norm(truth)) < 0.05


def test_a_map_of_another_model_is_refused():
    model = OracleModel(World())
    snapshot = mapped(model, walk(12)).snapshot()
    other = OracleModel(World(), identity="another")
    with pytest.raises(MapFileError, match="made by oracle"):
        IncrementalMapper(other, CONFIG).restore(snapshot, {})


def test_black_frames_are_skipped_with_a_reason():
    mapper = IncrementalMapper(OracleModel(World()), CONFIG)
    for n in range(5):
        result = mapper.add_frame(Frame(np.zeros((96, 128, 3), np.uint8), 0.1 * n))
        assert not result.accepted and "too little texture" in result.reason
    assert mapper.status().keyframes == 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((96, 128), np.uint8),
        np.full((96, 128, 3), np.nan),
        np.zeros((4, 4, 3), np.uint8),
    ],
)
def test_bad_images_raise_and_change_nothing(image):
    mapper = IncrementalMapper(OracleModel(World()), CONFIG)
    with pytest.raises(ImageError):
        mapper.add_frame(Frame(image, 0.0))
    assert mapper.status().keyframes == 0


def test_snapshot_is_shared_while_nothing_changes_and_survives_what_comes_after():
    model, poses = OracleModel(World()), walk(24)
    mapper = IncrementalMapper(model, CONFIG)
    for n, T_WC in enumerate(poses[:12]):
        mapper.add_frame(model.world.frame(T_WC, 0.1 * n))
    before = mapper.snapshot()
    assert mapper.snapshot() is before
    points = before.points.copy()
    for n, T_WC in enumerate(poses[12:], start=12):
        mapper.add_frame(model.world.frame(T_WC, 0.1 * n))
    assert mapper.snapshot().version > before.version
    assert (before.points == points).all()


def test_the_map_frame_is_rep_103():
    model = OracleModel(World())
    level = [
        look_at([1.0 + 0.06 * n, 2.0, 1.2], [4.5 + 0.06 * n, 2.0, 1.2]) for n in range(12)
    ]  # ahead along +x
    side = [
        look_at([2.0, 1.0 + 0.06 * n, 1.2], [5.0, 1.0 + 0.06 * n, 1.2]) for n in range(12)
    ]  # to the left, +y
    ahead = (
        mapped(model, level, MapperConfig(keyframe_disparity=0.01, min_texture=1.0))
        .trajectory()
        .T_WC[-1][:3, 3]
    )
    left = mapped(model, side, CONFIG).trajectory().T_WC[-1][:3, 3]
    assert ahead[0] > 0.3 and np.abs(ahead[1:]).max() < 0.1
    assert left[1] > 0.3 and np.abs(left[[0, 2]]).max() < 0.1


def test_the_first_pose_is_the_origin():
    mapper = mapped(OracleModel(World()), walk(12))
    assert np.allclose(mapper.trajectory().T_WC[0][:3, 3], 0)
    assert Sim3.from_matrix(mapper.trajectory().T_WC[0]).s == pytest.approx(1.0)
