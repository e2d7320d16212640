"""The pose graph: chains and loops whose answer a person can compute, and what a loop may claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.pose_graph import PoseGraph

GATE = 50.0  # chi-square
CERTAIN = 0.01  # metres, radians, and of the scale's logarithm


def at(x, y=0.0, s=1.0):
    return Sim3(s, np.eye(3), np.array([x, y, 0.0]))


def tie(i, j, T_ij, loop=False, sigma=CERTAIN, scale_sigma=None):
    return Between(i, j, T_ij, np.diag([sigma] * 6 + [scale_sigma or sigma]) ** 2, loop)


def chain(steps, T_step, scale_sigma=None):
    """Keyframes 0..steps, each `T_step` from the one before, certain to 1 cm and 0.01 rad."""
    graph = PoseGraph()
    T = Sim3.identity()
    graph.add(0, T, 0)
    for k in range(steps):
        T = T @ T_step
        graph.add(k + 1, T, 0)
        graph.connect(tie(k, k + 1, T_step, scale_sigma=scale_sigma))
    return graph


def test_a_loop_spreads_its_correction_evenly_over_a_straight_chain():
    graph = chain(4, at(1.0), scale_sigma=1e-4)
    graph.close(tie(0, 4, at(3.9), loop=True, scale_sigma=1e-4))
    # 4 steps of 1 m and one loop of 3.9 m, all equally sure: each of the five gives a fifth of the 0.1 m.
    for k in range(5):
        assert graph.T_WK[k].t[0] == pytest.approx(k * 0.98, abs=2e-3)


def test_a_sure_loop_wins_over_the_chain():
    graph = chain(4, at(1.0))
    graph.close(tie(0, 4, at(3.9), loop=True, sigma=CERTAIN / 100))
    assert graph.T_WK[4].t[0] == pytest.approx(3.9, abs=1e-3)


def test_a_loop_corrects_drifting_scale():
    graph = chain(10, at(1.0, s=1.05))
    graph.close(tie(0, 10, at(10.0), loop=True))
    scales = [graph.T_WK[k].s for k in range(11)]
    assert scales[-1] < 1.05**10 - 0.3 and graph.T_WK[0].s == pytest.approx(1.0)


def test_discrepancy_is_the_hand_computed_chi_square():
    graph = chain(1, at(1.0))
    # Chain and loop each know x to 1 cm; at the end of the edge its angles do not count. 3 cm off: 9 / (1 + 1).
    assert graph.discrepancy(tie(0, 1, at(1.03))) == pytest.approx(4.5, rel=1e-2)
    assert graph.discrepancy(tie(0, 1, at(1.0))) == pytest.approx(0.0, abs=1e-9)


def test_what_a_long_way_allows_a_short_way_forbids():
    graph = chain(100, at(0.1))
    shift = at(0.25)
    near = tie(90, 100, at(1.0) @ shift)
    far = tie(0, 100, at(10.0) @ shift)
    assert graph.discrepancy(far) < GATE < graph.discrepancy(near)


def test_an_accepted_loop_makes_the_way_short():
    graph = chain(100, at(0.1))
    wrong = tie(1, 100, at(9.9 + 0.3))
    before = graph.discrepancy(wrong)
    graph.close(tie(0, 99, at(9.9), loop=True))
    assert len(graph.path(1, 100)) == 3 and graph.discrepancy(wrong) > 5 * before


def test_keyframes_of_two_pieces_have_no_path_until_a_loop_joins_them():
    graph = chain(2, at(1.0))
    graph.add(3, at(200.0, s=2.0), 3)
    graph.add(4, at(202.0, s=2.0), 3)
    graph.connect(tie(3, 4, at(1.0)))
    assert graph.pieces == 2 and graph.path(0, 4) is None
    assert graph.discrepancy(tie(0, 4, at(0.0))) == np.inf
    graph.join(tie(2, 3, at(0.5), loop=True))
    assert graph.pieces == 1
    assert np.allclose(graph.T_WK[3].t, [2.5, 0, 0]) and np.allclose(graph.T_WK[4].t, [3.5, 0, 0])
    assert graph.T_WK[4].s == pytest.approx(1.0)


def test_a_small_loop_moves_only_what_came_after_the_last_one():
    graph = chain(20, at(0.1))
    graph.close(tie(0, 20, at(2.0), loop=True))
    T = graph.T_WK[20]
    for k in range(20, 22):
        T = T @ at(0.1)
        graph.add(k + 1, T, 0)
        graph.connect(tie(k, k + 1, at(0.1)))
    before = {k: graph.T_WK[k] for k in range(20)}
    graph.close(tie(1, 22, at(2.11), loop=True))
    assert all(graph.T_WK[k] is before[k] for k in before)
    assert graph.T_WK[22].t[0] == pytest.approx(
        2.2067, abs=2e-3
    )  # two steps and the loop: a third of 1 cm each


def test_settling_the_whole_graph_spreads_what_a_small_loop_has_bent():
    graph = chain(20, at(0.1))
    graph.close(tie(0, 20, at(2.0), loop=True))
    graph.add(21, at(2.1), 0)
    graph.connect(tie(20, 21, at(0.1)))
    graph.close(tie(0, 21, at(2.11), loop=True))
    assert graph.T_WK[10].t[0] == pytest.approx(1.0, abs=1e-6)
    assert graph.settle_all() == set(range(22)) and graph.T_WK[10].t[0] > 1.0005
    assert graph.settle_all() == set()  # nothing has changed since


def test_a_loop_that_the_last_keyframes_cannot_explain_moves_the_whole_graph():
    graph = chain(40, at(0.1))
    graph.close(tie(38, 40, at(0.2), loop=True))
    graph.close(tie(0, 40, at(3.8), loop=True))
    steps = np.diff([graph.T_WK[k].t[0] for k in range(41)])
    assert steps.max() - steps.min() < 0.01 and steps.sum() < 3.95


def test_what_a_carried_keyframe_knew_is_handed_on():
    graph = chain(2, at(1.0))
    before = graph.poses(range(3))
    graph.carry(1, 0)
    assert list(graph.T_WK) == [0, 2] and len(graph) == 3
    (edge,) = graph.edges[0]
    assert (edge.i, edge.j) == (0, 2) and np.allclose(edge.T_ij.t, [2.0, 0, 0])
    # Along the way both steps' centimetres count, and 1 m ahead of keyframe 1 its hundredth of scale.
    variance = np.diag(edge.covariance)
    assert variance[3] == pytest.approx(3e-4) and variance[0] == pytest.approx(2e-4)
    assert np.allclose(graph.poses(range(3)), before) and np.allclose(graph.pose(1).t, [1.0, 0, 0])


def test_a_chain_with_carried_keyframes_gives_way_as_before():
    whole, thin = chain(8, at(1.0)), chain(8, at(1.0))
    for k in (1, 3, 5, 7):
        thin.carry(k, k - 1)
    for graph in (whole, thin):
        graph.close(tie(0, 8, at(7.6), loop=True))
    assert thin.T_WK[8].t[0] == pytest.approx(whole.T_WK[8].t[0], abs=0.02)
    for k in range(9):
        assert thin.pose(k).t[0] == pytest.approx(whole.T_WK[k].t[0], abs=0.06)
        assert np.allclose(thin.poses([k])[0], thin.pose(k).rigid(), atol=1e-5)


def test_a_surer_way_is_kept_and_nothing_comes_apart():
    graph = chain(6, at(1.0))
    sure = tie(0, 6, at(6.0), sigma=CERTAIN / 10)
    graph.connect(sure)
    for k in (1, 2, 3, 4, 5):
        carrier = graph.carrier_of(k)
        if carrier is not None:
            graph.carry(k, carrier)
    assert len(graph.carried) and graph.carrier_of(0) is None and sure in graph.edges[6]
    assert all(graph.path(0, k) is not None for k in graph.T_WK if k)
    assert len(graph) == 7


def test_a_loop_that_its_surroundings_explain_leaves_the_rest_alone():
    graph = chain(400, at(0.1))
    graph.close(tie(0, 20, at(2.0), loop=True))
    graph._tail, graph._settled = 400, 400
    moved = graph.close(tie(370, 400, at(2.9), loop=True))
    assert 100 < len(moved) < 250 and min(moved) > 200


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_loops_that_agree_change_nothing(seed):
    rng = np.random.default_rng(seed)
    graph = PoseGraph()
    poses = [Sim3.exp(rng.normal(0, 0.3, 7)) for _ in range(6)]
    for k, T in enumerate(poses):
        graph.add(k, T, 0)
        if k:
            graph.connect(tie(k - 1, k, poses[k - 1].inverse() @ T))
    loop = tie(0, 5, poses[0].inverse() @ poses[5], loop=True)
    assert graph.discrepancy(loop) < 1e-6
    graph.close(loop)
    for k, T in enumerate(poses):
        assert np.allclose(graph.T_WK[k].matrix(), T.matrix(), atol=1e-5)
