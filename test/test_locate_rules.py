"""The peers' rules that the benchmark of locating puts beside ours."""

import numpy as np
import pytest
from locate import refusing
from locate_judge import Tally
from locate_rules import PEERS, peer
from locate_work import together
from small_maps import ToyText, box_points, snapshot_of


@pytest.mark.parametrize("kind", PEERS.values(), ids=list(PEERS))
def test_a_peer_finds_both_chairs_and_no_lamp(kind):
    sofa, chair = ToyText().encode(["sofa", "chair"])
    places = [(0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (4.0, 0.0, 0.0)]
    boxes = [box_points(place, (0.5, 0.5, 0.5)) for place in places]
    snapshot = snapshot_of(list(zip(boxes, (sofa, chair, chair), strict=True)))
    locator = peer(kind, np.eye(ToyText.dim, dtype=np.float32), ToyText(), 0.7, ("sofa", "chair", "lamp"))
    found = locator.locate(snapshot, "chair").objects
    assert sorted(round(float(o.centroid[0])) for o in found) == [2, 4]
    assert [len(o.indices) for o in found] == [1000, 1000]
    assert not locator.locate(snapshot, "lamp").success


@pytest.mark.parametrize(("share", "refused"), [(0.0, 0), (0.5, 2), (0.6, 3), (1.0, 4)])
def test_as_strict_as_a_peer_is_the_lowest_threshold_that_refuses_as_much(share, refused):
    scores = [0.9, 0.5, 0.7, 0.1]
    threshold = refusing(scores, share, least=0.0)
    assert sum(score < threshold for score in scores) == refused
    assert refusing(scores, share, least=0.95) == 0.95


def test_the_calibration_error_of_a_perfect_score_is_chance_and_fades_with_the_number_of_answers():
    rng = np.random.default_rng(0)
    few, many = (Tally(scores=rng.random(n).tolist()) for n in (50, 5000))
    for tally in (few, many):
        tally.right = (rng.random(len(tally.scores)) < tally.scores).tolist()
    (mean, high), (later, least) = few.ece_by_chance(), many.ece_by_chance()
    assert few.ece <= high and many.ece <= least and later < 0.02 < 0.08 < mean < high
    assert Tally(scores=[0.95, 0.85, 0.85], right=[True, True, False]).ece == pytest.approx(
        0.05 / 3 + 2 * 0.35 / 3
    )


def test_tallies_of_rooms_add_up():
    whole = together(
        [Tally(1, 2, 3, scores=[0.5], right=[True]), Tally(4, 0, 1, scores=[0.6], right=[False])]
    )
    assert (whole.hits, whole.wrong, whole.missed) == (5, 2, 4)
    assert whole.scores == [0.5, 0.6] and whole.right == [True, False]
