"""Points between pixels, and which keyframes of a window stay."""

import numpy as np
import pytest

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.camera import on_rays, pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import Edge, PairAlignment
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.matching import between_descriptors, points_at
from sab3r_ros.mapping.window import Window
from sab3r_ros.types import View

K = pinhole(50.0, 48, 64)


def depths(z):
    return on_rays(np.repeat(np.asarray(z, np.float32)[..., None], 3, 2), K)


def test_a_point_between_pixels_of_a_slanted_plane_lies_on_it():
    rows = np.arange(48)[:, None] * np.ones((1, 64))
    points = depths(1 / (0.3 + 0.002 * rows))  # a plane: its inverse depth is linear over the image
    uv = np.array([[20.5, 30.5], [7.25, 11.75], [63.0, 47.0]])
    z = 1 / (0.3 + 0.002 * uv[:, 1])
    truth = np.c_[(uv - K[:2, 2]) / 50.0 * z[:, None], z]
    assert points_at(points, uv) == pytest.approx(truth, rel=1e-3, abs=1e-4)


def test_no_point_floats_between_two_surfaces():
    z = np.where(np.arange(64) < 32, 1.0, 3.0) * np.ones((48, 1))
    found = points_at(depths(z), np.array([[31.4, 20.5], [31.6, 20.5]]))
    assert found[:, 2] == pytest.approx([1.0, 3.0], rel=1e-3)


@pytest.mark.parametrize(
    ("agreeing", "step_m", "kept"), [(60, 0.1, [0, 3, 4]), (40, 0.1, [1, 3, 4]), (60, 1.0, [1, 3, 4])]
)
def test_the_oldest_keyframe_stays_while_it_sees_half_as_much_as_its_neighbours_from_near_by(
    agreeing, step_m, kept
):
    image, ahead = np.zeros((48, 64, 3), np.uint8), np.tile([0.0, 0, 2.0], (4, 1))
    window = Window(None, AlignmentConfig())
    window.keyframes = [Keyframe(n, float(n), image, K, object()) for n in range(5)]
    for n, count, t in ((0, agreeing, step_m), (1, 90, 0.1), (2, 100, 0.1)):
        window._edges[n, 3] = Edge(n, 3, ahead, ahead, np.ones(4))
        window._pairs[n, 3] = PairAlignment(Sim3(1.0, np.eye(3), np.array([t, 0, 0])), 1.0, count, np.eye(7))
    gone = window.keyframes[2]
    window.keep_anchors(2, waiting=window.keyframes[4:])
    assert [k.id for k in window.keyframes] == kept
    assert gone.encoding is None and all(k.encoding is not None for k in window.keyframes)


def test_likeness_peaks_between_descriptors():
    # Number 6 stands at −0.025, a quarter of a step before the peak.
    angle = np.linspace(-0.6, 0.6, 13) - 0.025
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    view = View(np.zeros((10, 26, 3)), np.ones((10, 26)), np.tile(along, (5, 1, 1)), np.ones((5, 13)), None)
    uv = between_descriptors(np.array([[1.0, 0.0]]), view, np.array([2 * 13 + 6]))
    assert uv[0] == pytest.approx([2 * 6.25 + 0.5, 2 * 2 + 0.5], abs=0.01)
