"""How probable matches are: what each trait says, and that the shipped weights mean it."""

import numpy as np
import pytest

from sab3r_ros.mapping.matching import match_views
from sab3r_ros.mapping.probability import TRAITS, colors_around, probability, traits, weights
from sab3r_ros.types import View

SAME = {"confidence": 2.0, "likeness": 0.8, "lead": 0.1, "colors": 5.0}


def told(share=0.5, **changed):
    """Traits of three matches, the first with what has changed."""
    columns = {name: np.full(3, value) for name, value in SAME.items()}
    for name, value in changed.items():
        columns[name][0] = value
    colors = np.zeros((3, 3))
    colors[:, 0] = columns.pop("colors")
    return traits(**columns, colors=colors, share=share)


@pytest.mark.parametrize(
    "better", [{"confidence": 4.0}, {"likeness": 0.9}, {"lead": 0.15}], ids=lambda b: next(iter(b))
)
def test_what_is_surer_liker_or_farther_ahead_is_more_probable(better):
    p = probability(told(**better))
    assert 0 < p[1] == p[2] < p[0] < 1


def test_other_colours_than_the_rest_have_make_a_match_less_probable():
    p = probability(told(colors=50.0))
    assert p[0] < p[1]


def test_another_light_or_scale_of_confidence_changes_nothing():
    brighter = traits(
        np.full(3, 2.0), np.full(3, 0.8), np.full(3, 0.1), np.array([[5.0, 0, 0]] * 3) + 40.0, 0.5
    )
    surer = traits(np.full(3, 200.0), np.full(3, 0.8), np.full(3, 0.1), np.zeros((3, 3)), 0.5)
    assert np.allclose(brighter, told()) and np.allclose(surer, told())


def test_a_pair_that_shares_more_is_more_probable():
    assert (probability(told(share=0.9)) > probability(told(share=0.1))).all()


def test_a_logistic_regression():
    assert weights().shape == (len(TRAITS) + 1,)
    x = told()
    assert np.allclose(np.log(1 / probability(x) - 1), -(x @ weights()[:-1] + weights()[-1]))


def test_colours_around_a_pixel_are_their_mean():
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 4] = 90
    around = colors_around(image, np.array([[4.0, 4.4], [5.0, 5.0], [8.0, 8.0]]), 1)
    assert around.tolist() == [[10.0] * 3, [10.0] * 3, [0.0] * 3]


def test_of_two_places_that_look_alike_the_one_of_the_right_colour_is_more_probable():
    rng = np.random.default_rng(0)
    D = rng.normal(size=(24, 32, 24)).astype(np.float32)
    D /= np.linalg.norm(D, axis=2, keepdims=True)
    view = View(np.ones((48, 64, 3)), np.ones((48, 64)), D, np.ones((24, 32)), None)
    first = rng.integers(0, 30, (48, 64, 3)).astype(np.uint8)
    second = first.copy()
    second[:, 40:] += 100
    found = match_views(view, view, (first, second))
    left, right = found.first[:, 0] < 34, found.first[:, 0] > 46
    assert left.sum() > right.sum() > 10
    assert found.probability[left].min() > found.probability[right].max()
