"""What a query may mean in a map: cells that may be it, candidates cut from them, and of these the things, each with a score."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.querying.colors import MOST_LIFT, color_lift, in_color, lab_in_light, white_of
from sab3r_ros.querying.objects import without_crumbs
from sab3r_ros.querying.prepared import PreparedMap
from sab3r_ros.querying.recent import Recent
from sab3r_ros.querying.regions import Evidence, best_disjoint, logit_of
from sab3r_ros.querying.score import PhraseSet, Scorer
from sab3r_ros.querying.split import came_apart, with_their_feet
from sab3r_ros.types import MapSnapshot

RECENT_THINGS = 128  # whose pieces are remembered
LEAST_SHARE = 0.011  # cells with less are no part of anything that is found
COMMON = 0.01  # the map's most likely hundredth tells how common in it the query is


@dataclass(frozen=True)
class Search:
    """What a query finds in a map. cells: that may be it, and their shares; evidence is made of them. things: of each the score
    and its rows of the evidence, best first, also one under the threshold where none is above it.
    """

    phrases: PhraseSet
    prepared: PreparedMap
    cells: np.ndarray
    share: np.ndarray
    evidence: Evidence | None
    things: list[tuple[float, np.ndarray]]

    def cells_of(self, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a thing the cells of the map, ascending, and their shares."""
        members = np.sort(self.evidence.members(part))
        return self.cells[members], self.share[members]

    def count(self, threshold: float) -> int:
        """How many things score as much."""
        return sum(score >= threshold for score, _ in self.things)


class Searcher:
    """Searches map snapshots. Thread-safe."""

    def __init__(self, scorer: Scorer, config: LocateConfig) -> None:
        self.scorer, self.config = scorer, config
        self._pieces: Recent[np.ndarray] = Recent(RECENT_THINGS)
        self._ready: tuple[PreparedMap, ...] = ()  # the newest, and the one before: it may still be asked

    def prepared(self, snapshot: MapSnapshot) -> PreparedMap:
        """What the map's queries share, remembered for the two newest maps."""
        ready = self._ready
        found = next((p for p in ready if p.snapshot is snapshot), None)
        if found is None:
            found = self.scorer.prepare(snapshot)
            self._ready = (found, *ready[:1])
        return found

    def search(self, snapshot: MapSnapshot, phrases: PhraseSet, threshold: float, color: str = "") -> Search:
        """Candidate regions of the cells that may be it, each scored; the best of those that overlap are things."""
        prepared, c = self.prepared(snapshot), self.config
        likely, share = self.scorer.likely(prepared, phrases, LEAST_SHARE)
        count = 1 + int(COMMON * prepared.living)  # of cells that are the map's most likely hundredth
        common = np.partition(share, -count)[-count] if count <= len(share) else LEAST_SHARE
        (numbers, voxels, colors), lift = prepared.looks_of(likely), None
        white = white_of(snapshot) if color else 0.0
        if color and len(likely):
            lift = color_lift(color, lab_in_light(colors, white)).clip(-MOST_LIFT, MOST_LIFT)
            fits = logit_of(share) + lift >= logit_of(LEAST_SHARE)
            likely, share, lift = likely[fits], share[fits], lift[fits]
            numbers, voxels, colors = numbers[fits], voxels[fits], colors[fits]
        if len(likely) == 0:
            return Search(phrases, prepared, likely, share, None, [])
        evidence = Evidence(numbers, voxels, colors, logit_of(share), c.top_share, lift)
        regions = evidence.candidates(c.min_voxels)
        scores = self.scorer.score(regions, float(logit_of(common)))
        if color:
            lab = lab_in_light(evidence.colors, white)
            medians = np.array([np.median(lab[cells], axis=0) for cells in regions.cells]).reshape(-1, 3)
            scores = in_color(logit_of(scores), color_lift(color, medians))
        points = evidence.centers(np.arange(len(evidence.count))) * prepared.cell_m
        fine_m = max(prepared.cell_m, 2 * snapshot.voxel_size_m)
        chosen = []  # score and cells of disjoint things, best first
        for k in best_disjoint(regions, scores, threshold):
            score, cells = float(scores[k]), regions.cells[k]
            pieces = self._apart(evidence, cells, points, fine_m) if evidence.scale == 1 else [cells]
            chosen += [(score, piece) for piece in pieces]
        good = [(score, cells) for score, cells in chosen if score >= threshold]
        good = [(score, cells) for score, cells in good if evidence.count[cells].sum() >= c.min_voxels]
        whole = with_their_feet([cells for _, cells in good], points, c.crumb_reach_m)
        score_of = np.zeros(len(evidence.count))
        for score, cells in reversed(good):
            score_of[cells] = score
        parts = without_crumbs(whole, points, evidence.count, c.min_voxels, c.min_part, c.crumb_reach_m)
        kept = [(float(score_of[part].max()), part) for part in parts] or chosen[:1]
        kept.sort(key=lambda thing: -thing[0])
        return Search(phrases, prepared, likely, share, evidence, kept)

    def _apart(
        self, evidence: Evidence, cells: np.ndarray, points: np.ndarray, fine_m: float
    ) -> list[np.ndarray]:
        """Some rows of the evidence by the things that come apart; of the same cells computed once."""
        key = fine_m, blake2b(evidence.numbers[cells].tobytes()).digest()
        piece = self._pieces.get(key)
        if piece is None:
            piece = came_apart(points[cells], fine_m)
            self._pieces.put(key, piece)
        return [cells[piece == p] for p in range(int(piece.max()) + 1)]
