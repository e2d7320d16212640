"""Poses from matches: exact ones, and the noise of a small network."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3, umeyama
from sab3r_ros.mapping.alignment import Edge, align_pair, measured, refine, refined
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.compiled import best_similarity
from sab3r_ros.mapping.pose_graph import PoseGraph

CONFIG = AlignmentConfig()


def scene(rng, count=400):
    """Points in front of camera i, metres."""
    z = rng.uniform(1, 4, count)
    return np.stack([rng.uniform(-0.5, 0.5, count) * z, rng.uniform(-0.4, 0.4, count) * z, z], 1)


def random_pose(rng, angle=0.2, shift=0.3, scale=0.1):
    return Sim3(
        float(np.exp(rng.normal(0, scale))),
        Rotation.from_rotvec(rng.normal(0, angle / 2, 3)).as_matrix(),
        rng.normal(0, shift / 2, 3),
    )


def observed(X, rng, depth_noise, ray_noise, wrong):
    """A pointmap's version of the points: errors along and across the rays, and some points that are anything."""
    Y = X * np.exp(depth_noise * rng.normal(size=(len(X), 1)))
    Y = Y + ray_noise * Y[:, 2:] * np.c_[rng.normal(size=(len(X), 2)), np.zeros(len(X))]
    bad = rng.random(len(X)) < wrong
    Y[bad] = scene(rng, int(bad.sum()))
    return Y


def edge(T_ij, rng, depth_noise=0.0, ray_noise=0.0, wrong=0.0, i=0, j=1, count=400):
    X = scene(rng, count)
    return Edge(
        i,
        j,
        observed(X, rng, depth_noise, ray_noise, wrong),
        observed(T_ij.inverse().apply(X), rng, depth_noise, ray_noise, 0),
        np.ones(count),
    )


def test_exact_matches_give_the_exact_similarity():
    rng = np.random.default_rng(0)
    for _ in range(5):
        T = random_pose(rng)
        found = align_pair(edge(T, rng), CONFIG, rng)
        assert found.inliers == 1.0
        assert np.allclose(found.T_ij.matrix(), T.matrix(), atol=1e-3)


@pytest.mark.parametrize(
    ("depth_noise", "ray_noise", "limit_deg"), [(0.05, 0.008, 0.6), (0.1, 0.008, 0.8), (0.15, 0.016, 1.5)]
)
def test_noisy_pointmaps_and_a_fifth_of_wrong_matches(depth_noise, ray_noise, limit_deg):
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(15):
        T = random_pose(rng)
        found = align_pair(edge(T, rng, depth_noise, ray_noise, 0.2), CONFIG, rng)
        errors.append(np.degrees(found.T_ij.angle_to(T)))
    assert np.median(errors) < limit_deg


def test_unrelated_points_do_not_align():
    rng = np.random.default_rng(2)
    for _ in range(10):
        assert align_pair(Edge(0, 1, scene(rng), scene(rng), np.ones(400)), CONFIG, rng) is None


def test_too_few_matches_do_not_align():
    rng = np.random.default_rng(3)
    assert align_pair(edge(random_pose(rng), rng, count=CONFIG.min_matches - 1), CONFIG, rng) is None


def test_refinement_of_a_triangle_settles_on_the_truth():
    rng = np.random.default_rng(5)
    truth = {0: Sim3.identity(), 1: random_pose(rng, scale=0.01), 2: random_pose(rng, scale=0.01)}
    edges = [edge(truth[i].inverse() @ truth[j], rng, i=i, j=j) for i, j in ((0, 1), (1, 2), (0, 2))]
    start = {k: (Sim3.step(rng.normal(0, 0.03, 7) * (k > 0)) @ T) for k, T in truth.items()}
    found = refine(start, edges, {0}, AlignmentConfig(scale_prior=10.0))
    for k in truth:
        assert np.allclose(found[k].matrix(), truth[k].matrix(), atol=2e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_three_matches_give_umeyamas_similarity(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3, 3)) + [0, 0, 4]
    Y = X @ Sim3.exp(rng.normal(0, 0.2, 7)).R.T * 1.2 + rng.normal(0, 0.05, (3, 3))
    sets = np.arange(3)[None]
    found, _ = best_similarity(Y, X, np.ones(3), sets, sets[0], 0.5, 1.0, 3.0, 1.0)
    s, R, t = umeyama(X, Y)
    assert found.s == pytest.approx(s, rel=1e-6)
    assert np.allclose(found.R, R, atol=1e-6) and np.allclose(found.t, t, atol=1e-5)


def test_the_similarity_that_most_agree_with_is_taken():
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(60, 3)) + [0, 0, 5], Sim3.exp(np.array([0.1, -0.2, 0.1, 0.3, 0, 0.1, 0.2]))
    Y = truth.apply(X)
    Y[40:] = rng.normal(size=(20, 3)) + [0, 0, 5]
    sets, every = rng.integers(0, 60, (80, 3)), np.arange(60)
    sets[3] = 7  # one match three times: no similarity
    found, count = best_similarity(Y, X, np.ones(60), sets, every, 0.003, 0.03, 3.0, 0.7)
    assert 40 <= count < 50 and np.allclose(found.matrix(), truth.matrix(), atol=1e-6)
    assert (
        best_similarity(Y, X, np.ones(60), sets, every, 0.003, 0.03, 3.0, 0.1)[1] < 40
    )  # its scale is not allowed


@pytest.mark.parametrize(("off", "count"), [((0.1, 0, 0), 4), ((0, 0.1, 0), 3)])
def test_a_ray_may_be_off_along_the_epipolar_line_only(off, count):
    """The other camera is a metre aside, the point two metres ahead: a fifth of its distance is a tenth of a radian.

    The ray may err by .01 there. Both looks miss by about 2 along the line (.1² is .01² + .5² .2², less what the distance's
    ratio, which is right, takes back), across it by 100.
    """
    X = np.array([[0.5, 0.4, 3], [-0.5, 0.4, 3], [0, -0.5, 2], [0, 0, 2]])
    aside = Sim3(1.0, np.eye(3), np.array([1.0, 0, 0]))
    Xi = X + 2 * np.array(off) * (np.arange(4) == 3)[:, None]
    sets = np.array([[0, 1, 2]])
    found, agreeing = best_similarity(
        Xi, aside.inverse().apply(X), np.ones(4), sets, np.arange(4), 0.01, 0.2, 3.0, 0.7
    )
    assert np.allclose(found.matrix(), aside.matrix(), atol=1e-9) and agreeing == count


def misfits(poses, edges, config):
    """What `refine` makes small, a match and a look at a time: residuals (N, 4) of rays and log distance, what whitens them
    (N, 4, 4), weights (N,). How they move where the other's distance is another is found by trying.
    """
    residuals, whiten, weights = [], [], []
    own_noise = np.diag([config.ray_sigma_rad**2] * 3 + [config.log_depth_sigma**2])
    for e in edges:
        for i, j, Xi, Xj in ((e.i, e.j, e.Xi, e.Xj), (e.j, e.i, e.Xj, e.Xi)):
            own = np.linalg.norm(Xi, axis=1)

            def seen(factor, i=i, j=j, Xi=Xi, Xj=Xj, own=own):
                away = poses[j].apply(factor * Xj) - poses[i].t
                length = np.linalg.norm(away, axis=1)
                rays = away / length[:, None] - Xi / own[:, None] @ poses[i].R.T
                return np.c_[rays, np.log(length / own / poses[i].s)]

            moves = (seen(np.exp(1e-5)) - seen(np.exp(-1e-5))) / 2e-5 * config.log_depth_sigma
            covariance = own_noise + moves[:, :, None] * moves[:, None]
            residuals.append(seen(1.0))
            weights.append(10 * e.probability / (1 + 9 * e.probability))
            whiten.append(np.linalg.inv(np.linalg.cholesky(covariance)))
    return np.concatenate(residuals), np.concatenate(whiten), np.concatenate(weights)


def refine_twin(poses, edges, fixed, config):
    """Plain Gauss-Newton with numeric derivatives: reweighted least squares by Geman-McClure, scales drawn to their start's."""
    free, start = [k for k in poses if k not in fixed], poses
    steps = 1e-6 * np.eye(7 * len(free))

    def moved(poses, delta):
        return poses | {k: Sim3.step(d) @ poses[k] for k, d in zip(free, delta.reshape(-1, 7), strict=True)}

    def weighted(poses, whiten):
        prior = [np.log(poses[k].s / start[k].s) / config.scale_prior for k in free]
        return np.r_[np.einsum("nab,nb->na", whiten, misfits(poses, edges, config)[0]).ravel(), prior]

    for _ in range(30):
        r, whiten, weight = misfits(poses, edges, config)
        square = (np.einsum("nab,nb->na", whiten, r) ** 2).sum(1)
        whiten = whiten * (np.sqrt(weight) / (1 + square / config.robust_width**2))[:, None, None]
        J = [weighted(moved(poses, d), whiten) - weighted(moved(poses, -d), whiten) for d in steps]
        delta = -np.linalg.lstsq(np.stack(J, 1) / 2e-6, weighted(poses, whiten), rcond=None)[0]
        poses = moved(poses, delta)
    return poses


@pytest.mark.parametrize("scale_prior", [0.02, 10.0])
def test_refinement_is_that_of_a_plain_twin(scale_prior):
    rng = np.random.default_rng(2)
    truth = {k: random_pose(rng) for k in (4, 2, 7)}
    edges = [
        edge(truth[i].inverse() @ truth[j], rng, 0.05, 0.008, 0.1, i=i, j=j, count=60)
        for i, j in ((4, 2), (2, 7), (4, 7))
    ]
    edges = [replace(e, probability=rng.uniform(0.02, 1, 60)) for e in edges]
    start = {k: Sim3.step(rng.normal(0, 0.01, 7) * (k != 4)) @ T for k, T in truth.items()}
    config = replace(CONFIG, scale_prior=scale_prior, refine_steps=30)
    found, twin = refine(start, edges, {4}, config), refine_twin(start, edges, {4}, config)
    assert found[4] is start[4]
    for k in (2, 7):
        off = np.linalg.norm((found[k].inverse() @ twin[k]).log())
        assert off < 0.05 * np.linalg.norm((start[k].inverse() @ twin[k]).log())


def test_a_refinement_tells_what_is_left():
    """Nothing of exact matches; of those that no pose brings to agree, nearly width² a look, which is Geman-McClure's most."""
    rng = np.random.default_rng(3)
    exact = edge(random_pose(rng), rng)
    T = align_pair(exact, CONFIG, rng).T_ij
    _, cost = refined({0: Sim3.identity(), 1: T}, [exact], {0}, CONFIG)
    assert cost < 1e-6
    far = replace(exact, Xi=1e3 * np.cross(exact.Xi, [1.0, 2, 3]), probability=np.ones(len(exact.Xi)))
    _, cost = refined({0: Sim3.identity(), 1: T}, [far], {0}, replace(CONFIG, refine_steps=2))
    most = 2 * len(far.Xi) * CONFIG.robust_width**2  # of either look no match costs more than width²
    assert 0.9 * most < cost < most


def test_a_pairs_covariance_is_that_of_its_errors():
    """Chi-square of seven degrees of freedom: 7 on average, or less, as the robust kernel doubts good matches, too."""
    rng = np.random.default_rng(5)
    T, chi_square = random_pose(rng), []
    for _ in range(40):
        found = measured(T, edge(T, rng, 0.03, 0.004), CONFIG)
        miss = (found.T_ij.inverse() @ T).log()
        chi_square.append(miss @ np.linalg.solve(found.covariance, miss))
    assert 2 < np.mean(chi_square) < 8


def test_errors_that_parts_of_the_image_share_are_in_the_covariance():
    """Independent errors of the same size, taken for independent, would give a chi-square ten times as large as its 7."""
    rng = np.random.default_rng(5)
    T, chi_square = random_pose(rng), []
    for _ in range(40):
        e = edge(T, rng)
        part = (np.floor(e.Xi[:, :2] / e.Xi[:, 2:] / 0.2) + 5).astype(int)
        shared = rng.normal(0, 0.06, (10, 10))[part[:, 0], part[:, 1]] + rng.normal(0, 0.02, len(part))
        found = measured(T, replace(e, Xi=e.Xi * np.exp(shared)[:, None]), CONFIG)
        miss = (found.T_ij.inverse() @ T).log()
        chi_square.append(miss @ np.linalg.solve(found.covariance, miss))
    assert 2 < np.mean(chi_square) < 10


def test_twice_the_noise_is_twice_the_error_expected():
    sigma = [
        np.sqrt(np.diag(measured(Sim3.identity(), edge(Sim3.identity(), rng, d, r), CONFIG).covariance))
        for rng, d, r in ((np.random.default_rng(6), 0.03, 0.004), (np.random.default_rng(6), 0.06, 0.008))
    ]
    assert sigma[1] / sigma[0] == pytest.approx(np.full(7, 2.0), rel=0.15)


def test_edges_by_themselves_ask_for_what_all_their_matches_ask_for_together():
    """Two ways from keyframe 0 to 1, one by 2: weighted by what each pair knows they meet where bundle adjustment does."""
    rng = np.random.default_rng(7)
    T = {0: Sim3.identity(), 1: random_pose(rng), 2: random_pose(rng)}
    pairs = [(0, 1, 100), (0, 2, 400), (2, 1, 400)]
    edges = [edge(T[i].inverse() @ T[j], rng, 0.03, 0.004, i=i, j=j, count=n) for i, j, n in pairs]
    free = replace(CONFIG, scale_prior=10.0, ray_sigma_rad=0.004, log_depth_sigma=0.042)
    together = refine(T, edges, {0}, free)
    graph = PoseGraph()
    for k, pose in T.items():
        graph.add(k, pose, 0)
    for e in edges:
        found = measured(T[e.i].inverse() @ T[e.j], e, CONFIG)
        graph.connect(Between(e.i, e.j, found.T_ij, found.covariance))
    graph.settle(T)
    for k in (1, 2):
        before = np.linalg.norm((T[k].inverse() @ together[k]).log())
        assert np.linalg.norm((graph.T_WK[k].inverse() @ together[k]).log()) < 0.35 * before


def test_a_pair_that_does_not_agree_says_nothing():
    rng = np.random.default_rng(8)
    aside = Sim3(1.0, Rotation.from_rotvec([0, 0.5, 0]).as_matrix(), np.zeros(3))
    assert measured(aside, edge(Sim3.identity(), rng), CONFIG) is None
