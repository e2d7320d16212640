"""Sim(3): group laws, and Umeyama against a brute-force twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.sim3 import Sim3, robust_umeyama, rotation, skew, umeyama

numbers = st.floats(-2, 2)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)


@st.composite
def similarities(draw):
    w, t, scale = draw(vectors), draw(vectors), draw(st.floats(-1, 1))
    return Sim3(float(np.exp(scale)), Rotation.from_rotvec(w / 2).as_matrix(), t)


def close(a: Sim3, b: Sim3) -> bool:
    return np.allclose(a.matrix(), b.matrix(), atol=1e-8)


@settings(deadline=None, max_examples=50)
@given(similarities(), similarities(), similarities(), vectors)
def test_group_laws(a, b, c, x):
    assert close((a @ b) @ c, a @ (b @ c))
    assert close(a @ Sim3.identity(), a)
    assert close(a @ a.inverse(), Sim3.identity())
    assert np.allclose((a @ b).apply(x), a.apply(b.apply(x)))
    assert np.allclose(a.matrix() @ [*x, 1], [*a.apply(x), 1])


@settings(deadline=None, max_examples=50)
@given(similarities())
def test_exp_undoes_log(a):
    assert np.allclose(Sim3.exp(a.log()).matrix(), a.matrix(), atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(vectors, vectors, numbers, st.sampled_from([1.0, 1e-3, 1e-8, 0.0]), st.sampled_from([1.0, 1e-8, 0.0]))
def test_exp_is_that_of_the_matrix(w, v, scale, turning, growing):
    w, scale = w / 2 * turning, scale * growing
    A = np.zeros((4, 4))
    A[:3, :3], A[:3, 3] = skew(w) + scale * np.eye(3), v
    xi = np.r_[w, v, scale]
    assert np.allclose(Sim3.exp(xi).matrix(), expm(A), rtol=1e-6, atol=1e-6)
    assert np.allclose(Sim3.exp(xi).log(), xi, atol=1e-6)


def test_step_is_exp_to_first_order():
    delta = 1e-4 * np.array([1.0, -2, 3, 2, 1, -1, 2])
    assert np.allclose(Sim3.step(delta).matrix(), Sim3.exp(delta).matrix(), atol=1e-7)


def test_a_quarter_turn_by_hand():
    S = Sim3(2.0, Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix(), np.array([1.0, 0, 0]))
    assert np.allclose(S.apply(np.array([1.0, 0, 0])), [1, 2, 0])
    assert S.angle_to(Sim3.identity()) == pytest.approx(np.pi / 2)
    assert np.allclose(S.rigid()[:3, :3] @ [1, 0, 0], [0, 1, 0])


def test_a_matrix_that_is_no_similarity_is_refused():
    with pytest.raises(ValueError, match="not a similarity"):
        Sim3.from_matrix(np.diag([1.0, 2, 3, 1]))
    with pytest.raises(ValueError, match="not a similarity"):
        Sim3.from_matrix(np.diag([1.0, 1, -1, 1]))


def test_skew_is_the_cross_product():
    a, b = np.array([1.0, 2, 3]), np.array([-2.0, 0.5, 4])
    assert np.allclose(skew(a) @ b, np.cross(a, b))


@settings(deadline=None, max_examples=30)
@given(similarities(), st.integers(0, 2**31))
def test_umeyama_recovers_a_similarity(S, seed):
    X = np.random.default_rng(seed).normal(size=(8, 3))
    s, R, t = umeyama(X, S.apply(X))
    assert close(Sim3(float(s), R, t), S)


def test_umeyama_in_a_batch_is_umeyama_one_by_one():
    rng = np.random.default_rng(0)
    X, Y, w = rng.normal(size=(5, 6, 3)), rng.normal(size=(5, 6, 3)), rng.uniform(size=(5, 6))
    batch = umeyama(X, Y, w)
    for k in range(5):
        for one, many in zip(umeyama(X[k], Y[k], w[k]), batch, strict=True):
            assert np.allclose(one, many[k])


def test_umeyama_is_the_least_squares_of_a_general_optimiser():
    rng = np.random.default_rng(1)
    X, w = rng.normal(size=(20, 3)), rng.uniform(0.1, 1, 20)
    Y = (
        1.3 * X @ Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix().T
        + [1, 2, 3]
        + rng.normal(0, 0.2, (20, 3))
    )

    def cost(p):
        R = Rotation.from_rotvec(p[:3]).as_matrix()
        return (w * ((np.exp(p[6]) * X @ R.T + p[3:6] - Y) ** 2).sum(1)).sum()

    twin = minimize(cost, np.array([0.3, -0.2, 0.5, 1, 2, 3, 0.2]), method="BFGS").x
    s, R, t = umeyama(X, Y, w)
    assert s == pytest.approx(np.exp(twin[6]), rel=1e-4)
    assert np.allclose(R, Rotation.from_rotvec(twin[:3]).as_matrix(), atol=1e-4)
    assert np.allclose(t, twin[3:6], atol=1e-4)


def test_a_reflection_is_never_the_answer():
    X = np.random.default_rng(2).normal(size=(10, 3))
    _, R, _ = umeyama(X, X * [1, 1, -1])
    assert np.linalg.det(R) == pytest.approx(1)


def test_robust_umeyama_ignores_a_third_of_wild_points():
    rng = np.random.default_rng(3)
    S = Sim3(0.7, Rotation.from_rotvec([0.1, 0.2, -0.4]).as_matrix(), np.array([2.0, -1, 0.5]))
    X = rng.normal(size=(300, 3))
    Y = S.apply(X) + rng.normal(0, 0.005, X.shape)
    Y[:100] += rng.normal(0, 3, (100, 3))
    found, _ = robust_umeyama(X, Y, np.ones(300))
    assert found.s == pytest.approx(S.s, rel=0.01)
    assert found.angle_to(S) < 0.01 and np.linalg.norm(found.t - S.t) < 0.02


@given(st.integers(0, 10_000))
def test_the_adjoint_carries_a_change_across_a_pose(seed):
    rng = np.random.default_rng(seed)
    T, xi = Sim3.exp(rng.normal(0, 0.5, 7)), rng.normal(0, 0.3, 7)
    assert np.allclose((T @ Sim3.exp(xi)).matrix(), (Sim3.exp(T.adjoint() @ xi) @ T).matrix())


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3), st.sampled_from([1.0, 1e-5, 1e-9]))
def test_a_rotation_vectors_matrix_is_scipys(w, scale):
    w = scale * np.array(w)
    assert np.allclose(rotation(*w.tolist()), Rotation.from_rotvec(w).as_matrix(), atol=1e-12)
