"""From how likely each cell is to the regions that may be things: smoothed along surfaces, then cut where they stand out.

A network's features are soft: a thing's share fades into what surrounds it, and its level differs from thing to thing. So
no single threshold cuts out things. Evidence first flows between neighbours that look alike (edge-aware smoothing, as of a
CRF); then each connected part of each level of it is a candidate (the component tree of a grey image, Salembier 1998), and
how a candidate stands out from its surroundings tells how good a thing it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.querying.cells import coordinates
from sab3r_ros.querying.compiled import grouped, parts, smoothed

LAB_WIDTH = 5.0  # distance in CIELAB over which evidence flows e times less from cell to cell
ROUNDS = 20  # of smoothing: about half a metre along an even surface
JOIN = 2  # a part's pieces may lie about so many cells apart
LEVELS = 10  # at which candidates are cut
DECIMALS = (
    3  # of a smoothed logit, which SURE bounds: rounding makes no levels of its own, and 16 bits hold it
)
LEAST_CELLS = 3  # of a candidate
LARGER = 0.3  # what a score's logit may be less for a region e times as large around another
SURE = 1e-4  # shares are kept this far from 0 and 1 before their logit is taken
MOST_CELLS = 16_000  # more that may be it are a wall, a floor: cut from cells twice, four times as large


@dataclass(frozen=True, eq=False)
class Regions:
    """R candidates for things, and what speaks for them.

    strength: (R,) mean smoothed logit of the best part of each. mean: (R,) of all its raw logits. size: (R,) how many cells it
    fills. fill: (R,) the cells' area as a share of its box's largest side, at most 1. cells: of each its rows in the evidence.
    """

    strength: np.ndarray
    mean: np.ndarray
    size: np.ndarray
    fill: np.ndarray
    cells: list[np.ndarray]
    evidence: Evidence

    def __len__(self) -> int:
        return len(self.cells)


class Evidence:
    """Cells that may be what is asked for: what candidates are cut from.

    Of more than MOST_CELLS, those within a cell twice (four times, …) as large count as one, `scale` times as long.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        counts: np.ndarray,
        colors: np.ndarray,
        logit: np.ndarray,
        top_share: float,
        lift: np.ndarray | None = None,
    ) -> None:
        """numbers: (N,) places of cells. counts: (N,) voxels in each. colors: (N, 3). logit: (N,) of their shares. lift: (N,)
        what else speaks for each: candidates are cut where both stand out, but it is no part of their strength.
        """
        halvings = 0
        while len(numbers) > MOST_CELLS * 4**halvings:
            halvings += 1
        self.scale, self.top_share = 2**halvings, top_share
        self.numbers, self._order, self._start, self.count, self._logits, self.colors = grouped(
            numbers, halvings, counts, logit, colors
        )
        rounds = max(1, ROUNDS // self.scale**2)  # what flows spreads with the root of the rounds

        def even(sums: np.ndarray) -> np.ndarray:
            values = smoothed(sums / self.count, lab_of(self.colors), self.numbers, LAB_WIDTH, rounds)
            return values.round(DECIMALS)

        self.smooth = self._strong = even(self._logits)
        if lift is not None:
            self.smooth = even(grouped(numbers, halvings, counts, logit + lift, colors)[4])

    def members(self, cells: np.ndarray) -> np.ndarray:
        """Which of the given cells (N,) some of the evidence's cells are."""
        inside = self._start[cells + 1] - self._start[cells]
        ahead = np.repeat(self._start[cells] - (np.cumsum(inside) - inside), inside)
        return self._order[ahead + np.arange(len(ahead))]

    def centers(self, cells: np.ndarray) -> np.ndarray:
        """(M, 3) middles of some cells, in units of the cells that were given."""
        return self.scale * (coordinates(self.numbers[cells]).T + 0.5)

    def candidates(self, least: int) -> Regions:
        """Parts of at least `least` voxels of each level: disjoint if of one level, nested if of two.

        Cells of a part may lie JOIN cells apart: something in front hides what connects them.
        """
        steps = np.rint(self.smooth * 10**DECIMALS).astype(np.int16)  # 16 bits are sorted by counting
        levels = np.linspace(self.smooth.min(), self.smooth.max(), LEVELS, endpoint=False)[::-1]
        traits, cells = parts(
            *(self.numbers, np.argsort(-steps, kind="stable"), self.smooth, self.count, self._logits),
            *(int(self.scale < JOIN), levels, self.top_share, least, LEAST_CELLS),
        )
        strength, mean, size, fill = traits.T
        if self._strong is not self.smooth:
            strength = np.array([top_mean(self._strong[part], self.top_share) for part in cells])
        return Regions(strength, mean, size * self.scale**2, fill, cells, self)


def logit_of(share: np.ndarray) -> np.ndarray:
    """Shares 0..1 → logits, finite."""
    p = np.clip(share, SURE, 1 - SURE)
    return np.log(p / (1 - p))


def top_mean(values: np.ndarray, share: float) -> float:
    """Mean of the highest `share` of values, at least one."""
    return float(np.sort(values)[-max(1, int(np.ceil(share * len(values)))) :].mean())


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """(N, 3) float32 RGB 0..255 → (N, 3) float32 CIELAB."""
    return cv2.cvtColor(rgb[None] / 255, cv2.COLOR_RGB2Lab)[0]


def best_disjoint(regions: Regions, scores: np.ndarray, least: float = 0.0) -> list[int]:
    """Numbers of regions that reach a score, best first, or of the best alone if none does; of those that overlap, and so are
    nested, one.

    That is the one of the best score, but a larger one may have a little less, by LARGER: on a noisy surface evidence varies
    within a thing, and its best piece stands out more than the whole.
    """
    some = np.flatnonzero(scores >= least)
    if not len(some):
        some = np.argsort(-scores, kind="stable")[:1]
    worth = logit_of(scores[some]) + LARGER * np.log(regions.size[some])
    taken, chosen = np.zeros(len(regions.evidence.numbers), bool), []
    for k in some[np.argsort(-worth, kind="stable")].tolist():
        if not taken[regions.cells[k]].any():
            taken[regions.cells[k]] = True
            chosen.append(k)
    return sorted(chosen, key=lambda k: -scores[k])
