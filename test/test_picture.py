"""The picture: points land where geometry says, near ones hide far ones, and the file is drawn for any map."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from small_maps import ToyText, box_points, snapshot_of

from sab3r_ros.errors import MapFileError
from sab3r_ros.querying.locate import Locator
from sab3r_ros.viz.picture import WIDTH, draw_map, draw_tag
from sab3r_ros.viz.render import Parallel, draw_points, looking

EYE = np.eye(8, dtype=np.float32)


def test_looking_along_x_from_above():
    R = looking(0.0, np.deg2rad(30))
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    right, down, away = R @ [0, -1, 0], R @ [0, 0, -1], R @ [1, 0, 0]
    assert right[0] == pytest.approx(1) and down[1] > 0.8 and away[2] > 0.8


def test_a_fitted_view_shows_every_point():
    points = np.random.default_rng(0).normal(size=(100, 3)) * [5, 1, 2]
    view = Parallel.fitted(looking(0.3, 0.6), points, 300, 200, margin=0.1)
    pixels = view.pixels(points)
    assert (pixels >= [29.9, 19.9]).all() and (pixels <= [270.1, 180.1]).all()


def test_the_near_point_hides_the_far_one():
    view = Parallel(looking(0.0, 0.0), 10.0, np.array([20.0, 20.0]), 40, 40)
    points = np.array([[1.0, 0, 0], [2.0, 0, 0]])
    for order in ([0, 1], [1, 0]):
        colors = np.array([[200, 0, 0], [0, 200, 0]], np.uint8)[order]
        image = draw_points(view, points[order], colors, 0.3)
        assert image[20, 20, 0] > 150 and image[20, 20, 1] == 0 and (image[0, 0] == 255).all()


def test_tags_do_not_cover_one_another():
    panel, taken = np.full((300, 300, 3), 255, np.uint8), []
    for _ in range(4):
        draw_tag(panel, "mug", (150, 250), (200, 0, 0), taken)
    boxes = sorted(taken, key=lambda tag: tag[1])
    assert all(a[1] + a[3] <= b[1] for a, b in itertools.pairwise(boxes))


def test_the_picture_highlights_what_was_found(tmp_path):
    text = ToyText()
    room = snapshot_of(
        [
            (box_points((0, 0, 0), (3, 3, 0.1)), text.encode(["floor"])[0]),
            (box_points((1, 1, 0.4), (0.8, 0.5, 0.6)), text.encode(["sofa"])[0]),
        ]
    )
    locator = Locator(EYE, text)
    answers = {query: locator.locate(room, query) for query in ("sofa", "mug", "日本")}
    draw_map(room, answers, tmp_path / "map.png", room.trajectory, [np.zeros((48, 64, 3), np.uint8)])
    picture = cv2.imread(str(tmp_path / "map.png"))
    assert picture.shape[1] == WIDTH
    orange = (np.abs(picture[..., ::-1].astype(int) - [213, 94, 0]).max(-1) < 20).sum()
    assert orange > 500


def test_an_empty_map_is_still_a_picture(tmp_path):
    draw_map(snapshot_of([]), {}, tmp_path / "map.png")
    assert cv2.imread(str(tmp_path / "map.png")) is not None
    with pytest.raises(MapFileError, match="is not a folder"):
        draw_map(snapshot_of([]), {}, tmp_path / "none" / "map.png")
