"""Chairs side by side are two, a table seen in pieces is one."""

from __future__ import annotations

import numpy as np
from small_maps import box_points

from sab3r_ros.querying.split import separate, with_their_feet

JOIN, FINE = 0.2, 0.1


def count(*parts: np.ndarray) -> int:
    return len(np.unique(separate(np.concatenate(parts), JOIN, FINE)))


def chair(x: float, y: float) -> np.ndarray:
    seat, back = (
        box_points((x, y, 0.425), (0.45, 0.45, 0.05)),
        box_points((x, y + 0.2, 0.7), (0.45, 0.05, 0.5)),
    )
    legs = [box_points((x + i, y + j, 0.2), (0.05, 0.05, 0.4)) for i in (-0.2, 0.2) for j in (-0.2, 0.2)]
    return np.concatenate([seat, back, *legs])


def test_two_chairs_with_a_hand_between_them_are_two_things():
    left, right = chair(0, 0), chair(0.65, 0)
    things = separate(np.concatenate([left, right]), JOIN, FINE)
    assert set(things[: len(left)]) == {things[0]} and set(things[len(left) :]) == {things[-1]}
    assert things[0] != things[-1]


def test_a_crumb_between_them_goes_to_the_nearer():
    crumb = box_points((0.35, 0, 0.2), (0.05, 0.05, 0.05))
    things = separate(np.concatenate([chair(0, 0), chair(0.65, 0), crumb]), JOIN, FINE)
    assert len(np.unique(things)) == 2


def test_a_top_and_its_foot_a_back_and_its_seat_are_one():
    top, foot = box_points((0, 0, 0.75), (1, 1, 0.3)), box_points((0, 0, 0.25), (0.4, 0.4, 0.5))
    assert count(top, foot) == 1
    seat, back = box_points((0, 0, 0.25), (0.5, 0.5, 0.4)), box_points((0, 0.4, 0.7), (0.5, 0.15, 0.4))
    assert count(seat, back) == 1


def test_a_table_top_cut_by_something_in_front_of_it_is_one():
    assert count(box_points((0, 0, 0.7), (0.5, 0.8, 0.05)), box_points((0.65, 0, 0.7), (0.5, 0.8, 0.05))) == 1


def test_far_things_are_apart_and_nothing_is_nothing():
    assert count(chair(0, 0), chair(3, 0), chair(0, 3)) == 3
    assert len(separate(np.zeros((0, 3)), JOIN, FINE)) == 0


def test_a_seat_takes_its_foot_and_leaves_its_neighbour():
    seat, foot = box_points((0, 0, 0.6), (0.5, 0.5, 0.3)), box_points((0, 0, 0.05), (0.5, 0.5, 0.1))
    other = box_points((0.8, 0, 0.6), (0.5, 0.5, 0.3))
    points = np.concatenate([seat, other, foot])
    parts = np.split(np.arange(len(points)), np.cumsum([len(seat), len(other)]))
    together = with_their_feet(parts, points, 0.5)
    assert [len(p) for p in together] == [len(seat) + len(foot), len(other)]
    assert len(with_their_feet(parts, points, 0.2)) == 3  # too far below
