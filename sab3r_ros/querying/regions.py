"""From how likely each voxel is to the regions that may be things: smoothed along surfaces, then cut where they stand out.

A network's features are soft: a thing's share fades into what surrounds it, and its level differs from thing to thing. So
no single threshold cuts out things. Evidence first flows between neighbours that look alike (edge-aware smoothing, as of a
CRF); then each connected part of each level of it is a candidate (the component tree of a grey image, Salembier 1998), and
how a candidate stands out from its surroundings tells how good a thing it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from sab3r_ros.querying.objects import HALF_NEIGHBOURS, top_mean

LAB_WIDTH = 5.0  # distance in CIELAB over which evidence flows e times less from cell to cell
ROUNDS = 20  # of smoothing: about half a metre along an even surface
JOIN = 2  # a part's pieces may lie about so many cells apart
LEVELS = 10  # at which candidates are cut


@dataclass(frozen=True, eq=False)
class Region:
    """A candidate for a thing, and what speaks for it.

    where: (C,) numbers of the cells that it fills, of those of `evidence`. strength: mean smoothed logit of its best part.
    mean: of all its raw logits. fill: the cells' area as a share of its box's largest side, at most 1.
    """

    where: np.ndarray
    strength: float
    mean: float
    fill: float
    evidence: Evidence

    @property
    def cells(self) -> int:
        """How many it fills."""
        return len(self.where)

    @cached_property
    def rows(self) -> np.ndarray:
        """(M,) of the map, increasing."""
        return self.evidence.rows_of(self.where)


class Evidence:
    """Voxels that may be what is asked for, gathered into cells: what candidates are cut from."""

    def __init__(
        self,
        rows: np.ndarray,
        points: np.ndarray,
        colors: np.ndarray,
        logit: np.ndarray,
        cell_m: float,
        top_share: float,
    ) -> None:
        """rows: (N,) of the map, increasing. points: (N, 3) metres. colors: (N, 3) uint8. logit: (N,) of their shares."""
        self.rows, self.points, self.logit, self.cell_m, self.top_share = (
            rows,
            points,
            logit,
            cell_m,
            top_share,
        )
        self.cell, self.pairs = touching_cells(points, cell_m)
        self.count = np.bincount(self.cell)
        self._order = np.argsort(self.cell, kind="stable")  # the voxels cell by cell
        self._start = np.cumsum(self.count) - self.count
        columns = points[self._order].T.copy()
        self._low = np.stack([np.minimum.reduceat(c, self._start) for c in columns], 1)
        self._high = np.stack([np.maximum.reduceat(c, self._start) for c in columns], 1)
        self._logits = np.bincount(self.cell, logit)
        rgb = np.stack([self._mean(colors[:, c]) for c in range(3)], 1).astype(np.float32)
        self.smooth = smoothed(self._mean(logit), rgb, self.pairs)

    def _mean(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.cell, values) / self.count

    def rows_of(self, cells: np.ndarray) -> np.ndarray:
        """Rows of the map, increasing, of the voxels in some cells."""
        counts = self.count[cells]
        ahead = np.repeat(self._start[cells] - (np.cumsum(counts) - counts), counts)
        return np.sort(self.rows[self._order[ahead + np.arange(len(ahead))]])

    def region(self, cells: np.ndarray) -> Region:
        """Some of the cells (C,) as a candidate."""
        weight = self.count[cells].astype(float)
        strength = top_mean(self.smooth[cells], weight, self.top_share)
        extent = np.sort(self._high[cells].max(0) - self._low[cells].min(0) + self.cell_m)
        fill = min(1.0, len(cells) * self.cell_m**2 / float(extent[1] * extent[2]))
        return Region(cells, strength, float(self._logits[cells].sum() / weight.sum()), fill, self)

    def candidates(self, least: int) -> list[Region]:
        """Parts of at least `least` voxels of each level: disjoint if of one level, nested if of two.

        Cells of a part may lie JOIN cells apart: something in front hides what connects them.
        """
        block, touching = touching_cells(self._centers() / self.cell_m, float(JOIN))
        top = np.full(int(block.max()) + 1, -np.inf)  # (B,) of each block of JOIN³ cells
        np.maximum.at(top, block, self.smooth)
        a, b = touching.T
        lower = np.minimum(top[a], top[b])
        out: list[Region] = []
        seen: set[tuple[int, int]] = set()  # a part that is the same as at the level below counts once
        for level in np.linspace(self.smooth.min(), self.smooth.max(), LEVELS, endpoint=False):
            joined = lower >= level
            graph = csr_matrix((np.ones(joined.sum(), bool), (a[joined], b[joined])), 2 * (len(top),))
            part = connected_components(graph, directed=False)[1][block]
            inside = np.flatnonzero(self.smooth >= level)
            inside = inside[np.argsort(part[inside], kind="stable")]
            for cells in np.split(inside, np.flatnonzero(np.diff(part[inside])) + 1):
                if self.count[cells].sum() >= least and (len(cells), int(cells[0])) not in seen:
                    seen.add((len(cells), int(cells[0])))
                    out.append(self.region(cells))
        return out

    def _centers(self) -> np.ndarray:
        return np.stack([self._mean(self.points[:, k]) for k in range(3)], 1)


def best_disjoint(regions: list[Region], scores: np.ndarray) -> Iterator[tuple[float, Region]]:
    """Best first, of one evidence's regions; of those that overlap, and so are nested, the best."""
    taken = np.zeros(1 + max((int(r.where.max()) for r in regions), default=0), bool)
    for k in np.argsort(-scores, kind="stable"):
        if not taken[regions[k].where].any():
            taken[regions[k].where] = True
            yield float(scores[k]), regions[k]


def touching_cells(points: np.ndarray, cell_m: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) cell of each point, numbered from 0, and (E, 2) pairs of cells that touch, corners included, each pair once."""
    cell = np.floor(points / cell_m).astype(np.int64)
    cell -= cell.min(0) - 1
    extent = cell.max(0) + 2
    step = np.array([extent[1] * extent[2], extent[2], 1])
    keys, inverse = np.unique(cell @ step, return_inverse=True)
    pairs = []
    for offset in HALF_NEIGHBOURS @ step:
        place = np.minimum(np.searchsorted(keys, keys + offset), len(keys) - 1)
        hit = np.flatnonzero(keys[place] == keys + offset)
        pairs.append(np.stack([hit, place[hit]], 1))
    return inverse.ravel(), np.concatenate(pairs)


def smoothed(values: np.ndarray, rgb: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Values (C,) of cells after ROUNDS of averaging with the neighbours, weighted by how alike their colours (C, 3) are."""
    n, (a, b) = len(values), pairs.T
    lab = cv2.cvtColor(rgb[None] / 255, cv2.COLOR_RGB2Lab)[0]
    weight = np.exp(-np.linalg.norm(lab[a] - lab[b], axis=1) / LAB_WIDTH)
    own = np.arange(n)
    flow = csr_matrix(
        (
            np.concatenate([weight, weight, np.ones(n)]),
            (np.concatenate([a, b, own]), np.concatenate([b, a, own])),
        ),
        (n, n),
    )
    total = np.asarray(flow.sum(1)).ravel()
    for _ in range(ROUNDS):
        values = flow @ values / total
    return values
