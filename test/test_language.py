"""What the parser understands, and where things are in relation to each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_maps import box_points

from sab3r_ros.config import LocateConfig
from sab3r_ros.querying.colors import color_lift, in_color, lab_in_light, room_white, seen_colors
from sab3r_ros.querying.language import COLORS, parse, singular
from sab3r_ros.querying.relations import (
    above_degree,
    between_degree,
    gap,
    inside_degree,
    near_degree,
    on_degree,
    seen_degree,
    under_degree,
)
from sab3r_ros.querying.text import normalise


@pytest.mark.parametrize(
    ("query", "thing", "color", "relation", "anchors"),
    [
        ("a black office chair", "office chair", "black", "", ()),
        ("the lamp on the desk", "lamp", "", "on", ("desk",)),
        ("The CHAIR nearest the door", "chair", "", "nearest", ("door",)),
        ("the nearest chair to the door", "chair", "", "nearest", ("door",)),
        ("Where is the red mug on top of the wooden table?", "mug", "red", "on", ("wooden table",)),
        ("the bin standing next to the desk by the window", "bin", "", "near", ("desk",)),
        ("the plant between the sofa and the door", "plant", "", "between", ("sofa", "door")),
        ("dark brown tables", "table", "brown", "", ()),
        ("the keyboard in front of the monitor", "keyboard", "", "front", ("monitor",)),
        ("the lamp to the left of the bed", "lamp", "", "left", ("bed",)),
        ("an orange", "orange", "", "", ()),
        ("an orange ball under the bed", "ball", "orange", "under", ("bed",)),
        ("show me the chairs in the room", "chair", "", "", ()),
        ("stack of books", "stack of books", "", "", ()),
        ("double window with large pane", "double window with large pane", "", "", ()),
        ("on", "on", "", "", ()),
        ("the", "the", "", "", ()),
    ],
)
def test_queries_are_understood(query, thing, color, relation, anchors):
    r = parse(query)
    assert (r.thing, r.color, r.relation, r.anchors) == (thing, color, relation, anchors)


WORDS = [
    *[
        "a",
        "the",
        "chair",
        "red",
        "big",
        "seat",
        "of",
        "on",
        "to",
        "nearest",
        "between",
        "and",
        "in",
        "left",
        "where",
        "is",
        "please",
        "dark",
        "stools",
    ],
    "  ",
    "?",
]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join), st.text(min_size=1)))
def test_any_words_are_understood_as_something(query):
    if normalise(query):
        r = parse(query)
        assert r.label == normalise(query) and r.thing.strip() == r.thing != ""
        assert bool(r.relation) == bool(r.anchors) == bool(r.place)


def test_sizes_and_parts():
    assert parse("the biggest table").size == ("volume", 1) and parse("the biggest table").superlative
    assert parse("a tall lamp").size == ("height", 1) and not parse("a tall lamp").superlative
    r = parse("the seat of the green chair")
    assert (r.part, r.thing, r.color) == ("seat", "chair", "green")


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("chairs", "chair"),
        ("benches", "bench"),
        ("boxes", "box"),
        ("batteries", "battery"),
        ("glass", "glass"),
        ("cactus", "cactus"),
        ("scissors", "scissors"),
        ("bookshelves", "bookshelf"),
        ("vases", "vase"),
    ],
)
def test_plurals(word, one):
    assert singular(word) == one


DESK = box_points((0, 0, 0.75), (1.6, 0.8, 0.05))


def test_on_above_and_under_a_desk():
    lamp = box_points((0.4, 0.1, 1.0), (0.2, 0.2, 0.4))
    hanging = box_points((0.4, 0.1, 2.0), (0.2, 0.2, 0.2))
    bin_ = box_points((0.4, 0.1, 0.15), (0.3, 0.3, 0.3))
    beside = box_points((2.4, 0.1, 0.15), (0.3, 0.3, 0.3))
    assert [on_degree(x, DESK) > 0.5 for x in (lamp, hanging, bin_, beside)] == [True, False, False, False]
    assert [above_degree(x, DESK) > 0.5 for x in (lamp, hanging, bin_, beside)] == [True, True, False, False]
    assert [under_degree(x, DESK) > 0.5 for x in (lamp, hanging, bin_, beside)] == [False, False, True, False]


def test_a_clock_hangs_on_the_wall_and_a_cushion_lies_on_the_sofa_seat():
    wall = box_points((0, 2, 1.3), (4, 0.05, 2.6))
    assert on_degree(box_points((0.5, 1.92, 1.8), (0.3, 0.05, 0.3)), wall) > 0.9
    seat = np.concatenate([box_points((0, 0, 0.2), (2, 0.8, 0.4)), box_points((0, 0.5, 0.6), (2, 0.2, 0.6))])
    assert on_degree(box_points((0.5, 0, 0.48), (0.4, 0.4, 0.1)), seat) > 0.9


def test_inside_near_and_between():
    bowl = box_points((0, 0, 0), (0.6, 0.6, 0.3))
    assert inside_degree(box_points((0, 0, 0.05), (0.1, 0.1, 0.1)), bowl) == 1
    assert inside_degree(box_points((2, 0, 0.05), (0.1, 0.1, 0.1)), bowl) == 0
    a, b = box_points((0, 0, 0), (0.2, 0.2, 0.2)), box_points((3, 0, 0), (0.2, 0.2, 0.2))
    assert gap(a, b) == pytest.approx(2.85, abs=1e-5)
    assert near_degree(a, b) == 0 and near_degree(a, a + np.float32([0.5, 0, 0])) == 1
    assert between_degree(box_points((1.5, 0.1, 0), (0.2, 0.2, 0.2)), a, b) > 0.9
    assert between_degree(box_points((-1.5, 0, 0), (0.2, 0.2, 0.2)), a, b) == 0


def test_sides_are_those_of_the_viewer():
    eye, table = np.array([0.0, 0, 1]), box_points((3, 0, 0.4), (0.8, 0.8, 0.8))
    around = {"front": (2, 0), "behind": (4, 0), "left": (3, 1), "right": (3, -1)}
    for side in around:
        best = max(
            around,
            key=lambda n: seen_degree(side, box_points((*around[n], 0.3), (0.4, 0.4, 0.6)), table, eye),
        )
        assert best == side
    assert seen_degree("left", box_points((3, 5, 0.3), (0.4, 0.4, 0.6)), table, eye) == 0  # too far


def test_the_gap_agrees_with_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = rng.normal(size=(30, 3)) * rng.uniform(0.1, 1)
        b = rng.normal(size=(80, 3)) * rng.uniform(0.1, 2) + rng.normal(size=3) * 2
        assert gap(a, b) == pytest.approx(np.linalg.norm(a[:, None] - b[None], axis=2).min())


@pytest.mark.parametrize(
    ("color", "rgb"), [("red", (120, 20, 20)), ("white", (160, 158, 150)), ("blue", (30, 45, 110))]
)
def test_colors_are_told_in_dim_light(color, rgb):
    room = np.concatenate([np.full((900, 3), 160), np.full((100, 3), 30)])
    lab = lab_in_light(np.uint8([rgb]), room_white(room))
    assert seen_colors(lab)[0].argmax() == COLORS.index(color)
    assert np.exp(color_lift(color, lab)) > 2 and np.exp(color_lift("green", lab)) < 0.7


def test_a_colour_that_fits_makes_up_for_a_faint_name_and_a_wrong_one_refuses():
    red, blue = color_lift("red", np.float32([[52, 37, 24], [53, 6, -28]]))
    assert red == pytest.approx(np.log(len(COLORS)), abs=0.2) and blue < -3
    faint, clear = np.log(0.05 / 0.95), np.log(0.95 / 0.05)
    assert in_color(faint, red) > LocateConfig().min_score and in_color(clear, blue) < 0.05
    assert in_color(faint, blue) < in_color(clear, blue) < in_color(faint, red) < in_color(clear, red)
