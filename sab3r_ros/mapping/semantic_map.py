"""The semantic map: sparse voxels, each with a mean position, colour and language feature."""

from __future__ import annotations

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3

MAX_WEIGHT = 200.0  # summed confidence beyond which a voxel's mean keeps adapting at a constant rate
BITS = 21  # of a voxel coordinate in a key: ± 1 048 576 voxels a side
NAMES = ("points", "colors", "features", "confidence", "hits", "anchor")
OFFSET = 1 << (BITS - 1)


def voxel_keys(points: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """(N, 3) metres → (N,) int64, one number a voxel. Raises ValueError beyond ± 2^20 voxels from the origin."""
    cell = np.floor(points / voxel_size_m).astype(np.int64) + OFFSET
    if cell.size and (cell.min() < 0 or cell.max() >= 1 << BITS):
        raise ValueError("a point lies outside the map's range: check the scale, or choose larger voxels")
    return (cell[:, 0] << (2 * BITS)) | (cell[:, 1] << BITS) | cell[:, 2]


class SemanticMap:
    """Voxels in arrays that double when full; a sorted index of keys finds a voxel's row.

    Means are weighted by the pointmap's confidence. `memory_bytes` counts what is allocated.
    """

    def __init__(self, voxel_size_m: float, feature_dim: int, max_voxels: int) -> None:
        self.voxel_size_m, self.feature_dim, self.max_voxels = voxel_size_m, feature_dim, max_voxels
        self.size = 0
        self._keys = np.zeros(0, np.int64)  # sorted
        self._rows = np.zeros(0, np.int64)  # row of each sorted key
        self.points = np.zeros((0, 3), np.float32)
        self.colors = np.zeros((0, 3), np.float32)
        self.features = np.zeros((0, feature_dim), np.float16)
        self.confidence = np.zeros(0, np.float32)
        self.hits = np.zeros(0, np.int32)
        self.anchor = np.zeros(0, np.int32)  # keyframe that saw the voxel first: it moves with it

    def __len__(self) -> int:
        return self.size

    @property
    def memory_bytes(self) -> int:
        arrays = (
            self._keys,
            self._rows,
            self.points,
            self.colors,
            self.features,
            self.confidence,
            self.hits,
            self.anchor,
        )
        return sum(a.nbytes for a in arrays)

    def integrate(
        self,
        points: np.ndarray,
        colors: np.ndarray,
        features: np.ndarray,
        confidence: np.ndarray,
        anchor: int | np.ndarray = 0,
    ) -> int:
        """Fuse one view's points. Returns how many voxels are new.

        points (N, 3) metres in the map frame, finite; colors (N, 3) uint8; features (N, D); confidence (N,) > 0.
        anchor: keyframe that saw them, one for all or (N,); a voxel keeps its first.
        """
        if not len(points):
            return 0
        keys = voxel_keys(points, self.voxel_size_m)
        order = np.argsort(keys, kind="stable")
        keys, w = keys[order], confidence[order].astype(np.float32)
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        weight = np.add.reduceat(w, starts)

        def mean(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values[order].astype(np.float32) * w[:, None], starts) / weight[:, None]

        known = self.size
        rows, fresh = self._rows_of(keys[starts])
        new = rows >= known
        self.anchor[rows[new]] = np.broadcast_to(anchor, len(order))[order][starts][new]
        counts = np.diff(np.r_[starts, len(keys)])
        old = self.confidence[rows]
        share = (weight / (np.minimum(old, MAX_WEIGHT) + weight))[:, None]
        for store, value in (
            (self.points, mean(points)),
            (self.colors, mean(colors)),
            (self.features, mean(features)),
        ):
            held = store[rows].astype(np.float32)
            store[rows] = held + share * (value - held)
        self.confidence[rows] = old + weight
        self.hits[rows] += counts.astype(np.int32)
        if self.size > self.max_voxels:
            self._forget()
        return fresh

    def _rows_of(self, keys: np.ndarray) -> tuple[np.ndarray, int]:
        """Rows of sorted unique keys; new voxels get rows at the end."""
        place = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), bool)
        inside = place < len(self._keys)
        known[inside] = self._keys[place[inside]] == keys[inside]
        rows = np.empty(len(keys), np.int64)
        rows[known] = self._rows[place[known]]
        fresh = int((~known).sum())
        if fresh:
            rows[~known] = np.arange(self.size, self.size + fresh)
            self._reserve(self.size + fresh)
            self._keys = np.insert(self._keys, place[~known], keys[~known])
            self._rows = np.insert(self._rows, place[~known], rows[~known])
            self.size += fresh
        return rows, fresh

    def _reserve(self, size: int) -> None:
        if size <= len(self.hits):
            return
        capacity = max(size, 2 * len(self.hits), 4096)
        for name in NAMES:
            old = getattr(self, name)
            new = np.zeros((capacity, *old.shape[1:]), old.dtype)
            new[: self.size] = old[: self.size]
            setattr(self, name, new)

    def move(self, moves: dict[int, Sim3]) -> None:
        """Move the voxels of some anchors, keyframe → similarity; voxels that meet in one cell become one, by confidence."""
        n = self.size
        anchors = np.fromiter(moves, np.int64)
        order = np.argsort(anchors)
        which = np.searchsorted(anchors[order], self.anchor[:n])
        which = order[np.minimum(which, len(order) - 1)]
        moved = np.flatnonzero(anchors[which] == self.anchor[:n])
        M = np.stack([T.matrix() for T in moves.values()])[which[moved]]
        self.points[moved] = np.einsum("nij,nj->ni", M[:, :3, :3], self.points[moved]) + M[:, :3, 3]
        keys = voxel_keys(self.points[:n], self.voxel_size_m)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0])
        w = self.confidence[:n][order]
        weight = np.add.reduceat(w, starts)

        def mean(values: np.ndarray) -> np.ndarray:
            return (
                np.add.reduceat(values[:n][order].astype(np.float32) * w[:, None], starts) / weight[:, None]
            )

        points, colors, features = mean(self.points), mean(self.colors), mean(self.features)
        hits = np.add.reduceat(self.hits[:n][order], starts)
        self.load(points, colors, features, weight, hits, self.anchor[:n][order][starts])

    def _forget(self) -> None:
        """Drop the tenth of the voxels that was seen with the least confidence: noise goes before furniture."""
        keep = np.sort(np.argpartition(self.confidence[: self.size], self.size // 10)[self.size // 10 :])
        self.load(*(getattr(self, n)[keep] for n in NAMES))

    def load(
        self,
        points: np.ndarray,
        colors: np.ndarray,
        features: np.ndarray,
        confidence: np.ndarray,
        hits: np.ndarray,
        anchor: np.ndarray | None = None,
    ) -> None:
        """Replace everything by given voxels, one row a voxel."""
        self.size = len(points)
        self.points, self.colors = points.astype(np.float32), colors.astype(np.float32)
        self.features, self.confidence = features.astype(np.float16), confidence.astype(np.float32)
        self.hits = hits.astype(np.int32)
        self.anchor = np.zeros(self.size, np.int32) if anchor is None else anchor.astype(np.int32)
        keys = voxel_keys(self.points, self.voxel_size_m)
        self._rows = np.argsort(keys, kind="stable")
        self._keys = keys[self._rows]
