"""Motion blur and distortion against what a person can compute."""

import cv2
import numpy as np
import pytest

from sab3r_ros.rooms.clip import render_room
from sab3r_ros.rooms.lens import Lens

WIDTH, HEIGHT = 64, 48
K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])


def test_rays_of_a_pinhole_go_through_their_pixels():
    rays = Lens().rays(K, WIDTH, HEIGHT)
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    assert np.allclose(rays @ K.T, np.stack([u, v, np.ones(u.shape)], -1).reshape(-1, 3))


def test_rays_of_a_distorting_lens_project_back_to_their_pixels():
    lens = Lens(distortion=(-0.25, 0.05, 0.001, -0.002))
    rays = lens.rays(K, WIDTH, HEIGHT)
    uv, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, np.array(lens.distortion))
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    assert np.abs(uv[:, 0] - np.stack([u, v], -1).reshape(-1, 2)).max() < 1e-3


def test_a_still_camera_or_a_closed_shutter_blurs_nothing():
    picture = np.random.default_rng(0).random((HEIGHT, WIDTH, 3)).astype(np.float32)
    depth, moved = np.ones((HEIGHT, WIDTH), np.float32), np.eye(4)
    moved[0, 3] = 0.2
    assert (Lens().smear(picture, depth, K, np.eye(4), moved) == picture).all()
    assert np.allclose(Lens(shutter=1.0).smear(picture, depth, K, np.eye(4), np.eye(4)), picture, atol=1e-5)


def test_a_bright_line_is_smeared_as_far_as_the_camera_moves():
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    picture[:, 31:34] = 1
    depth, moved = np.full((HEIGHT, WIDTH), 2.0, np.float32), np.eye(4)
    moved[0, 3] = 0.24  # metres to the right, at 2 m with f = 50: six pixels to the left
    smeared = Lens(shutter=1.0).smear(picture, depth, K, np.eye(4), moved)[24, :, 0]
    assert smeared.sum() == pytest.approx(3, rel=1e-4)
    assert np.flatnonzero(smeared > 1e-4).tolist() == list(range(28, 37))  # three pixels more on either side
    assert smeared.max() == pytest.approx(3 / 7, rel=1e-4)
    half = Lens(shutter=0.5).smear(picture, depth, K, np.eye(4), moved)[24, :, 0]
    assert np.flatnonzero(half > 1e-4).tolist() == list(range(30, 35)) or half.max() > smeared.max()


def test_depth_through_a_distorting_lens_is_still_exact():
    pytest.importorskip("open3d")
    from test_rooms import bare_room

    from sab3r_ros.rooms.render import Renderer
    from sab3r_ros.rooms.trajectory import look

    lens = Lens(distortion=(-0.2, 0.03, 0.0, 0.0))
    eye, renderer = np.array([1.0, 1.5, 1.2]), Renderer(bare_room(), np.random.default_rng(0))
    shot = renderer.shot(K, look(eye, np.array([1.0, 0, 0])), WIDTH, HEIGHT, lens)
    facing = shot.instance == 6
    assert facing.mean() > 0.2 and np.allclose(shot.depth[facing], 3.0, atol=1e-4)
    X = lens.rays(K, WIDTH, HEIGHT) * shot.depth.reshape(-1, 1)
    floor = (shot.instance == 1).reshape(-1)
    assert np.allclose(X[floor, 1], 1.2, atol=1e-4)  # y points down; the eye is 1.2 m above the floor


def test_blur_leaves_the_truth_as_it_is():
    pytest.importorskip("open3d")
    still, moving = (render_room(1, views=3, size=(64, 48), lens=Lens(shutter=s)) for s in (0.0, 0.7))
    assert (still.depth == moving.depth).all() and (still.instance == moving.instance).all()
    assert (still.images != moving.images).any()
