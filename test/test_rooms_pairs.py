"""Rooms with things twice: the attributes that tell them apart are in their captions and sizes."""

from collections import defaultdict

import numpy as np
import pytest

from sab3r_ros.rooms.attribute_pairs import add_pairs, painted, resized
from sab3r_ros.rooms.clip import build_room, render_room
from sab3r_ros.rooms.pieces import COLORS, color_name
from sab3r_ros.rooms.placing import Layout
from sab3r_ros.rooms.procedural import cardboard_box
from sab3r_ros.rooms.scene import Scene, material_areas


@pytest.mark.parametrize("name", COLORS)
def test_a_painted_piece_is_called_by_its_colour(name):
    piece = painted(cardboard_box(np.random.default_rng(0)), name)
    scene = Scene(np.array([3.0, 3, 3]))
    scene.add_piece(piece, np.zeros(3), 0.0, np.random.default_rng(0), keep_colors=True)
    assert (
        f" {name} box" in scene.labels[1]["caption"] or f" {name} {piece.name}" in scene.labels[1]["caption"]
    )
    assert color_name(piece.colors[material_areas(piece).argmax()]) == name


def test_half_the_size_is_half_in_every_direction():
    piece = cardboard_box(np.random.default_rng(0))
    small = resized(piece, 0.5)
    assert np.ptp(small.vertices, axis=0) == pytest.approx(piece.size / 2, rel=1e-4)
    assert small.size == pytest.approx(piece.size / 2)


def test_things_stand_twice_in_two_colours_or_two_sizes():
    colors = sizes = 0
    for seed in range(12):
        layout = Layout(Scene(np.array([5.0, 5, 2.5])), np.random.default_rng(seed), [])
        add_pairs(layout)
        found = defaultdict(list)
        for number, label in layout.scene.labels.items():
            found[label["name"]].append((label["caption"], np.ptp(layout.scene.vertices[number - 1], axis=0)))
        for pair in found.values():
            assert len(pair) == 2
            (first, a), (second, b) = pair
            colors += first != second
            sizes += first == second and b[2] < 0.75 * a[2]
            assert first != second or b[2] < 0.75 * a[2]
    assert colors >= 5 and sizes >= 2


def test_a_room_of_pairs_is_the_same_for_the_same_seed():
    a, b = (render_room(3, kind="pairs", views=2, size=(64, 48)) for _ in range(2))
    assert (a.images == b.images).all() and a.labels == b.labels
    assert len(build_room("pairs", 3, "train")[0].obstacles) >= 2
