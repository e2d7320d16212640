"""The compiled half of querying, src/cells.cpp. Other threads run while what takes long does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from sab3r_ros.native import (
    BYTES,
    CODES,
    COUNT,
    FLAGS,
    FLOAT,
    FLOATS,
    NUMBERS,
    REAL,
    REALS,
    ROWS,
    SHORTS,
    STEPS,
    TABLE,
    address,
    load,
)

WHOLE = 16_383  # steps of a direction on either side of zero
LANES = 8  # of floats, that are multiplied at a time
QUICK = (
    "rows_in_16",
    "rows_in_32",
    "thing_in_16",
    "thing_in_32",
    "pieces_of",
)  # to get the interpreter back would take longer
VOXELS = {
    "16": (ROWS, ROWS, COUNT, SHORTS),
    "32": (ROWS, ROWS, COUNT, ROWS),
}  # of `Cells`, by the bits of a row
KNOWN = (COUNT, FLOATS, FLOATS, BYTES, CODES)  # of all cells
QUERY = (STEPS, FLOAT, FLOATS, FLOAT)
ARGUMENTS = {
    **{f"rows_in_{bits}": (ROWS, COUNT, *voxels, NUMBERS, NUMBERS, ROWS) for bits, voxels in VOXELS.items()},
    **{
        f"thing_in_{bits}": (
            *(ROWS, COUNT, *voxels, NUMBERS, TABLE, TABLE, COUNT, COUNT),
            *(NUMBERS, FLOATS, SHORTS, ROWS),
        )
        for bits, voxels in VOXELS.items()
    },
    **{
        f"looks_of_{bits}": (ROWS, COUNT, *voxels, TABLE, TABLE, FLOAT, NUMBERS, NUMBERS, BYTES)
        for bits, voxels in VOXELS.items()
    },
    **{
        f"likely_of_{bits}": (
            *(TABLE, *voxels, *KNOWN, *QUERY, FLOATS, COUNT, COUNT, COUNT, FLAGS),
            *(FLOAT, FLOAT, FLOAT, ROWS, FLOATS),
        )
        for bits, voxels in VOXELS.items()
    },
    **{
        f"nearest_of_{bits}": (TABLE, *voxels, *KNOWN, *QUERY, COUNT, ROWS) for bits, voxels in VOXELS.items()
    },
    "grouped": (
        *(NUMBERS, COUNT, COUNT, NUMBERS, FLOATS, BYTES, NUMBERS, ROWS, NUMBERS, REALS, REALS, FLOATS),
    ),
    "pieces_of": (REALS, COUNT, REAL, ROWS),
    "smoothed": (NUMBERS, COUNT, FLOATS, FLOAT, COUNT, FLOATS),
    "parts_of": (
        *(NUMBERS, COUNT, ROWS, FLOATS, REALS, REALS, COUNT),
        *(REALS, COUNT, REAL, REAL, COUNT, REALS, NUMBERS, ROWS),
    ),
}


@cache
def library() -> SimpleNamespace:
    return load("_cells", ARGUMENTS, QUICK)


class Known(NamedTuple):
    """What is known of C cells of B blocks beside their voxels.

    places: (B,) addresses of the blocks' codes, 0 for blocks that are passed over. gain, competition: (C,) float32, top: (C,)
    uint8 and sketch: (C, 8) int8, of a `PreparedMap`.
    """

    places: np.ndarray
    gain: np.ndarray
    competition: np.ndarray
    top: np.ndarray
    sketch: np.ndarray


class Cells(NamedTuple):
    """Which voxels lie in which of C cells, of B blocks.

    first: (C + 1,) int32, cell c holds rows[first[c] : first[c + 1]] of its block, uint16 or int32, the surest first. own:
    (B + 1,) int32, block k has the cells own[k] : own[k + 1]. Cells that are given are ascending.
    """

    first: np.ndarray
    own: np.ndarray
    rows: np.ndarray

    def blocks_of(self, cells: np.ndarray) -> np.ndarray:
        """(M,) blocks of some cells."""
        return np.searchsorted(self.own, cells, side="right") - 1

    def of_blocks(self, values: np.ndarray) -> np.ndarray:
        """(B,) → (C,) what holds for its block, of each cell."""
        return np.repeat(values, np.diff(self.own))

    def rows_of(self, cells: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a map, ascending, of the voxels in some cells, and which of these each lies in. starts: (B,) of blocks."""
        cells = np.asarray(cells, np.int32)
        most = self._held(cells)
        out, cell = np.empty(most, np.int64), np.empty(most, np.int32)
        count = self._call("rows_in", cells, len(cells), *self._voxels(), starts, out, cell)
        return out[:count], cell[:count]

    def thing(
        self, cells: np.ndarray, starts: np.ndarray, points: np.ndarray, confidences: np.ndarray, most: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The rows of `rows_of`, and of at most so many of them, spread evenly, the points (S, 3), the confidence (S,)
        float16, and which cell holds each (S,).

        points, confidences: (B,) addresses of the blocks' columns.
        """
        cells = np.asarray(cells, np.int32)
        count = self._held(cells)
        some = min(count, most)
        rows, point = np.empty(count, np.int64), np.empty((some, 3), np.float32)
        confidence, cell = np.empty(some, np.uint16), np.empty(some, np.int32)
        self._call(
            *("thing_in", cells, len(cells), *self._voxels(), starts, points, confidences, count, some),
            *(rows, point, confidence, cell),
        )
        return rows, point, confidence.view(np.float16), cell

    def looks(
        self, cells: np.ndarray, points: np.ndarray, colors: np.ndarray, cell_m: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of some cells of cell_m metres: (M,) int64 numbers, (M,) int64 how many voxels each holds, and (M, 3) uint8 mean
        colours. points, colors: (B,) addresses of the blocks' columns.
        """
        n = len(cells)
        numbers, counts, mean = np.empty(n, np.int64), np.empty(n, np.int64), np.empty((n, 3), np.uint8)
        self._call(
            *("looks_of", np.asarray(cells, np.int32), n, *self._voxels(), points, colors, cell_m),
            *(numbers, counts, mean),
        )
        return numbers, counts, mean

    def likely(
        self,
        known: Known,
        most: tuple[np.ndarray, float],
        directions: np.ndarray,
        rivals: int,
        taken: np.ndarray,
        bound: float,
        least: float,
        least_rest: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """One pass over the cells: those whose share of the softmax is at least `least`, and their shares.

        most: (8,) weights and a slack: the logit is at most sketch @ weights + slack.
        directions: (D, 1 + rivals + R) of the query, of phrases that compete beside the nouns, and of the R nouns, by numbers
        `taken`, that do not. Of the nouns' competition a share of least_rest stays at least. A cell whose logit less the
        competition is under `bound` is left out unless its top noun is taken: by a query rounded to WHOLE steps; shares are
        exact.
        """
        n, dim = len(known.gain), len(directions)
        padded = np.zeros((directions.shape[1], -(-dim // LANES) * LANES), np.float32)
        padded[:, :dim] = directions.T
        shares, cells = np.empty(n, np.float32), np.empty(n, np.int32)
        gone = np.zeros(256, bool)
        gone[taken] = True
        count = self._call(
            *("likely_of", *self._asked(known, directions[:, 0], most), padded, padded.shape[1]),
            *(rivals, len(taken), gone, bound, least, least_rest, cells, shares),
        )
        return cells[:count].copy(), shares[:count].copy()

    def nearest(
        self, known: Known, most: tuple[np.ndarray, float], direction: np.ndarray, wanted: int
    ) -> np.ndarray:
        """The `wanted` cells, or all if there are fewer, whose logit less `competition` is largest, ascending.

        most: as of `likely`. direction: (D,) of the query; it is rounded to WHOLE steps.
        """
        cells = np.empty(wanted, np.int32)
        count = self._call("nearest_of", *self._asked(known, direction, most), wanted, cells)
        return np.sort(cells[:count])

    def _asked(self, known: Known, direction: np.ndarray, most: tuple[np.ndarray, float]) -> tuple:
        """The first arguments of what looks at all cells."""
        places, *columns = known
        dim = len(direction)
        step = max(float(np.abs(direction).max(initial=0)), 1e-12) / min(WHOLE, (2**31 - 1) // (128 * dim))
        whole, (weights, slack) = np.rint(direction / step).astype(np.int16), most
        brief = weights.astype(np.float32)
        return (places, *self._voxels(), dim, *columns, whole, step, brief, slack)

    def _held(self, cells: np.ndarray) -> int:
        """How many voxels some cells hold together."""
        return int(self.first[cells + 1].sum(dtype=np.int64) - self.first[cells].sum(dtype=np.int64))

    def _voxels(self) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
        return self.first, self.own, len(self.own) - 1, self.rows

    def _call(self, name: str, *arguments: object) -> int:
        return getattr(library(), f"{name}_{8 * self.rows.itemsize}")(*arguments)


def addresses(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(B,) uintp where arrays begin in memory; as long as these are kept. Raises ValueError if one has gaps."""
    if not all(c.flags.c_contiguous for c in columns):
        raise ValueError("a block's columns must be contiguous arrays")
    return np.array([address(c) for c in columns], np.uintp)


def grouped(
    numbers: np.ndarray, halvings: int, voxels: np.ndarray, logits: np.ndarray, colors: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Cells (N,) by the larger ones, 2 ** halvings as long, that hold them.

    voxels: (N,) int64 in each. logits: (N,). colors: (N, 3) uint8. Returns these cells' numbers (C,) ascending;
    the cells that they hold, those of the k-th being order[start[k] : start[k + 1]]; and of each the voxels, the sum of
    voxels times logits, the mean colour (C, 3).
    """
    n = len(numbers)
    large, order, start = np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n + 1, np.int64)
    count, logit, rgb = np.empty(n), np.empty(n), np.empty((n, 3), np.float32)
    size = library().grouped(
        *(numbers, n, halvings, voxels, np.asarray(logits, np.float32), colors),
        *(large, order, start, count, logit, rgb),
    )
    return large[:size], order, start[: size + 1], count[:size], logit[:size], rgb[:size]


def connected_pieces(points: np.ndarray, cell_m: float) -> np.ndarray:
    """(N, 3) points → (N,) int32 connected piece of each, from 0. Points are joined where their cells of cell_m touch,
    corners included.
    """
    out = np.empty(len(points), np.int32)
    library().pieces_of(np.ascontiguousarray(points, float), len(points), cell_m, out)
    return out


def smoothed(
    values: np.ndarray, lab: np.ndarray, numbers: np.ndarray, width: float, rounds: int
) -> np.ndarray:
    """Values (C,) of cells after rounds of averaging with the neighbours, which count e times less for each `width` that
    their colours (C, 3) float32 are away. numbers: (C,) ascending.
    """
    out = np.array(values, np.float32)
    library().smoothed(numbers, len(numbers), lab, width, rounds, out)
    return out


def parts(
    numbers: np.ndarray,
    order: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    logits: np.ndarray,
    halvings: int,
    levels: np.ndarray,
    top_share: float,
    least: int,
    least_cells: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Connected parts of each level of cells; one that is as at the level above is not told again.

    numbers: (C,) ascending. order: (C,) the cells of the largest values first. values: (C,) float32 that reach levels
    (L,), the highest first. counts, logits: (C,) float64 voxels of each, and the sum of their logits. Cells in blocks,
    2 ** halvings as long, that touch and reach a level both are one part. Parts hold `least` voxels and least_cells cells
    or more.

    Returns (R, 4) strength (mean value of its top_share), mean logit, cells, share of its box's largest side; and the
    cells of each part, those of the largest values first.
    """
    most = len(levels) * len(values)
    traits, size = np.empty((most // least_cells, 4)), np.empty(most // least_cells, np.int64)
    cells = np.empty(most, np.int32)
    count = library().parts_of(
        *(numbers, len(values), np.asarray(order, np.int32), values, counts, logits, halvings),
        *(np.asarray(levels, float), len(levels), top_share, least, least_cells, traits, size, cells),
    )
    ends = np.cumsum(size[:count])
    starts = (ends - size[:count]).tolist()
    return traits[:count].copy(), [cells[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]
