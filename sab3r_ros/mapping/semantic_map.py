"""The semantic map: sparse voxels, each with a mean position, colour and language feature.

Voxels lie in cubic tiles. A tile is never written: what changes is made anew and put in its place. So a snapshot is
a list of tiles, a keyframe costs what it touches however large the map is, and any thread may read while one writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix

from sab3r_ros.geometry.camera import project
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.tiles import TILE, Tile, tile_centers, voxel_keys
from sab3r_ros.voxels import Voxels, encoded, rounded, voxel_bytes

MAX_WEIGHT = 200.0  # summed confidence beyond which a voxel's mean keeps adapting at a constant rate
MAX_CONFIDENCE = 2000.0  # more is not counted: every unit up to here is a step of float16
MAX_HITS = 65535
SLACK = 0.02  # share of the memory cap that is freed at a time
MOST_FADING = 40_000  # voxels that a keyframe looks through: what is left out is met by another
LEAST_CONFIDENCE = 1.0  # a voxel that has faded below the confidence of one pixel goes
DOUBT = 0.1  # of its confidence that a voxel on the surface seen loses to a look; hits give back more
BELIEVED = 20.0  # confidence from which it loses none: seven pixels or so
PIXELS_A_VOXEL = 4.0  # a look from so far that fewer fall into a voxel doubts it by so much less
HOME_BYTES = 320  # of an entry that says in which tiles an anchor's voxels lie


@dataclass(frozen=True, eq=False)
class Home:
    """The tiles that hold an anchor's voxels, (T,) int64 numbers, and how many there are at most."""

    tiles: np.ndarray
    count: int


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
        self._homes: dict[int, Home] = {}  # of each anchor
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
        return len(self._homes) * HOME_BYTES

    def anchored(self, anchor: int) -> int:
        """How many voxels move with a keyframe, at most: those that were forgotten since it last moved still count."""
        home = self._homes.get(anchor)
        return home.count if home else 0

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
        """Fuse one keyframe's points. Returns how many voxels are new.

        points (N, 3) metres in the map frame, finite; colors (N, 3) uint8; features (N, D); confidence (N,) > 0;
        anchor: the keyframe's id, which new voxels will move with.
        """
        if not len(points):
            return 0
        keys = voxel_keys(points, self.voxel_size_m)
        order = np.argsort(keys, kind="stable")
        keys, w = keys[order], confidence[order].astype(np.float32)
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        ends, weight = np.r_[starts, len(keys)], np.add.reduceat(w, starts)
        share = w / np.repeat(weight, np.diff(ends))
        mean = csr_matrix((share, order, ends), (len(starts), len(order)))
        seen = [mean @ np.asarray(values, np.float32) for values in (points, colors, features)]
        keys, seen = keys[starts], (*seen, weight, np.diff(ends))
        return self._fuse(keys, *seen, np.full(len(keys), anchor, np.int32))

    def _fuse(
        self,
        keys: np.ndarray,
        points: np.ndarray,
        colors: np.ndarray,
        features: np.ndarray,
        weight: np.ndarray,
        counts: np.ndarray,
        anchors: np.ndarray,
    ) -> int:
        """Put means of ascending unique keys into their tiles."""
        if not self._make_room(len(keys)):
            surest = np.sort(np.argsort(-weight, kind="stable")[: int(self.max_bytes // self.row_bytes)])
            seen = (keys, points, colors, features, weight, counts, anchors)
            keys, points, colors, features, weight, counts, anchors = (a[surest] for a in seen)
        numbers, cells = keys >> 16, (keys & 0xFFFF).astype(np.uint16)
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        parts = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(keys)], strict=True)]
        tiles = [self._tiles.get(int(numbers[p.start]), self._empty) for p in parts]
        found = [tile.find(cells[p]) for tile, p in zip(tiles, parts, strict=True)]
        known = np.concatenate([k for _, k in found])
        held = Voxels.joined([t.voxels.take(place[k]) for t, (place, k) in zip(tiles, found, strict=True)])

        old = np.zeros(len(keys), np.float32)
        old[known] = held.confidence
        share = weight / (np.minimum(old, MAX_WEIGHT) + weight)

        def moved(before: np.ndarray, seen: np.ndarray) -> np.ndarray:
            mean, before = seen.copy(), before.astype(np.float32)
            mean[known] = before + share[known, None] * (seen[known] - before)
            return mean

        hits = counts.astype(np.int64)
        hits[known] += held.hits
        anchors = anchors.copy()
        anchors[known] = held.anchors
        voxels = Voxels(
            moved(held.points, points),
            rounded(moved(held.colors, colors), self._rng).clip(0, 255).astype(np.uint8),
            *encoded(moved(held.features(), features), self._rng),
            np.minimum(old + weight, MAX_CONFIDENCE).astype(np.float16),
            np.minimum(hits, MAX_HITS).astype(np.uint16),
            anchors,
        )
        for tile, part, (place, there) in zip(tiles, parts, found, strict=True):
            mine = Voxels(*(column[part] for column in voxels.columns()))
            self._tiles[int(numbers[part.start])] = tile.updated(place, there, cells[part], mine)
        self._settle_in(numbers[~known], anchors[~known])
        fresh = int((~known).sum())
        self.size += fresh
        return fresh

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

    def fade(self, T_KW: Sim3, K: np.ndarray, depth: np.ndarray, margin: float) -> int:
        """Halve the confidence of voxels that a keyframe looks through; those with too little left go. Returns how many.

        T_KW: keyframe from map. depth: (H, W) to the surface seen, in the keyframe's unit, 0 where unknown. margin: share
        of that depth by which a voxel must lie nearer to be looked through. One within that share is doubted a little with
        every look until it is BELIEVED: what noise has put beside a surface goes, what is hit again stays, so that seeing
        a place again thickens nothing. Looks at MOST_FADING voxels, of tiles at random.
        """
        numbers = self._rng.permutation(self._tiles_in_view(T_KW, K, depth))
        sizes = np.cumsum([len(self._tiles[n]) for n in numbers.tolist()])
        pixels = (K[0, 0] * self.voxel_size_m * T_KW.s) ** 2 / PIXELS_A_VOXEL
        gone = 0
        for number in numbers[: np.searchsorted(sizes, MOST_FADING)].tolist():
            tile = self._tiles[number]
            points = T_KW.apply(tile.voxels.points)
            ratio, confidence = depth_ratio(points, K, depth), tile.voxels.confidence.astype(np.float32)
            through = np.flatnonzero(ratio < 1 - margin)
            doubted = np.flatnonzero((np.abs(ratio - 1) <= margin) & (confidence < BELIEVED))
            if not (len(through) or len(doubted)):
                continue
            confidence[through] = np.minimum(confidence[through], MAX_WEIGHT) / 2
            confidence[doubted] *= 1 - DOUBT * np.minimum(pixels / points[doubted, 2] ** 2, 1)
            keep = confidence >= LEAST_CONFIDENCE
            faded = Tile(tile.cells, replace(tile.voxels, confidence=confidence.astype(np.float16)))
            self._tiles[number] = faded if keep.all() else faded.kept(keep)
            if not keep.any():
                del self._tiles[number]
            gone += int((~keep).sum())
        self.size -= gone
        return gone

    def _tiles_in_view(self, T_KW: Sim3, K: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Numbers of tiles that may show in an image of depth's size, no farther than the farthest surface."""
        numbers = np.fromiter(self._tiles, np.int64, len(self._tiles))
        center = T_KW.apply(tile_centers(numbers, self.voxel_size_m))
        radius = T_KW.s * TILE * self.voxel_size_m * np.sqrt(3) / 2
        z = np.maximum(center[:, 2], radius)
        uv, reach = project(np.c_[center[:, :2], z], K), K[[0, 1], [0, 1]] * radius / z[:, None]
        inside = ((uv > -reach) & (uv < depth.shape[::-1] + reach)).all(1)
        return numbers[inside & (center[:, 2] > -radius) & (center[:, 2] < depth.max() + radius)]

    def _settle_in(self, numbers: np.ndarray, anchors: np.ndarray) -> None:
        """Note that voxels with these anchors have come into these tiles, (N,) each."""
        tiles, column = np.unique(numbers, return_inverse=True)
        some, row = np.unique(anchors, return_inverse=True)
        pairs, counts = np.unique(row * len(tiles) + column, return_counts=True)
        cuts = np.searchsorted(pairs, np.arange(len(some) + 1) * len(tiles))
        for anchor, a, b in zip(some.tolist(), cuts[:-1], cuts[1:], strict=True):
            there, count = tiles[pairs[a:b] % len(tiles)], int(counts[a:b].sum())
            home = self._homes.get(anchor)
            if home is not None:
                there, count = np.union1d(home.tiles, there), home.count + count
            self._homes[anchor] = Home(there, count)

    def move(self, corrections: Mapping[int, Sim3]) -> int:
        """Move every voxel with its anchor. corrections: keyframe id → what its points are multiplied with from the left.

        Voxels that come to lie in one cell become one, by their confidence-weighted mean. Other voxels stay. Costs what
        lies in the tiles that it touches, however large the map is. Returns how many voxels moved.
        """
        homes = [self._homes.pop(k).tiles for k in corrections if k in self._homes]
        ids, moving, staying = np.fromiter(corrections, np.int64, len(corrections)), [], []
        for number in np.unique(np.concatenate(homes)).tolist() if homes else []:
            tile = self._tiles.get(number)
            moves = np.isin(tile.voxels.anchors, ids) if tile else np.zeros(0, bool)
            if moves.any():
                moving.append(tile.voxels.take(np.flatnonzero(moves)))
                del self._tiles[number]
                staying.append((number, tile.kept(~moves)))
        if not moving:
            return 0
        voxels = Voxels.joined(moving)
        points, order = voxels.points.copy(), np.argsort(voxels.anchors, kind="stable")
        anchors, starts = np.unique(voxels.anchors[order], return_index=True)
        for anchor, rows in zip(anchors.tolist(), np.split(order, starts[1:]), strict=True):
            points[rows] = corrections[anchor].apply(points[rows])
        self.size -= len(voxels) + sum(len(tile) for _, tile in staying)
        self._place(replace(voxels, points=points), dict(staying))
        return len(voxels)

    def load(self, voxels: Voxels) -> None:
        """Replace everything by given voxels; those in one cell become one."""
        self._tiles, self._homes, self.size = {}, {}, 0
        self._place(voxels, {})

    def _place(self, voxels: Voxels, beside: Mapping[int, Tile]) -> None:
        """Put voxels into their tiles, where they meet others as one: those of `beside`, or of the map's own tiles."""
        keys = voxel_keys(voxels.points, self.voxel_size_m)
        self._settle_in(keys >> 16, voxels.anchors)
        others = {n: self._tiles[n] for n in np.unique(keys >> 16).tolist() if n in self._tiles}
        self.size -= sum(map(len, others.values()))
        others = {n: tile for n, tile in {**others, **beside}.items() if len(tile)}
        parts = [tile.cells.astype(np.int64) | (n << 16) for n, tile in others.items()]
        keys = np.concatenate([keys, *parts])
        voxels = Voxels.joined([voxels, *(tile.voxels for tile in others.values())])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]][: len(keys)])
        voxels = voxels.take(order) if len(first) == len(keys) else merged(voxels.take(order), first)
        keys = keys[first]
        numbers, cells = keys >> 16, (keys & 0xFFFF).astype(np.uint16)
        cuts = np.r_[np.flatnonzero(np.r_[True, np.diff(numbers) != 0][: len(keys)]), len(keys)]
        for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            self._tiles[int(numbers[a])] = Tile(cells[a:b].copy(), voxels.take(np.arange(a, b)))
        self.size += len(keys)
        self._make_room(0)


def depth_ratio(points: np.ndarray, K: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(N,) float32: depth of camera points (N, 3) over that of the surface seen at their pixels; inf where none is."""
    h, w = depth.shape
    z = points[:, 2]
    rows = np.flatnonzero(z > 0)
    u, v = np.rint(project(points[rows], K)).T
    inside = (u >= 0) & (u < w) & (v >= 0) & (v < h)
    rows, u, v = rows[inside], u[inside].astype(np.int64), v[inside].astype(np.int64)
    surface = depth[v, u]
    rows, surface = rows[surface > 0], surface[surface > 0]
    out = np.full(len(points), np.inf, np.float32)
    out[rows] = z[rows] / surface
    return out


def merged(voxels: Voxels, first: np.ndarray) -> Voxels:
    """Runs of rows, each from one of `first` to the next, as one voxel each: means weighted by confidence."""
    counts = np.diff(np.r_[first, len(voxels)])
    several = np.flatnonzero(counts > 1)
    rows = np.concatenate([np.arange(first[k], first[k] + counts[k]) for k in several])
    parts = voxels.take(rows)
    w = np.maximum(parts.confidence.astype(np.float32), 1e-3)
    starts = np.r_[0, np.cumsum(counts[several])[:-1]]
    weight = np.add.reduceat(w, starts)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float32) * w[:, None], starts) / weight[:, None]

    surest = np.lexsort((np.arange(len(w)), w, np.repeat(np.arange(len(starts)), counts[several])))
    surest = surest[np.cumsum(counts[several]) - 1]
    out = voxels.take(first)
    one = (
        mean(parts.points),
        np.rint(mean(parts.colors)),
        *encoded(mean(parts.features())),
        np.minimum(weight, MAX_CONFIDENCE),
        np.minimum(np.add.reduceat(parts.hits.astype(np.int64), starts), MAX_HITS),
        parts.anchors[surest],
    )
    for column, values in zip(out.columns(), one, strict=True):
        column[several] = values.astype(column.dtype)
    return out
