"""The semantic map: sparse voxels, each with a mean position, colour and language feature.

Voxels lie in cubic tiles. A tile is never written: what changes is made anew and put in its place. So a snapshot is
a list of tiles, a keyframe costs what it touches however large the map is, and any thread may read while one writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.beside import SUPPORTED, join
from sab3r_ros.mapping.compiled import floats
from sab3r_ros.mapping.fading import Look
from sab3r_ros.mapping.homes import Homes
from sab3r_ros.mapping.meeting import Seen, meet
from sab3r_ros.mapping.tiles import Tile, voxel_keys
from sab3r_ros.voxels import Voxels, voxel_bytes

SLACK = 0.02  # share of the memory cap that is freed at a time
MOST_FADING = 40_000  # voxels that a keyframe looks through: what is left out is met by another


class SemanticMap:
    """Tiles by their number. Means are weighted by the pointmap's confidence.

    `memory_bytes` counts the tiles' arrays; it never exceeds max_bytes. When room is needed, the voxels that were seen
    with the least confidence go, tile after tile in the order in which the tiles were begun: noise before furniture.
    """

    def __init__(self, voxel_size_m: float, feature_dim: int, max_bytes: float = np.inf) -> None:
        self.voxel_size_m, self.feature_dim, self.max_bytes = voxel_size_m, feature_dim, max_bytes
        self.row_bytes = voxel_bytes(feature_dim) + 2  # and the cell's number
        self.size = 0
        self._tiles: dict[int, Tile] = {}
        self._homes = Homes()
        self._empty = Tile(np.zeros(0, np.uint16), Voxels.nothing(feature_dim))
        self._rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return self.size

    @property
    def memory_bytes(self) -> int:
        return self.size * self.row_bytes

    @property
    def index_bytes(self) -> int:
        """Of what finds an anchor's voxels; not under the cap."""
        return self._homes.nbytes

    def anchored(self, anchor: int) -> int:
        """How many voxels move with a keyframe, at most: those that were forgotten since it last moved still count."""
        return self._homes.count(anchor)

    def blocks(self) -> tuple[Voxels, ...]:
        """All voxels as they are now, tile by tile; what happens to the map later does not touch them."""
        return tuple(tile.voxels for tile in self._tiles.values())

    def integrate(
        self,
        points: np.ndarray,
        colors: np.ndarray,
        features: np.ndarray,
        confidence: np.ndarray,
        anchor: int,
    ) -> int:
        """Fuse one keyframe's points, see `Seen`. Returns how many voxels are new."""
        anchors = np.full(len(points), anchor, np.int32)
        return self.update(Seen(points, colors, features, confidence, anchors), {})

    def move(self, corrections: Mapping[int, Sim3]) -> int:
        """Move voxels with their anchors, see `update`. Returns how many moved."""
        moved, leave = self._leaving(corrections)
        self._settle(Seen.nothing(self.feature_dim), moved, leave)
        return len(moved)

    def update(self, seen: Seen, corrections: Mapping[int, Sim3]) -> int:
        """Fuse points, and move voxels with their anchors; a tile that both touch is made anew only once.

        corrections: keyframe id → what its points are multiplied with from the left. What comes to lie in one cell becomes
        one voxel, by the confidence-weighted mean; what comes beside a well-known voxel joins that, see `join`. Other
        voxels stay. Costs what lies in the tiles that it touches,
        however large the map is. Returns how many voxels are new.
        """
        if not self._make_room(len(seen)):
            most = int(self.max_bytes // self.row_bytes)
            seen = seen.take(np.sort(np.argsort(-seen.confidence, kind="stable")[:most]))
        return self._settle(seen, *self._leaving(corrections))

    def load(self, voxels: Voxels) -> None:
        """Replace everything by given voxels; those in one cell become one."""
        self._tiles, self._homes, self.size = {}, Homes(), 0
        self._settle(Seen.nothing(self.feature_dim), voxels, {})
        self._make_room(0)

    def _leaving(self, corrections: Mapping[int, Sim3]) -> tuple[Voxels, dict[int, np.ndarray]]:
        """The voxels of some anchors, put where they belong, and which rows of which tiles they leave."""
        tiles = {n: self._tiles[n] for n in self._homes.leave(corrections).tolist() if n in self._tiles}
        if not tiles:
            return self._empty.voxels, {}
        moves = np.zeros(max(corrections) + 3, bool)  # by anchor + 1; the last is for larger ones
        moves[np.fromiter(corrections, np.int64) + 1] = True
        anchors = np.concatenate([t.voxels.anchors for t in tiles.values()])
        rows = moves.take(anchors + 1, mode="clip")
        every = zip(tiles, np.split(rows, ends(tiles.values())[:-1]), strict=True)
        leave = {n: mine for n, mine in every if mine.any()}
        taken = [tiles[n].voxels.take(np.flatnonzero(mine)) for n, mine in leave.items()]
        voxels = Voxels.joined([self._empty.voxels, *taken])
        order = np.argsort(voxels.anchors, kind="stable")
        anchors, starts = np.unique(voxels.anchors[order], return_index=True)
        for anchor, mine in zip(anchors.tolist(), np.split(order, starts)[1:], strict=True):
            voxels.points[mine] = corrections[anchor].apply(voxels.points[mine])
        return voxels, leave

    def _settle(self, seen: Seen, moved: Voxels, leave: Mapping[int, np.ndarray]) -> int:
        """Put both into their tiles, of which the rows `leave` are gone. Returns how many voxels are new."""
        points = floats(np.concatenate([seen.points, moved.points]))
        keys = voxel_keys(points, self.voxel_size_m)
        if not len(keys):
            return 0
        may_join = np.r_[np.ones(len(seen), bool), moved.confidence < SUPPORTED]
        numbers = keys >> 16
        numbers = np.unique(
            numbers[np.r_[True, numbers[1:] != numbers[:-1]]]
        )  # neighbours often share a tile
        tiles = [self._tiles.get(n, self._empty) for n in numbers.tolist()]
        gone = [leave.get(n) for n in numbers.tolist()]
        join(numbers, tiles, gone, may_join, keys, points, self.voxel_size_m)
        seen, moved = replace(seen, points=points[: len(seen)]), replace(moved, points=points[len(seen) :])
        order = np.argsort(keys)
        keys = keys.take(order)
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        keys = keys.take(starts)
        numbers, cells = keys >> 16, (keys & 0xFFFF).astype(np.uint16)
        places = np.union1d(numbers, list(leave)) if leave else np.unique(numbers)
        bounds = np.r_[np.searchsorted(numbers, places), len(numbers)]
        places = places.tolist()
        met = meet(
            [self._tiles.get(n, self._empty) for n in places],
            [leave.get(n) for n in places],
            *(cells, bounds, seen, moved, order, np.r_[starts, len(order)], int(self._rng.integers(1 << 62))),
        )
        for n, tile in zip(places, met.tiles, strict=True):
            self._put(n, tile)
        self._homes.settle_in(numbers[met.arrived], met.anchors[met.arrived])
        return int(met.fresh.sum())

    def _put(self, number: int, tile: Tile) -> None:
        self.size += len(tile) - len(self._tiles.get(number, self._empty))
        if len(tile):
            self._tiles[number] = tile
        else:
            del self._tiles[number]

    def _make_room(self, count: int) -> bool:
        """Forget until `count` more voxels fit into the cap. False if they do not fit into an empty map."""
        if self.memory_bytes + count * self.row_bytes <= self.max_bytes:
            return True
        room = self.max_bytes * (1 - SLACK) - count * self.row_bytes
        surplus = self.size - max(int(room // self.row_bytes), 0)
        confidence = np.concatenate([b.confidence for b in self.blocks()] or [np.zeros(0, np.float16)])
        while surplus > 0:
            share = min(1.0, max(surplus / self.size, 0.1))
            limit = np.quantile(confidence, share, method="higher")
            for number in list(self._tiles):
                if surplus <= 0:
                    break
                tile = self._tiles.pop(number)
                weak = np.flatnonzero(tile.voxels.confidence <= limit)[:surplus]
                keep = np.ones(len(tile), bool)
                keep[weak] = False
                self.size -= len(weak)
                surplus -= len(weak)
                if keep.any():
                    self._tiles[number] = tile.kept(
                        keep
                    )  # at the end: the next tiles are asked first next time
            confidence = np.concatenate([b.confidence for b in self.blocks()] or [np.zeros(0, np.float16)])
        return count * self.row_bytes <= self.max_bytes

    def fade(self, look: Look) -> int:
        """What a keyframe looks through, see `Look`, loses confidence or goes. Returns how many voxels went.

        Looks at MOST_FADING voxels, of tiles at random.
        """
        numbers = np.fromiter(self._tiles, np.int64, len(self._tiles))
        numbers = self._rng.permutation(look.tiles_in_view(numbers, self.voxel_size_m)).tolist()
        tiles = [self._tiles[n] for n in numbers]
        tiles = tiles[: np.searchsorted(ends(tiles), MOST_FADING)]
        if not tiles:
            return 0
        before = self.size
        for n, left in zip(numbers, look.faded(tiles, self.voxel_size_m), strict=False):
            if left is not None:
                self._put(n, left)
        return before - self.size


def ends(tiles: Iterable[Tile]) -> np.ndarray:
    """The row after each tile's last, where they stand one after the other."""
    return np.cumsum([len(tile) for tile in tiles])
