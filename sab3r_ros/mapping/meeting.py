"""What meets in a cell becomes one voxel: pixels of keyframes, voxels that have moved, and the voxel that was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sab3r_ros.mapping.compiled import floats, library, table
from sab3r_ros.mapping.fading import MAX_WEIGHT
from sab3r_ros.mapping.tiles import Tile
from sab3r_ros.voxels import Voxels


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


@dataclass(frozen=True, eq=False)
class Met:
    """tiles: as they are now. Of each cell into which something came: anchors (G,) int32 of its voxel; arrived (G,) bool,
    whether that has come with it; fresh (G,) bool, whether nothing was known of the cell before, here or elsewhere.
    """

    tiles: list[Tile]
    anchors: np.ndarray
    arrived: np.ndarray
    fresh: np.ndarray


def meet(
    tiles: Sequence[Tile],
    leave: Sequence[np.ndarray | None],
    cells: np.ndarray,
    bounds: np.ndarray,
    seen: Seen,
    moved: Voxels,
    order: np.ndarray,
    starts: np.ndarray,
    seed: int,
) -> Met:
    """Tiles without the rows `leave`, and with what comes into their cells.

    Into tile t come cells (G,) uint16 bounds[t] to bounds[t + 1], ascending. What comes are the rows of `seen` and then of
    `moved`, in `order`; a cell's are those from starts[g] to starts[g + 1]. It and the voxel that the cell held become one,
    by confidence: a voxel counts for MAX_WEIGHT at most. Colours and features are rounded at random, so that a mean which
    moves by less than a step still moves. The anchor is that of the surest voxel; of the held one where that is as sure.
    A voxel that meets nothing stays as it is, bit by bit.
    """
    sizes, after = np.array([len(t) for t in tiles], np.int64), np.empty(len(tiles), np.int64)
    at, held = np.empty(len(cells), np.int32), np.empty(len(cells), np.int32)
    before, gone = np.stack([t.addresses for t in tiles]), table(leave)
    library().places(len(tiles), before, sizes, gone, bounds, cells, at, held, after)
    dim = moved.codes.shape[1]
    results = [empty(n, dim) for n in after.tolist()]
    anchors, news = np.empty(len(cells), np.int32), np.empty(len(cells), np.uint8)
    come = Tile(cells[:0], Voxels(*map(np.ascontiguousarray, moved.columns())))
    library().settle(
        *(len(tiles), before, np.stack([t.addresses for t in results]), sizes, gone, bounds, cells, at, held),
        *(dim, order, starts, len(seen), floats(seen.points), np.ascontiguousarray(seen.colors, np.uint8)),
        *(floats(seen.features), floats(seen.confidence), seen.anchors, come.addresses, MAX_WEIGHT, seed),
        *(anchors, news),
    )
    return Met(results, anchors, news > 0, news == 2)


def empty(count: int, feature_dim: int) -> Tile:
    """A tile that is yet to be filled."""
    voxels = Voxels(
        np.empty((count, 3), np.float32),
        np.empty((count, 3), np.uint8),
        np.empty((count, feature_dim), np.int8),
        *(np.empty(count, kind) for kind in (np.float16, np.float16, np.uint16, np.int32)),
    )
    return Tile(np.empty(count, np.uint16), voxels)
