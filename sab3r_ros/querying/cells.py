"""Cells: small cubes of space whose voxels a query looks at as one. A number names a cell's place in the world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from sab3r_ros.voxels import Voxels

BITS = 21  # of a coordinate in a cell's number: ± a million cells a side
ZERO = 1 << (BITS - 1)
STEPS = np.array([1 << (2 * BITS), 1 << BITS, 1], np.int64)  # to the next number in x, y, z


def cell_numbers(points: np.ndarray, cell_m: float) -> np.ndarray:
    """(N, 3) metres → (N,) int64 number of the cell of each."""
    return (np.floor(points / cell_m).astype(np.int64) + ZERO) @ STEPS


def coordinates(numbers: np.ndarray) -> np.ndarray:
    """(C,) numbers → (3, C) int64 coordinates, in cells."""
    mask = (1 << BITS) - 1
    return np.stack([numbers >> (2 * BITS), (numbers >> BITS) & mask, numbers & mask]) - ZERO


def coarser(numbers: np.ndarray, halvings: int) -> np.ndarray:
    """The numbers of the cells, 2 ** halvings as large, that hold cells."""
    return ((coordinates(numbers) >> halvings) + ZERO).T @ STEPS


def distinct(numbers: np.ndarray) -> np.ndarray:
    """(N,) → each number once, ascending: np.unique, many times quicker where N is some thousands."""
    ordered = np.sort(numbers)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]


def gathered(blocks: Sequence[Voxels], cell_m: float) -> tuple[np.ndarray, ...]:
    """Each block's voxels by cells: numbers (C,), block of each cell (C,), voxels in it (C,), mean features (C, D), mean
    colours (C, 3), and (N,) rows of their blocks, cell after cell.
    """
    points, colors, codes, scales = (
        np.concatenate([getattr(b, name) for b in blocks]) for name in ("points", "colors", "codes", "scales")
    )
    sizes = np.array([len(b) for b in blocks])
    numbers, block = cell_numbers(points, cell_m), np.repeat(np.arange(len(blocks)), sizes)
    order = np.lexsort((numbers, block))
    numbers, block = numbers[order], block[order]
    first = np.flatnonzero(np.r_[True, (np.diff(numbers) != 0) | (np.diff(block) != 0)])
    ends = np.r_[first, len(order)]
    counts = np.diff(ends)
    share = np.repeat(1 / counts.astype(np.float32), counts)
    mean = csr_matrix((share, order, ends), (len(first), len(order)))
    features = csr_matrix((share * scales[order].astype(np.float32), order, ends), mean.shape)
    rows = order - (np.cumsum(sizes) - sizes)[block]
    return (
        numbers[first],
        block[first],
        counts,
        features @ codes.astype(np.float32),
        mean @ colors.astype(np.float32),
        rows,
    )
