"""What meets in a cell becomes one voxel: pixels of keyframes, voxels that have moved, and the voxel that was there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from sab3r_ros.mapping.fading import MAX_WEIGHT
from sab3r_ros.voxels import Voxels, encoded, rounded

MAX_CONFIDENCE = 2000.0  # more is not counted: every unit up to here is a step of float16
MAX_HITS = 65535


@dataclass(frozen=True, eq=False)
class Seen:
    """N points that keyframes see.

    points (N, 3) metres in the map frame, finite; colors (N, 3) uint8; features (N, D); confidence (N,) > 0; anchors (N,)
    int32, the keyframes' ids, which new voxels will move with.
    """

    points: np.ndarray
    colors: np.ndarray
    features: np.ndarray
    confidence: np.ndarray
    anchors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: np.ndarray) -> Seen:
        return Seen(*(column.take(rows, 0) for column in vars(self).values()))

    @staticmethod
    def nothing(feature_dim: int) -> Seen:
        points, confidence = np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
        features = np.zeros((0, feature_dim), np.float16)
        return Seen(points, points.astype(np.uint8), features, confidence, confidence.astype(np.int32))

    @staticmethod
    def joined(parts: list[Seen]) -> Seen:
        """One after the other; at least one."""
        return Seen(*map(np.concatenate, zip(*(vars(p).values() for p in parts), strict=True)))


def meet(
    seen: Seen,
    moved: Voxels,
    order: np.ndarray,
    starts: np.ndarray,
    known: np.ndarray,
    held: Voxels,
    rng: np.random.Generator,
) -> tuple[Voxels, int]:
    """The voxels (G) of all cells into which something comes, and how many of them nothing was known of.

    What comes are the rows of `seen` and then of `moved`, in `order`; a cell's are those from one of `starts` (G,) to the
    next. held: what the cells held where known (G,). A voxel that meets nothing stays as it is, bit by bit.
    """
    counts = np.diff(np.r_[starts, len(order)])
    row = order.take(starts) - len(seen)
    alone = (counts == 1) & (row >= 0) & ~known
    if not alone.any():
        means = Means.of(seen, moved, order, starts)
        return means.over(known, held, rng), int((~known & (means.claim == 0)).sum())
    voxels = moved.take(np.where(alone, row, 0))
    if alone.all():
        return voxels, 0
    some = order[np.repeat(~alone, counts)]
    here = np.unique(some[some >= len(seen)]) - len(seen)
    number = np.arange(len(seen) + len(moved))
    number[len(seen) + here] = len(seen) + np.arange(len(here))
    means = Means.of(seen, moved.take(here), number[some], np.cumsum(counts[~alone]) - counts[~alone])
    for column, values in zip(voxels.columns(), means.over(known[~alone], held, rng).columns(), strict=True):
        column[~alone] = values
    return voxels, int((~known[~alone] & (means.claim == 0)).sum())


@dataclass(frozen=True, eq=False)
class Means:
    """What came into G cells, weighted by confidence: the columns of `Voxels`, as floats.

    claim: (G,) confidence of the surest voxel among it, which the anchor is of; 0 where only pixels came.
    """

    points: np.ndarray
    colors: np.ndarray
    features: np.ndarray
    weight: np.ndarray
    hits: np.ndarray
    anchors: np.ndarray
    claim: np.ndarray

    @staticmethod
    def of(seen: Seen, moved: Voxels, order: np.ndarray, starts: np.ndarray) -> Means:
        """See `meet`."""
        confidence = np.maximum(moved.confidence.astype(np.float32), 1e-3)
        w = np.concatenate([seen.confidence, confidence], dtype=np.float32).take(order)
        claims = np.concatenate([np.zeros(len(seen), np.float32), confidence]).take(order)
        hits = np.concatenate([np.ones(len(seen), np.int64), moved.hits]).take(order)
        anchors = np.concatenate([seen.anchors, moved.anchors]).take(order)
        ends = np.r_[starts, len(order)]
        counts, weight, claim = np.diff(ends), np.add.reduceat(w, starts), np.maximum.reduceat(claims, starts)
        share = csr_matrix((w / np.repeat(weight, counts), order, ends), (len(starts), len(order)))

        def mean(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
            return share @ np.concatenate([mine, theirs], dtype=np.float32, casting="unsafe")

        surest = np.where(claims == np.repeat(claim, counts), anchors, np.iinfo(np.int32).max)
        return Means(
            mean(seen.points, moved.points),
            mean(seen.colors, moved.colors),
            mean(seen.features, moved.features()),
            weight,
            np.add.reduceat(hits, starts),
            np.minimum.reduceat(surest, starts).astype(np.int32),
            claim,
        )

    def over(self, known: np.ndarray, held: Voxels, rng: np.random.Generator) -> Voxels:
        """As voxels, together with those that the cells held where known (G,), which keep their anchors if they are as sure."""
        old = np.zeros(len(known), np.float32)
        old[known] = held.confidence
        new = np.minimum(self.weight, MAX_WEIGHT)
        share = (new / (np.minimum(old, MAX_WEIGHT) + new))[known, None]

        def mean(before: np.ndarray, values: np.ndarray) -> np.ndarray:
            values, before = values.copy(), before.astype(np.float32)
            values[known] = before + share * (values[known] - before)
            return values

        hits, anchors = self.hits.copy(), self.anchors.copy()
        hits[known] += held.hits
        anchors[known] = np.where(self.claim[known] > held.confidence, anchors[known], held.anchors)
        return Voxels(
            mean(held.points, self.points),
            rounded(mean(held.colors, self.colors), rng).clip(0, 255).astype(np.uint8),
            *encoded(mean(held.features(), self.features), rng),
            np.minimum(old + self.weight, MAX_CONFIDENCE).astype(np.float16),
            np.minimum(hits, MAX_HITS).astype(np.uint16),
            anchors,
        )
