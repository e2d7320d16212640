"""How the benchmark of locating brings a map made of images into its room."""

import numpy as np
import pytest
from locate_maps import in_room, median_of_seen

from sab3r_ros.geometry.sim3 import Sim3


def cameras(*poses: tuple[list[float], float]) -> np.ndarray:
    """(K, 4, 4) of cameras at places (3,), turned around z by degrees."""
    out = []
    for place, degrees in poses:
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        out.append([[c, -s, 0, place[0]], [s, c, 0, place[1]], [0, 0, 1, place[2]], [0, 0, 0, 1]])
    return np.array(out)


def test_a_map_from_a_straight_path_lies_as_its_cameras_are_turned():
    T_WC = cameras(([0, 0, 0], 0), ([1, 0, 0], 10), ([2, 0, 0], -10))
    T_RW = Sim3(2.0, cameras(([0, 0, 0], 90))[0, :3, :3], np.array([5.0, 0, 1]))
    T_RC = np.stack([(T_RW @ Sim3.from_matrix(T)).rigid() for T in T_WC])
    found = in_room(T_WC, np.array([1.0, 2, 3]), T_RC, np.array([2.0, 4, 6]))
    assert found.s == pytest.approx(2)
    assert found.apply(np.array([1.0, 2, 3])) == pytest.approx(
        np.array([5.0 - 4, 2, 1 + 6])
    )  # turned, twice as far


def test_a_short_path_with_an_error_does_not_change_the_scale():
    T_WC = cameras(([0, 0, 0], 0), ([0.1, 0, 0], 0))
    T_RC = cameras(([0, 0, 0], 0), ([0.2, 0, 0], 0))
    found = in_room(T_WC, np.array([2.0, 2]), T_RC, np.array([2.0, 2]))
    assert found.s == pytest.approx(1)
    assert found.t == pytest.approx([0.05, 0, 0])  # the middles of both paths meet


def test_a_view_is_as_far_as_the_median_of_what_has_a_depth():
    assert median_of_seen(np.array([[0, 1.0], [3, 0], [2, 0]])) == 2
