"""Depths that two views agree on: hand-made pointmaps of a wall."""

import numpy as np
import pytest

from sab3r_ros.geometry.camera import on_rays, pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.consensus import MEMORY, agree, alone, blended

K = pinhole(50.0, 48, 64)
HERE = Sim3.identity()


def wall(depth):
    """(48, 64, 3): a wall square to the camera."""
    return on_rays(np.full((48, 64, 3), depth, np.float32), K)


def test_two_views_meet_in_the_middle():
    points, weight = agree(wall(2.2), HERE, wall(2.0), alone(wall(2.0)), K)
    assert points[..., 2] == pytest.approx(np.sqrt(2.2 * 2.0), rel=1e-3)  # the mean of the logarithms
    assert (weight == 2).all()


def test_many_views_outweigh_one_up_to_a_limit():
    many = np.full_like(alone(wall(2.0)), 9.0)
    points, weight = agree(wall(2.2), HERE, wall(2.0), many, K)
    assert points[..., 2] == pytest.approx(2.0 * 1.1**0.1, rel=1e-3)
    assert (weight == MEMORY).all()


def test_the_camera_has_moved_towards_the_wall():
    ahead = Sim3(1.0, np.eye(3), np.array([0, 0, -0.5]))  # the earlier view's points in this one's frame
    points, _ = agree(wall(1.5), ahead, wall(2.0), alone(wall(2.0)), K)
    assert points[8:-8, 8:-8, 2] == pytest.approx(1.5, rel=1e-3)


def test_another_surface_is_left_alone():
    points, weight = agree(wall(3.0), HERE, wall(2.0), alone(wall(2.0)), K)
    assert np.allclose(points, wall(3.0)) and (weight == 1).all()


def test_what_the_earlier_view_did_not_see_is_left_alone():
    aside = Sim3(1.0, np.eye(3), np.array([50.0, 0, 0]))
    points, weight = agree(wall(2.2), aside, wall(2.0), alone(wall(2.0)), K)
    assert np.allclose(points, wall(2.2)) and (weight == 1).all()


def test_another_decoding_counts_as_one_whatever_its_scale():
    bent = wall(2.0)
    bent[:8] *= 1.1  # a sixth of the rows a tenth farther
    out = blended(wall(2.0), 3.0 * bent, 1)
    assert out[8:, :, 2] == pytest.approx(2.0, rel=1e-3)
    assert out[:8, :, 2] == pytest.approx(2.0 * 1.1**0.5, rel=1e-3)  # the mean of the logarithms
    assert blended(wall(2.0), bent, 4)[0, 0, 2] == pytest.approx(2.0 * 1.1**0.2, rel=1e-3)  # one of five


def test_decodings_that_see_two_surfaces_change_nothing():
    other = wall(2.0)
    other[:8] *= 2.0
    other[8, 0] = np.nan
    assert np.allclose(blended(wall(2.0), other, 1), wall(2.0))
