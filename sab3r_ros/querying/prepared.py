"""What every query of a map shares, kept while the map changes."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from sab3r_ros.querying.cells import gathered
from sab3r_ros.querying.compiled import Cells, addresses
from sab3r_ros.querying.sketch import SIZE, Sketcher
from sab3r_ros.types import MapSnapshot
from sab3r_ros.voxels import Voxels

BLOCK = 1 << 11  # cells at a time: what a block needs stays in the cache
BATCH = 64  # cells are multiplied in so many, or twice as many, …
PLACED = ("codes", "colors", "points", "confidence")  # columns of the map that queries read where they are
MOST_DEAD = 0.1  # cells of blocks that are gone, as a share of the others, before they are swept out …
FEW_DEAD = 1 << 12  # … and so many more, so that small maps are not always swept


@dataclass(frozen=True)
class PreparedMap:
    """A map, ready to be asked: C cells of B blocks, some of them dead, that the map no longer has. What a cell's voxels hold
    stays in the map: its feature is that of its surest voxel.

    gain: (C,) float32 that makes codes · direction the cosine of the language vectors,
    divided by the temperature. competition: (C,) float32, the logarithm of the sum of exp over all nouns of the pool.
    top: (C,) uint8, the likeliest noun. sketch: (C, 8) int8, see sketch.py. cells: which voxels of which blocks they hold.
    serials: (B,) int64, ascending, what tells a block from all others of any map that was prepared: its cells are the same.
    starts: (B,) first row of each block in the snapshot, negative for the dead.
    codes_at, colors_at, points_at, confidence_at: (B,) where these columns of each block lie in memory.
    """

    snapshot: MapSnapshot
    cell_m: float
    gain: np.ndarray
    competition: np.ndarray
    top: np.ndarray
    sketch: np.ndarray
    cells: Cells
    serials: np.ndarray
    starts: np.ndarray
    codes_at: np.ndarray
    colors_at: np.ndarray
    points_at: np.ndarray
    confidence_at: np.ndarray

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (*vars(self).values(), *self.cells) if isinstance(a, np.ndarray))

    @property
    def alive(self) -> np.ndarray:
        """(C,) bool: the map has it."""
        return self.cells.of_blocks(self.starts >= 0)

    @cached_property
    def living(self) -> int:
        """How many cells are alive."""
        return int(np.diff(self.cells.own)[self.starts >= 0].sum())

    def looks_of(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of some living cells (M,), ascending: (M,) int64 places in the world, (M,) int64 how many voxels each holds, and
        (M, 3) uint8 mean colours of these.
        """
        return self.cells.looks(cells, self.points_at, self.colors_at, self.cell_m)

    def rows_of(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the snapshot, increasing, of the voxels in some cells (M,), ascending, and which of these holds each."""
        return self.cells.rows_of(cells, self.starts)

    def thing_of(self, cells: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The rows of `rows_of`, and of at most so many of them, spread evenly, the points (S, 3), the confidence (S,)
        float32, and which of the cells holds each (S,).
        """
        rows, points, confidence, cell = self.cells.thing(
            cells, self.starts, self.points_at, self.confidence_at, most
        )
        return rows, points, confidence.astype(np.float32), cell


class Log:
    """Columns that grow at their end; what was handed out is never written again, so any thread may go on reading it."""

    def __init__(self, columns: list[np.ndarray], capacity: int) -> None:
        self.size = 0
        self._columns = [np.empty((capacity, *c.shape[1:]), c.dtype) for c in columns]
        self.append(columns)

    def append(self, columns: list[np.ndarray]) -> None:
        end = self.size + len(columns[0])
        if end > len(self._columns[0]):
            grown = [np.empty((end + end // 2, *c.shape[1:]), c.dtype) for c in self._columns]
            for new, old in zip(grown, self._columns, strict=True):
                new[: self.size] = old[: self.size]
            self._columns = grown
        for mine, values in zip(self._columns, columns, strict=True):
            mine[self.size : end] = values
        self.size = end

    def columns(self) -> list[np.ndarray]:
        return [c[: self.size] for c in self._columns]


class MapIndex:
    """Prepares snapshots of a growing map: of each, only the blocks that were not in those before. Thread-safe.

    gram: (D, D) basisᵀ @ basis. pool: (D, P) basisᵀ @ text vectors of the nouns, P ≤ 256.
    """

    def __init__(self, gram: np.ndarray, pool: np.ndarray, temperature: float, sketcher: Sketcher) -> None:
        self.gram, self.pool, self.temperature, self.sketcher = gram, pool, temperature, sketcher
        self._lock, self._next = threading.Lock(), 0  # serial of the next block
        self._begin(0.0)

    def _begin(self, cell_m: float) -> None:
        kinds = (np.float32, np.float32, np.uint8)
        self._cells = Log([*(np.zeros(0, kind) for kind in kinds), np.zeros((0, SIZE), np.int8)], 0)
        self._own, self._first = (Log([np.zeros(1, np.int32)], 1) for _ in range(2))  # of blocks, of cells
        self._places = Log(
            [np.zeros(0, np.int64), *[np.zeros(0, np.uintp)] * len(PLACED)], 0
        )  # of blocks: serial, columns
        self._rows = Log([np.zeros(0, np.uint16)], 0)
        self._blocks: dict[int, tuple[weakref.ref[Voxels], int]] = {}
        self._cell_m, self._count = cell_m, 0

    def prepare(self, snapshot: MapSnapshot, cell_m: float) -> PreparedMap:
        """A snapshot with cells of cell_m metres; cheap if the last one was like it."""
        with self._lock:
            if cell_m != self._cell_m:
                self._begin(cell_m)
            self._learn([b for b in snapshot.blocks if len(b) and self._number(b) is None])
            ready = self._view(snapshot)
            if len(ready.gain) > (1 + MOST_DEAD) * ready.living + FEW_DEAD:
                self._sweep(ready)
                ready = self._view(snapshot)
            return ready

    def _number(self, block: Voxels) -> int | None:
        known = self._blocks.get(id(block))
        return known[1] if known is not None and known[0]() is block else None

    def _learn(self, blocks: list[Voxels]) -> None:
        if not blocks:
            return
        block, counts, rows = gathered(blocks, self._cell_m)
        surest = np.split(rows[np.cumsum(counts) - counts], np.cumsum(np.bincount(block))[:-1])
        codes = np.concatenate([b.codes.take(r, axis=0) for b, r in zip(blocks, surest, strict=True)])
        parts = [self._known(codes[k : k + BLOCK]) for k in range(0, len(codes), BLOCK)]
        self._cells.append([np.concatenate(column) for column in zip(*parts, strict=True)])
        serials = np.arange(self._next, self._next + len(blocks))
        self._next += len(blocks)
        self._places.append([serials, *(addresses([getattr(b, name) for b in blocks]) for name in PLACED)])
        self._own.append([self._own.columns()[0][-1] + np.cumsum(np.bincount(block, minlength=len(blocks)))])
        self._first.append([self._first.columns()[0][-1] + np.cumsum(counts)])
        if rows.max() > np.iinfo(self._rows.columns()[0].dtype).max:  # a loaded map is one large block
            self._rows = Log([self._rows.columns()[0].astype(np.int32)], 0)
        self._rows.append([rows])
        for k, b in enumerate(blocks, self._count):
            self._blocks[id(b)] = (weakref.ref(b), k)
        self._count += len(blocks)

    def _known(self, codes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gain, competition, top and sketch of codes (M, D)."""
        gain, competition, top = competed(codes, self.gram, self.pool, self.temperature)
        return gain, competition, top, self.sketcher.sketch(codes * (self.temperature * gain)[:, None])

    def _view(self, snapshot: MapSnapshot) -> PreparedMap:
        starts = np.full(self._count, -1)
        for b, start in zip(snapshot.blocks, snapshot.starts.tolist(), strict=False):
            if len(b):
                starts[self._number(b)] = start
        (own,), (first,), (rows,) = (log.columns() for log in (self._own, self._first, self._rows))
        columns, (serials, *places) = self._cells.columns(), self._places.columns()
        cells = Cells(first, own, rows)
        return PreparedMap(snapshot, self._cell_m, *columns, cells, serials, starts, *places)

    def _sweep(self, ready: PreparedMap) -> None:
        """Forget the cells of blocks that a prepared map does not have."""
        columns, places, blocks, alive = (
            self._cells.columns(),
            self._places.columns(),
            self._blocks,
            ready.alive,
        )
        counts, cells = np.diff(ready.cells.first), np.diff(ready.cells.own)
        rows = ready.cells.rows[np.repeat(alive, counts)]
        here = ready.starts >= 0
        number = np.cumsum(here) - 1
        self._begin(self._cell_m)
        self._count = int(here.sum())
        self._blocks = {key: (ref, int(number[k])) for key, (ref, k) in blocks.items() if here[k]}
        self._cells.append([c[alive] for c in columns])
        self._places.append([p[here] for p in places])
        self._own.append([np.cumsum(cells[here])])
        self._first.append([np.cumsum(counts[alive])])
        self._rows = Log([rows], 0)


def competed(
    codes: np.ndarray, gram: np.ndarray, pool: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gain, competition and top of codes (M, D).

    Rows are filled up to a multiple of BATCH, and torch multiplies: what a row gives must not depend on which rows come
    with it, for a map that is loaded, in one block, to answer exactly as it did in many. NumPy's BLAS sums in another order
    at another place among the rows, torch's only where they are very few.
    """
    n = len(codes)
    f = torch.zeros(-(-n // BATCH) * BATCH, codes.shape[1])
    f[:n] = torch.from_numpy(codes)
    length = ((f @ torch.from_numpy(gram)) * f).sum(1).clamp_min(1e-12).sqrt()
    gain = torch.where(length > 1e-3, 1 / (temperature * length), 0.0)
    logits = (f @ torch.from_numpy(pool)).mul_(gain[:, None])
    most, top = logits.max(1)
    competition = (
        most + logits.sub_(most[:, None]).exp_().sum(1).log_()
    )  # logsumexp would look for `most` anew
    return gain[:n].numpy(), competition[:n].numpy(), top[:n].numpy().astype(np.uint8)
