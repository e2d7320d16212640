"""Where matches do not settle a pose: how alike two views look where it lays one on the other."""

import numpy as np
import pytest
from oracle import K, OracleModel, World, look_at

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import Edge, PairAlignment, align_pair
from sab3r_ros.mapping.compiled import likest_near
from sab3r_ros.mapping.rivals import LEAST_EVIDENCE, SURE, Surface, best_rival, doubtful, evidence, likeness

CONFIG = AlignmentConfig()
POSES = (
    look_at(np.array([1.2, 0.8, 1.4]), [3.0, 2.4, 0.6]),
    look_at(np.array([1.5, 0.6, 1.4]), [3.1, 2.3, 0.6]),
)


@pytest.fixture(scope="module")
def surfaces():
    world = World()
    model = OracleModel(world, depth_noise=0.02)
    return [Surface(model.encode(world.image(T)), K) for T in POSES]


@pytest.fixture
def truth():
    T = np.linalg.inv(POSES[0]) @ POSES[1]
    return Sim3(1.0, T[:3, :3], T[:3, 3])


def turned(angle):
    return Sim3.step(np.array([0, angle, 0, 0, 0, 0, 0]))


def test_views_look_alike_where_the_true_pose_lays_them(surfaces, truth):
    right, wrong = likeness(truth, *surfaces), likeness(turned(0.5) @ truth, *surfaces)
    assert right > 0.9 and wrong < right - 0.1


def test_what_lies_nowhere_on_the_other_is_like_nothing(surfaces, truth):
    assert likeness(turned(np.pi) @ truth, *surfaces) == 0.0


def test_the_pose_of_fewer_matches_wins_where_it_makes_the_views_look_alike(surfaces, truth):
    rng = np.random.default_rng(0)
    wrong = turned(0.6) @ truth
    Xj = surfaces[1].view.points.reshape(-1, 3)[::60].astype(float)
    part = rng.random(len(Xj))
    Xi = np.where(part[:, None] < 0.3, wrong.apply(Xj), truth.apply(Xj))
    Xi[part > 0.55] = rng.uniform([-1, -1, 1], [1, 1, 4], (int((part > 0.55).sum()), 3))
    edge = Edge(0, 1, Xi, Xj, np.ones(len(Xj)))
    pair = align_pair(edge, CONFIG, rng)
    assert pair.T_ij.angle_to(wrong) < 0.05
    found = best_rival(*surfaces, edge, pair, CONFIG, rng)
    assert found.T_ij.angle_to(truth) < 0.05 and found.inliers < pair.inliers


def test_nothing_is_believed_that_neither_matches_nor_likeness_speak_for(surfaces):
    rng = np.random.default_rng(1)
    Xi, Xj = (rng.uniform([-1, -1, 1], [1, 1, 4], (200, 3)) for _ in range(2))
    assert best_rival(*surfaces, Edge(0, 1, Xi, Xj, np.ones(200)), None, CONFIG, rng) is None


@pytest.mark.parametrize(
    ("inliers", "probability", "doubted"), [(0.6, 0.1, True), (0.4, 0.9, True), (0.6, 0.9, False)]
)
def test_many_agreeing_matches_are_little_evidence_if_few_of_them_look_right(inliers, probability, doubted):
    points = np.zeros((100, 3))
    edge = Edge(0, 1, points, points, np.full(100, probability))
    pair = PairAlignment(Sim3.identity(), inliers, round(100 * inliers), np.eye(7))
    assert evidence(edge, pair) == pytest.approx(100 * inliers * probability)
    assert doubtful(pair, edge) == doubted == (evidence(edge, pair) < SURE or inliers < 0.5)
    assert doubtful(None, None)


def test_what_is_more_alike_needs_less_evidence(surfaces, truth):
    rng = np.random.default_rng(0)
    Xj = surfaces[1].view.points.reshape(-1, 3)[::60].astype(float)
    unlikely = Edge(0, 1, truth.apply(Xj), Xj, np.full(len(Xj), 0.8 * LEAST_EVIDENCE / len(Xj)))
    pair = align_pair(unlikely, CONFIG, rng)
    assert evidence(unlikely, pair) < LEAST_EVIDENCE
    assert best_rival(*surfaces, unlikely, pair, CONFIG, rng).T_ij.angle_to(truth) < 0.05


def test_likest_near_is_the_largest_product_around():
    rng = np.random.default_rng(2)
    D, queries = rng.normal(size=(7, 9, 24)).astype(np.float32), rng.normal(size=(5, 24)).astype(np.float32)
    places = np.array([0, 8, 31, 62, 40])
    twin = [
        max(D[y, x] @ q for y in range(7) for x in range(9) if max(abs(y - p // 9), abs(x - p % 9)) <= 2)
        for q, p in zip(queries, places, strict=True)
    ]
    assert np.allclose(likest_near(queries, D, places, 2), twin, atol=1e-5)
