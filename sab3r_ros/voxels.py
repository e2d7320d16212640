"""What voxels hold, as columns, and how a language feature fits into a byte a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVELS = 127  # of an int8 code on either side of zero
NO_ANCHOR = -1  # a voxel that moves with no keyframe


@dataclass(frozen=True, eq=False)
class Voxels:
    """N voxels; arrays are never written after they are made, so that any thread may read them.

    points: (N, 3) float32 mean positions, map frame, metres. colors: (N, 3) uint8 RGB. codes: (N, D) int8 and scales:
    (N,) float16, the mean feature is codes · scale. confidence: (N,) float16, summed. hits: (N,) uint16, points fused.
    anchors: (N,) int32, id of the keyframe that a voxel moves with, or NO_ANCHOR.
    """

    points: np.ndarray
    colors: np.ndarray
    codes: np.ndarray
    scales: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray
    anchors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns())

    def columns(self) -> list[np.ndarray]:
        """All arrays, in the order of the fields."""
        return list(vars(self).values())

    def take(self, rows: np.ndarray) -> Voxels:
        """A copy of some rows."""
        return Voxels(*(column.take(rows, 0) for column in self.columns()))

    def features(self) -> np.ndarray:
        """(N, D) float32, decoded."""
        return decoded(self.codes, self.scales)

    @staticmethod
    def joined(parts: Sequence[Voxels]) -> Voxels:
        """One after the other; at least one."""
        return Voxels(*map(np.concatenate, zip(*(p.columns() for p in parts), strict=True)))

    @staticmethod
    def nothing(feature_dim: int) -> Voxels:
        """No voxel, of features with D dimensions."""
        return Voxels.of(*(np.zeros((0, n)) for n in (3, 3, feature_dim)), np.zeros(0), np.zeros(0))

    @staticmethod
    def of(
        points: np.ndarray,
        colors: np.ndarray,
        features: np.ndarray,
        confidence: np.ndarray,
        hits: np.ndarray,
        anchors: np.ndarray | None = None,
    ) -> Voxels:
        """Voxels of plain arrays; features (N, D) of any float type."""
        codes, scales = encoded(features)
        anchors = np.full(len(points), NO_ANCHOR) if anchors is None else anchors
        columns = (points, colors, codes, scales, confidence, hits, anchors)
        kinds = (np.float32, np.uint8, np.int8, np.float16, np.float16, np.uint16, np.int32)
        return Voxels(*(np.asarray(c, kind) for c, kind in zip(columns, kinds, strict=True)))


def voxel_bytes(feature_dim: int) -> int:
    """Bytes of one voxel's row."""
    return sum(c.itemsize * int(np.prod(c.shape[1:])) for c in Voxels.nothing(feature_dim).columns())


def encoded(features: np.ndarray, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) → codes (N, D) int8 and scales (N,) float16, a scale a vector.

    With rng a component is rounded up or down at random so that its expectation is exact: a mean that is updated by
    less than a code's step still moves. Without it, to the nearest.
    """
    f = np.asarray(features, np.float32)
    largest = np.abs(f).max(1, initial=0)
    scales = np.nextafter((largest / LEVELS).astype(np.float16), np.float16(np.inf))  # never too small
    scales[largest == 0] = 0
    f = f * (1 / np.where(scales == 0, 1, scales).astype(np.float32))[:, None]
    return rounded(f, rng).astype(np.int8), scales


def rounded(values: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """To whole numbers, float32: the nearest, or with rng up or down at random with the right expectation."""
    if rng is None:
        return np.rint(values)
    return np.floor(values + rng.random(values.shape, np.float32))


def decoded(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """(N, D) float32 features."""
    return codes * scales.astype(np.float32)[:, None]
