"""From how likely each cell is to the regions that may be things: smoothed along surfaces, then cut where they stand out.

A network's features are soft: a thing's share fades into what surrounds it, and its level differs from thing to thing. So
no single threshold cuts out things. Evidence first flows between neighbours that look alike (edge-aware smoothing, as of a
CRF); then each connected part of each level of it is a candidate (the component tree of a grey image, Salembier 1998), and
how a candidate stands out from its surroundings tells how good a thing it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from sab3r_ros.querying.cells import coarser, coordinates, touching

LAB_WIDTH = 5.0  # distance in CIELAB over which evidence flows e times less from cell to cell
ROUNDS = 20  # of smoothing: about half a metre along an even surface
JOIN = 2  # a part's pieces may lie about so many cells apart
LEVELS = 10  # at which candidates are cut
DECIMALS = 3  # of a smoothed logit: rounding makes no levels of its own
LEAST_CELLS = 3  # of a candidate
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
        self, numbers: np.ndarray, counts: np.ndarray, colors: np.ndarray, logit: np.ndarray, top_share: float
    ) -> None:
        """numbers: (N,) places of cells. counts: (N,) voxels in each. colors: (N, 3). logit: (N,) of their shares."""
        halvings = 0
        while len(numbers) > MOST_CELLS * 4**halvings:
            halvings += 1
        self.scale, self.top_share = 2**halvings, top_share
        numbers = coarser(numbers, halvings) if halvings else numbers
        self._order = np.argsort(numbers)
        numbers = numbers[self._order]
        self._start = runs(numbers)
        self._inside = np.diff(self._start, append=len(numbers))
        self.numbers, self._place = numbers[self._start], coordinates(numbers[self._start])
        weight = counts[self._order].astype(float)
        self.count = np.add.reduceat(weight, self._start)
        self._logits = np.add.reduceat(weight * logit[self._order], self._start)
        rgb = [np.add.reduceat(weight * colors[self._order, c], self._start) / self.count for c in range(3)]
        rounds = max(1, ROUNDS // self.scale**2)  # what flows spreads with the root of the rounds
        even = smoothed(self._logits / self.count, np.stack(rgb, 1), touching(self.numbers), rounds)
        self.smooth = even.round(DECIMALS)

    def members(self, cells: np.ndarray) -> np.ndarray:
        """Which of the given cells (N,) some of the evidence's cells are."""
        inside = self._inside[cells]
        ahead = np.repeat(self._start[cells] - (np.cumsum(inside) - inside), inside)
        return self._order[ahead + np.arange(len(ahead))]

    def centers(self, cells: np.ndarray) -> np.ndarray:
        """(M, 3) middles of some cells, in units of the cells that were given."""
        return self.scale * (self._place[:, cells].T + 0.5)

    def candidates(self, least: int) -> Regions:
        """Parts of at least `least` voxels of each level: disjoint if of one level, nested if of two.

        Cells of a part may lie JOIN cells apart: something in front hides what connects them.
        """
        wide = coarser(self.numbers, 1) if self.scale < JOIN else self.numbers
        blocks, block = np.unique(wide, return_inverse=True)
        top = np.full(len(blocks), -np.inf)
        np.maximum.at(top, block, self.smooth)
        a, b = touching(blocks)
        lower = np.minimum(top[a], top[b])
        surest = np.argsort(-self.smooth, kind="stable")
        level_of = self.smooth[surest]
        part = np.arange(len(blocks))  # of each block, at the level
        short = np.min_scalar_type(len(blocks))  # 16 bits are sorted by counting
        parts: list[tuple[np.ndarray, ...]] = []
        cells: list[np.ndarray] = []
        held = np.zeros(
            len(self.numbers), np.int64
        )  # size of the part whose surest cell it was at the level above
        above = np.inf
        for level in np.linspace(level_of[-1], level_of[0], LEVELS, endpoint=False)[::-1]:
            joins = np.flatnonzero((lower >= level) & (lower < above))
            if len(joins):
                ends = part[a[joins]], part[b[joins]]
                graph = csr_matrix((np.ones(len(joins)), ends), 2 * (len(blocks),))
                part = connected_components(graph, directed=False)[1][part]
            above = level
            inside = surest[: np.searchsorted(-level_of, -level, side="right")]
            mine = part[block[inside]]
            large = np.bincount(mine, self.count[inside], len(blocks)) >= least
            large &= np.bincount(mine, minlength=len(blocks)) >= LEAST_CELLS
            inside, mine = inside[large[mine]], mine[large[mine]]
            if not len(inside):
                continue
            order = np.argsort(mine.astype(short), kind="stable")
            inside, mine = inside[order], mine[order]  # part after part, each the surest first
            start = runs(mine)
            size = np.diff(start, append=len(inside))
            new = held[inside[start]] != size  # a part that is the same as at the level above counts once
            held[inside[start]] = size
            parts.append(tuple(values[new] for values in self._traits(inside, start, size)))
            cells += [inside[i : i + n] for i, n in zip(start[new].tolist(), size[new].tolist(), strict=True)]
        columns = map(np.concatenate, zip(*parts, strict=True)) if parts else np.zeros((4, 0))
        return Regions(*columns, cells, self)

    def _traits(self, cells: np.ndarray, start: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, ...]:
        """Strength, mean, size and fill of parts, each `size` cells from `start` on."""
        count = np.r_[0, np.cumsum(self.count[cells])]
        smooth = np.r_[0, np.cumsum(self.count[cells] * self.smooth[cells])]
        end, best = start + size, start + np.ceil(self.top_share * size).astype(int)
        strength = (smooth[best] - smooth[start]) / (count[best] - count[start])
        mean = np.add.reduceat(self._logits[cells], start) / (count[end] - count[start])
        place = self._place[:, cells]
        extent = np.maximum.reduceat(place, start, 1) - np.minimum.reduceat(place, start, 1) + 1
        fill = np.minimum(1, size / np.sort(extent, 0)[1:].prod(0))
        return strength, mean, size * self.scale**2, fill


def runs(values: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins; at least one value."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))


def best_disjoint(regions: Regions, scores: np.ndarray) -> Iterator[int]:
    """Numbers of regions, best first; of those that overlap, and so are nested, the best."""
    taken = np.zeros(len(regions.evidence.numbers), bool)
    for k in np.argsort(-scores, kind="stable").tolist():
        if not taken[regions.cells[k]].any():
            taken[regions.cells[k]] = True
            yield k


def smoothed(values: np.ndarray, rgb: np.ndarray, pairs: np.ndarray, rounds: int) -> np.ndarray:
    """Values (C,) of cells after rounds of averaging with the neighbours, weighted by how alike their colours (C, 3) are.

    pairs: (2, E) cells that touch.
    """
    n, (a, b) = len(values), pairs
    lab = cv2.cvtColor(rgb[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    away = lab[a] - lab[b]
    weight = np.exp(np.sqrt(np.einsum("ec,ec->e", away, away)) / np.float32(-LAB_WIDTH))
    total = 1 + np.bincount(a, weight, n) + np.bincount(b, weight, n)
    own = np.arange(n, dtype=a.dtype)
    to, source = np.concatenate([a, b, own]), np.concatenate([b, a, own])
    share = np.concatenate([weight, weight, np.ones(n, np.float32)]) / total[to]
    flow = csr_matrix((share.astype(np.float32), (to, source)), (n, n))
    values = values.astype(np.float32)
    for _ in range(rounds):
        values = flow @ values
    return values
