"""The peers' rules that the benchmark of locating puts beside ours."""

import numpy as np
import pytest
from locate import refusing
from locate_rules import PEERS, peer
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
