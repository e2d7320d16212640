"""Known poses, heights and distances make metres (worlds from oracle.py)."""

from dataclasses import replace

import numpy as np
import pytest
from oracle import OracleModel, World, look_at, trajectory_error, walk

from sab3r_ros.config import MapperConfig
from sab3r_ros.errors import ConfigError
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.mapping.metric import HeightScale, carried_on, floor_distance, known_poses
from sab3r_ros.types import View

CONFIG = MapperConfig(voxel_size_m=0.05, min_texture=1.0)


class HalfSize(OracleModel):
    """Its metres are half metres, as a network's may be."""

    def decode(self, first, second):
        return tuple(replace(v, points=v.points / 2) for v in super().decode(first, second))


def at(x, s=1.0):
    return Sim3(s, np.eye(3), np.array([x, 0.0, 0.0]))


def rigid(x):
    T = np.eye(4)
    T[0, 3] = x
    return T


def mapped(model, poses, config=CONFIG, odometry=None):
    mapper = IncrementalMapper(model, config)
    for n, T_WC in enumerate(poses):
        frame = model.world.frame(T_WC, 0.1 * n)
        mapper.add_keyframe(replace(frame, T_OC=odometry[n]) if odometry else frame)
    mapper.flush()
    return mapper


def path_length(T):
    return np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).sum()


def test_known_poses_give_their_baseline_to_the_scale():
    poses, metres = known_poses({3: at(0.0), 4: at(0.5, s=1.1)}, {3: rigid(7.0), 4: rigid(8.0)}, None)
    assert metres == pytest.approx(2.0)
    assert poses[4].s == pytest.approx(2.2) and poses[4].t[0] == pytest.approx(8.0)


def test_the_way_goes_on_from_where_the_map_has_the_keyframe_at_odometrys_scale():
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    T_WO = carried_on(Sim3(1.1, quarter, np.array([5.0, 0, 0])), at(2.0, s=0.9))
    assert T_WO.s == 1.0
    assert T_WO.apply(np.array([[3.0, 0, 0]])) == pytest.approx(np.array([[5.0, 1.0, 0]]))


def test_cameras_that_stand_still_keep_the_scale_found_before():
    still = {0: rigid(1.0), 1: rigid(1.001)}
    assert known_poses({0: at(0.0), 1: at(0.4)}, still, None) is None
    poses, metres = known_poses({0: at(0.0), 1: at(0.4)}, still, 3.0)
    assert metres == 3.0 and poses[1].s == pytest.approx(3.0)


def test_odometry_makes_the_map_metric_in_its_own_frame():
    model, truth = HalfSize(World(), depth_noise=0.03, scale_noise=0.1), walk(16)
    blind = mapped(model, truth)
    assert not blind.status().scale_known
    assert path_length(blind.trajectory().T_WC) < 0.7 * path_length(np.stack(truth))
    mapper = mapped(model, truth, odometry=truth)
    assert mapper.status().scale_known
    assert np.linalg.norm(mapper.trajectory().T_WC[:, :3, 3] - np.stack(truth)[:, :3, 3], axis=1).max() < 1e-6
    points = mapper.snapshot().points
    assert (np.abs(points[:, 2]) < 0.1).mean() > 0.05  # the floor lies at z = 0 of the odometry


def test_frames_without_a_pose_go_on_by_sight():
    model, truth = HalfSize(World()), walk(20)
    odometry = [T if n < 10 else None for n, T in enumerate(truth)]
    mapper = mapped(model, truth, odometry=odometry)
    assert mapper.status().scale_known and len(mapper.trajectory().stamps) == 20
    assert trajectory_error(mapper.trajectory().T_WC, np.stack(truth)) < 0.02
    assert path_length(mapper.trajectory().T_WC) == pytest.approx(path_length(np.stack(truth)), rel=0.1)


def test_a_plane_below_the_camera_is_its_floor():
    v, u = np.mgrid[-40:40, -50:50] / 50.0
    down = np.maximum(v, 1e-3)
    depth = np.where(v > 0.1, 1.4 / down, 6.0)  # a floor 1.4 under the camera, a wall behind
    points = np.stack([u * depth, v * depth, depth], -1).astype(np.float32)
    points[..., 1] = np.minimum(points[..., 1], 1.4)
    ones = np.ones(points.shape[:2], np.float32)
    view = View(points, ones, ones[..., None], ones, None)
    assert floor_distance(view, np.random.default_rng(0)) == pytest.approx(1.4, rel=0.02)
    up = View(points * [1, -1, 1], ones, ones[..., None], ones, None)
    assert floor_distance(up, np.random.default_rng(0)) is None


def test_a_known_height_waits_until_views_agree_and_speaks_once():
    model, truth = HalfSize(World()), walk(16)
    mapper = mapped(model, truth, MapperConfig(voxel_size_m=0.05, min_texture=1.0, camera_height_m=1.3))
    scale = path_length(mapper.trajectory().T_WC) / path_length(np.stack(truth))
    assert mapper.status().scale_known and scale == pytest.approx(1.0, abs=0.12)
    assert HeightScale(0.0).factor(None, 1.0, None) is None


def test_a_known_distance_scales_poses_and_voxels():
    model = OracleModel(World())
    mapper = mapped(model, [look_at([1.5 + 0.05 * n, 2, 1.3], [4, 2 + 0.02 * n, 0.8]) for n in range(8)])
    before, length = mapper.snapshot(), path_length(mapper.trajectory().T_WC)
    mapper.rescale(2.0)
    after = mapper.snapshot()
    assert mapper.status().scale_known
    assert path_length(mapper.trajectory().T_WC) == pytest.approx(2 * length)
    assert np.ptp(after.points, axis=0) == pytest.approx(2 * np.ptp(before.points, axis=0), rel=0.02)
    with pytest.raises(ConfigError, match="known distance"):
        mapper.rescale(0.0)
