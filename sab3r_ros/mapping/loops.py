"""Places seen again: what counts as a loop, and when a lost camera knows where it is.

Looks alone prove nothing, for rooms may be twins. A loop counts if many matches agree on one similarity and if the way
travelled allows it: what it says must lie within the errors that the path may have summed up. A lost camera has no path;
it is taken to be somewhere if no other place of the map fits nearly as well, and two keyframes agree or one is very sure.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from sab3r_ros.config import AlignmentConfig, LoopConfig
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import PairAlignment
from sab3r_ros.mapping.atlas import Atlas
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.places import POINTS, Sighting
from sab3r_ros.types import View

log = logging.getLogger(__name__)

LOST_CANDIDATES = 6  # places that are compared where nothing is known of the camera's position
# Of a place's matches: no way from elsewhere can contradict, and two looks at one wrong place may agree. At as many wrong pairs
# of rooms of the validation split about a quarter more matches agree than when rays and distances were judged apart and .4
# let no wrong place of 588 comparisons through; moved in proportion, not chosen anew.
LOST_INLIERS = 0.5
SURE_MATCHES, SURE_INLIERS = 150, 0.7  # one keyframe suffices
RIVAL = (
    0.5  # a place elsewhere with more than this share of the best one's matches makes the answer ambiguous
)
SAME_ANGLE_RAD, SAME_SHIFT, SAME_LOG_SCALE = (
    0.15,
    0.15,
    0.35,
)  # two poses are one; shift as a share of the depth seen
NEW_ANGLE_RAD, NEW_SHIFT = 0.2, 0.1  # what makes a viewpoint worth remembering
COVERED = 0.3  # of a place's points seen again: no need to remember the view as well


@dataclass(frozen=True)
class Hypothesis:
    """A keyframe of the window seems to stand at T_WK, by what it shows of a place."""

    keyframe: int
    T_WK: Sim3
    sighting: Sighting
    depth: float

    @property
    def sure(self) -> bool:
        a = self.sighting.alignment
        return a.count >= SURE_MATCHES and a.inliers >= SURE_INLIERS


class Recogniser:
    """Finds places of an atlas in views."""

    def __init__(self, atlas: Atlas, alignment: AlignmentConfig, config: LoopConfig) -> None:
        self.atlas, self.alignment, self.config = atlas, alignment, config
        self.refused = 0  # loops that the way travelled does not allow
        self._rng = np.random.default_rng(1)
        self._last: int | None = None  # keyframe whose view was last looked at

    def is_new_viewpoint(self, id: int) -> bool:
        """Whether the camera has moved or turned since the last view that was looked at."""
        graph, depth = self.atlas.graph, self.atlas.depths[id]
        if self._last is None or graph.piece_of(self._last) != graph.piece[id]:
            return True
        return not same(graph.T_WK[id], graph.pose(self._last), depth, NEW_ANGLE_RAD, NEW_SHIFT)

    def revisit(self, id: int, view: View) -> Between | None:
        """The loop that a keyframe of the map closes, if it does. A view that shows much that is new is remembered."""
        self._last = id
        graph, places = self.atlas.graph, self.atlas.places
        near = places.alike(view, id - self.config.min_gap, self.config.candidates)
        near = [k for k in near if graph.piece[k] == graph.piece[id]]
        sightings = places.compare(view, near, self.alignment, self.config, self._rng)
        loop = next((loop for s in sightings if (loop := self._allowed(id, s))), None)
        if loop is None or sightings[0].alignment.count < COVERED * POINTS:
            places.remember(id, view)
        return loop

    def _allowed(self, id: int, sighting: Sighting) -> Between | None:
        """The sighting as an edge, unless the path between the two keyframes contradicts it."""
        loop = between(sighting.place, id, sighting.alignment, loop=True)
        contradiction = self.atlas.graph.discrepancy(loop)
        if contradiction <= self.config.max_discrepancy:
            return loop
        self.refused += 1
        log.info(
            "keyframe %d looks like %d, but the way between them does not allow it (chi-square %.0f): taken for another place",
            id,
            sighting.place,
            contradiction,
        )
        return None

    def locate(self, id: int, view: View, before: int, depth: float) -> Hypothesis | None:
        """Where a view stands by what it shows of the places below id `before`; None where two places fit alike."""
        places, poses = self.atlas.places, self.atlas.graph.T_WK
        found = places.compare(
            view, places.alike(view, before, LOST_CANDIDATES), self.alignment, self.config, self._rng
        )
        found = [s for s in found if s.alignment.inliers >= LOST_INLIERS]
        if not found:
            return None
        best = found[0]
        for other in found[1:]:
            if other.alignment.count > RIVAL * best.alignment.count and not self._compatible(best, other):
                log.info("keyframe %d fits places %d and %d alike", id, best.place, other.place)
                return None
        return Hypothesis(id, poses[best.place] @ best.alignment.T_ij, best, depth)

    def _compatible(self, one: Sighting, other: Sighting) -> bool:
        """Whether a view may show two places at once: what it says of the one and the other is as a loop between them."""
        to_other = other.alignment.T_ij
        A = to_other.adjoint()
        covariance = A @ (one.alignment.covariance + other.alignment.covariance) @ A.T
        tie = Between(one.place, other.place, one.alignment.T_ij @ to_other.inverse(), covariance)
        return self.atlas.graph.discrepancy(tie) <= self.config.max_discrepancy


def between(i: int, j: int, pair: PairAlignment, loop: bool = False) -> Between:
    """What two aligned keyframes say to the graph."""
    return Between(i, j, pair.T_ij, pair.covariance, loop)


def same(A: Sim3, B: Sim3, depth: float, angle: float = SAME_ANGLE_RAD, shift: float = SAME_SHIFT) -> bool:
    """Whether two poses are one, as far as a first look can tell. depth: of what is seen, in the keyframes' unit."""
    return bool(
        A.angle_to(B) < angle
        and np.linalg.norm(A.t - B.t) < shift * depth * max(A.s, B.s)
        and abs(np.log(A.s / B.s)) < SAME_LOG_SCALE
    )
