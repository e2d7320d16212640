"""Whole queries on a furnished toy room: the right one of several, by colour, size, place; ids, pointing, waiting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_maps import ToyText, box_points, snapshot_of

from sab3r_ros.errors import QueryError
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.standing import StandingQueries
from sab3r_ros.querying.views import views_of

WORDS = ToyText()
THINGS = {  # name, centre, size, colour
    "floor": ("floor", (0, 0, -0.05), (6, 6, 0.1), (150, 150, 150)),
    "table": ("table", (1.5, 0, 0.75), (1.2, 1.2, 0.1), (120, 80, 50)),
    "black": ("chair", (2.8, 0, 0.3), (0.5, 0.5, 0.6), (12, 12, 12)),
    "red": ("chair", (-2, 2, 0.3), (0.5, 0.5, 0.6), (150, 20, 20)),
    "stool": ("chair", (-2, -2, 0.2), (0.4, 0.4, 0.4), (160, 160, 155)),
    "lamp": ("lamp", (1.5, 0.3, 1.0), (0.25, 0.25, 0.4), (150, 150, 30)),
    "floor lamp": ("lamp", (-1, 2.5, 0.9), (0.2, 0.2, 1.8), (150, 150, 30)),
}


@pytest.fixture(scope="module")
def room():
    parts = [(box_points(c, s), WORDS.encode([name])[0]) for name, c, s, _ in THINGS.values()]
    snapshot = snapshot_of(parts)
    colors = np.concatenate(
        [np.tile(np.uint8(t[3]), (len(p), 1)) for t, (p, _) in zip(THINGS.values(), parts, strict=True)]
    )
    T_WC = np.stack([np.eye(4), np.eye(4)])
    T_WC[:, :3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along +x
    T_WC[0, :3, 3], T_WC[1, :3, 3] = (0, 0, 1), (2.2, 0, 1)  # the second stands behind the table
    blocks = (replace(snapshot.blocks[0], colors=colors),)
    return replace(snapshot, blocks=blocks, trajectory=replace(snapshot.trajectory, T_WC=T_WC))


@pytest.fixture
def locator():
    return Locator(np.eye(8, dtype=np.float32), WORDS)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("the black chair", "black"),
        ("a red chair", "red"),
        ("a white chair", "stool"),
        ("the smallest chair", "stool"),
        ("the lamp on the table", "lamp"),
        ("the tallest lamp", "floor lamp"),
        ("the lamp on the floor", "floor lamp"),
        ("the chair next to the table", "black"),
        ("the chair behind the table", "black"),
        ("the chair closest to the sofa lamp", None),
        ("the chair farthest from the table", None),
    ],
)
def test_the_one_that_is_meant_comes_first(room, locator, query, where):
    answer = locator.locate(room, query)
    assert answer.success
    if where:
        np.testing.assert_allclose(answer.objects[0].box_center, THINGS[where][1], atol=0.1)


def test_the_superlative_gives_one(room, locator):
    assert len(locator.locate(room, "chairs").objects) == 3
    assert len(locator.locate(room, "the biggest chair").objects) == 1
    far = locator.locate(room, "the chair farthest from the table").objects
    assert len(far) == 1 and far[0].centroid[0] < 0


def test_what_is_not_there_in_that_colour_or_place_is_said(room, locator):
    blue = locator.locate(room, "a blue chair")
    assert not blue.success and "rather than blue" in blue.message and "3 'chair' found" in blue.message
    under = locator.locate(room, "the lamp under the table")
    assert not under.success and "none under table" in under.message.replace("the ", "")


def test_a_place_that_cannot_be_found_is_left_out_and_said(room, locator):
    answer = locator.locate(room, "the lamp on the sofa")
    assert answer.success and "no 'sofa' was found" in answer.message and "left out" in answer.message


def test_the_seat_of_a_chair_is_a_slice_of_it(room, locator):
    whole = locator.locate(room, "the black chair").objects[0]
    seat = locator.locate(room, "the seat of the black chair")
    assert "cut out by height" in seat.message
    assert set(seat.objects[0].indices) < set(whole.indices) and seat.objects[0].box_size[2] < 0.3


def test_the_same_thing_keeps_its_id_in_other_words(room, locator):
    chairs = {tuple(o.box_center.round(1)): o.id for o in locator.locate(room, "chairs").objects}
    assert sorted(chairs.values()) == [1, 2, 3]
    red = locator.locate(room, "the red chair").objects[0]
    assert chairs[tuple(red.box_center.round(1))] == red.id
    assert locator.locate(room, "table").objects[0].id == 4


def test_pointing_at_a_chair_names_it_and_finds_the_others(room, locator):
    answer = locator.at_point(room, np.array([-2.0, 2.0, 0.62]))
    assert answer.success and "this looks like 'chair'; 2 more like it" in answer.message
    np.testing.assert_allclose(answer.objects[0].box_center, THINGS["red"][1], atol=0.1)
    for nowhere in ([0, 0, 5], [np.nan, 0, 0]):
        with pytest.raises(QueryError, match="point at a thing"):
            locator.at_point(room, np.array(nowhere))


def test_something_like_a_vector_is_found(room, locator):
    found = locator.like(room, WORDS.encode(["lamp"])[0], "the picture's thing")
    assert len(found.objects) == 2 and found.objects[0].label == "the picture's thing"
    assert not locator.like(room, WORDS.encode(["mug"])[0], "the picture's thing").success


def test_several_labels_in_one_call(room, locator):
    answer = locator.locate_all(room, ["chair", "the table", "couch", "mug"], max_objects=2)
    assert sorted(o.label for o in answer.objects) == ["chair", "chair", "table"]
    assert "2 'chair'; 1 'table'; 0 'couch'; 0 'mug'" in answer.message
    one = locator.locate_all(room, ["lamp", "a red lamp"])  # the same things by two names are given once
    assert len(one.objects) == 2 == len({o.id for o in one.objects})
    with pytest.raises(QueryError, match="list of queries is empty"):
        locator.locate_all(room, [])


def test_a_standing_query_reports_each_thing_once(room, locator):
    told = []
    standing = StandingQueries(locator)
    standing.add("lamp", lambda query, objects, _: told.append((query, len(objects))))
    few = np.flatnonzero(room.points[:, 0] > -0.5)  # only the table lamp is in the map yet
    part = replace(room, blocks=(room.blocks[0].take(few),), version=1)
    assert standing.update(part) == 1
    assert standing.update(part) == 0
    assert standing.update(replace(room, version=2)) == 1 and standing.update(replace(room, version=3)) == 0
    assert told == [("lamp", 1), ("lamp", 1)]
    standing.start_anew()
    assert standing.update(replace(room, version=3)) == 2
    standing.remove("lamp")
    assert not standing
    with pytest.raises(QueryError, match="empty"):
        standing.add(" ", print)
    assert standing.update(replace(room, version=4)) == 0


def test_when_and_whence_a_thing_was_seen(room, locator):
    table = locator.locate(room, "table").objects[0]
    views = views_of(room, table, focal=0.5)
    assert views is not None and views.keyframes.tolist() == [0] and views.best == 0
    assert views.first_seen_s == views.last_seen_s == 0.0
    rows, columns = np.nonzero(views.mask)
    assert 0 < views.mask.mean() < 0.5 and abs(columns.mean() - 63.5) < 3 and rows.mean() > 48  # ahead, below
    behind = locator.locate(room, "the red chair").objects[0]
    assert views_of(room, behind, focal=0.5) is None
