"""A focal length that nobody has told: guesses of pointmaps, evidence of matches, and which of them prevails."""

import numpy as np
import oracle
import pytest
from oracle import OracleModel, World, look_at
from scipy.spatial.transform import Rotation

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.camera import on_rays, pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import Edge
from sab3r_ros.mapping.focal import TRIED, WRONG, FocalEstimate, costs_by_focal, refocused
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.window import Window
from sab3r_ros.types import View

CONFIG = AlignmentConfig()
BLANK = Keyframe(0, 0.0, np.zeros((48, 64, 3), np.uint8), None, None)


def view(focal):
    points = on_rays(np.full((48, 64, 3), 2.0, np.float32), pinhole(focal, 48, 64))
    return View(points, np.ones((48, 64), np.float32), None, None, None)


def turned_pair(rng, log_error, pose=None, count=200):
    """Exact matches of two views a turn apart, put on the rays of a focal length that is wrong by exp(log_error)."""
    z = rng.uniform(1, 4, count)
    X = np.stack([rng.uniform(-0.6, 0.6, count) * z, rng.uniform(-0.5, 0.5, count) * z, z], 1)
    T = pose or Sim3(1.0, Rotation.from_rotvec([0.1, 0.4, 0.05]).as_matrix(), np.array([0.5, 0.1, 0.2]))
    X = X[T.inverse().apply(X)[:, 2] > 0.2]
    return refocused(Edge(0, 1, X, T.inverse().apply(X), np.ones(len(X))), log_error), T


def guessed(*focals):
    estimate = FocalEstimate()
    for focal in focals:
        estimate.update(view(focal))
    estimate.decide()
    return estimate


def test_matches_agree_best_at_the_right_focal_length():
    edge, T = turned_pair(np.random.default_rng(0), -0.2)
    costs = costs_by_focal(edge, T, CONFIG)
    assert TRIED[costs.argmin()] == pytest.approx(0.2)
    assert costs.min() < 0.1 < 100 < costs[len(TRIED) // 2]


def test_matches_correct_what_pointmaps_say():
    rng, estimate = np.random.default_rng(1), guessed(40.0, 43.0, 41.0)
    assert estimate.pixels == pytest.approx(41.0, rel=0.011)
    for _ in range(4):
        edge, T = turned_pair(rng, np.log(estimate.pixels / 50))
        estimate.learn(edge, T, CONFIG)
    assert estimate.decide()
    assert estimate.pixels == pytest.approx(50.0, rel=0.03)
    assert estimate.K(BLANK) == pytest.approx(pinhole(estimate.pixels, 48, 64))
    assert not estimate.decide()  # nothing new


def test_where_matches_say_nothing_the_guesses_stand():
    still = Sim3.identity()  # the same view twice: all focal lengths explain it
    rng, estimate = np.random.default_rng(2), guessed(40.0, 43.0, 41.0)
    before = estimate.pixels
    for _ in range(10):
        estimate.learn(*turned_pair(rng, 0.0, still), CONFIG)
        estimate.decide()
    assert estimate.pixels == pytest.approx(before, rel=0.011)


def test_guesses_that_are_all_alike_are_believed():
    rng, sure, unsure = np.random.default_rng(3), guessed(*[50.0] * 30), guessed(*np.linspace(45, 55, 30))
    for estimate in (sure, unsure):
        estimate.learn(*turned_pair(rng, -0.1), CONFIG)
        estimate.decide()
    assert sure.pixels == pytest.approx(50.0, rel=0.02)
    assert unsure.pixels > 53


def test_no_pair_says_more_than_that_it_may_be_wrong():
    estimate = guessed(50.0)
    estimate.learn(*turned_pair(np.random.default_rng(4), 0.2), CONFIG)
    assert np.ptp(estimate._against) <= np.log((1 + WRONG) / WRONG) + 1e-9


def test_before_any_guess_there_is_none():
    estimate = FocalEstimate()
    assert estimate.K(BLANK) is None and not estimate.decide() and np.isnan(estimate.pixels)


class Narrow(OracleModel):
    """It takes the camera for one of a focal length a sixth shorter, a little more or less by the view."""

    def encode(self, image):
        seen = super().encode(image)
        focal = oracle.FOCAL * (0.82 + 0.01 * (self.encoded % 3))
        return View(
            on_rays(seen.points, pinhole(focal, *seen.size)),
            *(seen.confidence, seen.descriptors, seen.descriptor_confidence, seen.features),
        )

    def decode(self, first, second):
        return first, second


def test_a_window_finds_the_focal_length_and_puts_all_its_views_on_the_rays():
    world = World()
    window = Window(Narrow(world), CONFIG)
    eyes = ([1.0, 0.8, 1.4], [1.3, 0.7, 1.4], [1.6, 0.9, 1.3], [1.2, 1.2, 1.5])
    truth = [look_at(np.array(eye), [3.0, 2.0 + 0.4 * n, 0.6]) for n, eye in enumerate(eyes)]
    for n, T_WC in enumerate(truth):
        image = world.image(T_WC)
        window.add(Keyframe(n, float(n), image, None, window.model.encode(image)))
    poses = window.solve(np.random.default_rng(0))
    focal = window.focal.pixels
    assert focal == pytest.approx(oracle.FOCAL, rel=0.04)
    for k in window.keyframes:
        points = window.view(k).points
        assert points[0, -1, 0] / points[0, -1, 2] == pytest.approx((oracle.WIDTH - 1) / 2 / focal, rel=1e-4)
    for (i, _), edge in window._edges.items():
        u = edge.Xi[:, 0] / edge.Xi[:, 2] * focal + (oracle.WIDTH - 1) / 2
        assert i == edge.i and np.abs(u - edge.uv_i[:, 0]).max() < 0.5
    T = np.linalg.inv(truth[0]) @ truth[3]
    assert poses[3].angle_to(Sim3(1.0, T[:3, :3], T[:3, 3])) < 0.02
