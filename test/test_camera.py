"""Focal lengths and rays on pointmaps that a person can write down."""

import numpy as np
import pytest

from sab3r_ros.geometry.camera import focal_from_pointmap, on_rays, pinhole, pixel_grid, project


def plane(focal: float, height: int = 48, width: int = 64, slope: float = 0.01) -> np.ndarray:
    """Pointmap of a slanted wall, seen through a pinhole."""
    uv = pixel_grid(height, width)
    z = 2.0 + slope * uv[..., :1]
    return on_rays(np.concatenate([np.zeros_like(uv), z], -1), pinhole(focal, height, width))


@pytest.mark.parametrize("focal", [30.0, 55.0, 120.0])
def test_focal_of_a_pinhole_pointmap_is_found(focal):
    assert focal_from_pointmap(plane(focal), np.ones((48, 64))) == pytest.approx(focal, rel=1e-4)


def test_focal_survives_a_fifth_of_noise():
    X = plane(220.0, 192, 256)
    rng = np.random.default_rng(0)
    wrong = rng.random((192, 256)) < 0.2
    X[wrong] += rng.normal(0, 1.0, X[wrong].shape)
    assert focal_from_pointmap(X, np.ones((192, 256))) == pytest.approx(220.0, rel=0.02)


def test_a_pointmap_behind_the_camera_has_no_focal():
    assert np.isnan(focal_from_pointmap(-plane(55.0), np.ones((48, 64))))


def test_points_move_onto_rays_and_keep_their_depth():
    X = plane(55.0)
    moved = on_rays(X, pinhole(80.0, 48, 64))
    assert np.allclose(moved[..., 2], X[..., 2])
    assert np.allclose(project(moved, pinhole(80.0, 48, 64)), pixel_grid(48, 64), atol=1e-3)


def test_projection_by_hand_and_behind_the_camera():
    K = np.array([[100.0, 0, 50], [0, 200, 40], [0, 0, 1]])
    assert np.allclose(project(np.array([1.0, 2, 4]), K), [75, 140])
    assert np.isnan(project(np.array([1.0, 2, -4]), K)).all()
