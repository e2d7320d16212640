"""The benchmark's report: what is shown is chosen by rule, drawn where it is, and all in one file."""

import re
from dataclasses import replace

import numpy as np
import pytest
from small_rooms import box_view, box_views

from sab3r_ros.evaluation.examples import Surface, choose, grid_faces, true_surface
from sab3r_ros.evaluation.pictures import (
    data_uri,
    draw,
    eye_of,
    feature_colors,
    framing,
    highlighted,
    only,
)
from sab3r_ros.evaluation.record import machine
from sab3r_ros.viz.render import Parallel


def test_faces_join_neighbours_and_stop_at_edges_and_holes():
    assert grid_faces(np.full((2, 2), 2.0)).tolist() == [[0, 2, 1], [1, 2, 3]]
    assert grid_faces(np.array([[2.0, 2], [2, 3]])).tolist() == [[0, 2, 1]]
    assert grid_faces(np.array([[2.0, 2], [0, 2]])).tolist() == []


def test_views_of_a_room_make_one_surface_on_its_walls():
    surface = true_surface(box_views(2))
    assert surface.faces.max() < len(surface.points) and surface.faces.max() >= len(surface.points) / 2
    corners = surface.points[surface.faces]
    lengths = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1)
    assert np.quantile(lengths, 0.99) < 0.2  # metres: no face bridges the room


def test_holes_are_closed_and_thin_things_stay():
    """A post of two pixels before the wall, and a hole of two pixels in it."""
    view = box_view((2, 1.5, 1.2), (1, 0, 0))
    depth = view.depth.copy()
    depth[:, 40:42] = 0.5
    depth[50:52, 80:82] = 0
    surface = true_surface([replace(view, depth=depth)])
    z = (surface.points - view.T_WC[:3, 3]) @ view.T_WC[:3, 2]
    assert np.allclose(z.reshape(depth.shape)[:, 40:42], 0.5)
    assert np.allclose(z.reshape(depth.shape)[50:52, 80:82], 2, atol=0.01)


def test_a_triangle_is_drawn_where_it_is_and_in_its_colour():
    """Facing the eye, 1 m across, 100 pixels a metre: its right angle is at the middle of the picture."""
    points = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 2]])
    red = np.full((3, 3), (200, 10, 20), np.uint8)
    surface = Surface(points, red, np.zeros(3, int), np.array([[0, 1, 2]]))
    view = Parallel(np.eye(3), 100.0, np.array([150.0, 150.0]), 300, 300)
    image = draw(view, surface, surface.colors)
    assert image[170, 170].tolist() == pytest.approx([200, 10, 20], abs=1)
    assert (image[[140, 170, 240], [170, 140, 240]] == 255).all()


def test_the_object_is_lit_and_cut_out():
    surface = Surface(
        np.eye(4, 3), np.full((4, 3), 100, np.uint8), np.array([5, 5, 5, 1]), np.array([[0, 1, 2], [1, 2, 3]])
    )
    colors = highlighted(surface, 5, (0, 200, 0)).astype(int)
    assert colors[0, 1] > colors[0, 0] + 100 and np.ptp(colors[3]) < 5
    assert only(surface, 5).faces.tolist() == [[0, 1, 2]]


def test_an_eye_above_the_camera_sees_what_the_camera_sees():
    view = box_view((2, 1.5, 1.2), (1, 0, -0.2))
    R = eye_of(view.T_WC)
    assert np.allclose(R @ R.T, np.eye(3)) and R[2] @ view.T_WC[:3, 2] > 0.8 and R[2][2] < view.T_WC[2, 2]
    surface = true_surface([view])
    pixels = framing(R, surface.points, (760, 560)).pixels(surface.points)
    assert ((pixels > 0) & (pixels < [760, 560])).all(1).mean() > 0.9


def test_features_of_one_kind_share_a_colour():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 16))
    label = rng.integers(0, 3, 600)
    colors = feature_colors((kinds[label] + 0.01 * rng.normal(size=(600, 16))).astype(np.float32)).astype(int)
    means = np.stack([colors[label == k].mean(0) for k in range(3)])
    spread = max(colors[label == k, :2].std(0).max() for k in range(3))
    assert spread < 10 and min(np.linalg.norm(means[i] - means[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 100


def result(scene, ious):
    """A scene with one group of three views in which each class has 100 points, of which a part is right."""
    counts = [[k, k, int(100 * v)] for k, v in ious.items()]
    counts += [[k, 3, 100 - int(100 * v)] for k, v in ious.items()]
    row = {"counts": counts, "distances": {}, "coverage": [0, 0]}
    return {
        "scene": scene,
        "classes": ["wall", "chair", "table"],
        "groups": [{"views": [0, 1, 2], "rows": {"a": row}}],
    }


def test_examples_are_the_best_of_different_scenes_and_one_failure():
    results = [
        result("one", {0: 1.0, 1: 0.9, 2: 0.1}),
        result("two", {1: 0.8, 2: 0.7}),
        result("three", {1: 0.5, 2: 0.2}),
    ]
    chosen = choose(results, "a", 3)
    assert [(c.scene, c.label, c.success) for c in chosen] == [
        ("one", 1, True),
        ("two", 2, True),
        ("two", 1, True),
        ("one", 2, False),
    ]
    assert chosen[0].iou == pytest.approx(0.9) and choose(results, "a", 2) == []
    assert [c.success for c in choose([result("bad", {1: 0.0})], "a", 3)] == [False]


def test_pictures_live_in_the_page():
    assert re.fullmatch(r"data:image/webp;base64,[\w+/=]+", data_uri(np.zeros((8, 8, 3), np.uint8)))
    assert set(machine()) >= {"sab3r_ros", "Python", "PyTorch", "processor", "threads"}
