"""Cells: small cubes of space whose voxels a query looks at as one. A number names a cell's place in the world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    """Each block's voxels by cells: block of each cell (C,), voxels in it (C,), and (N,) rows of their blocks, cell after
    cell, a cell's surest first. A block's cells are in the order of these, so that a query reads memory forwards.
    """
    sizes = np.array([len(b) for b in blocks])
    numbers = cell_numbers(np.concatenate([b.points for b in blocks]), cell_m)
    block = np.repeat(np.arange(len(blocks)), sizes)
    doubt = ~np.concatenate([b.confidence for b in blocks]).view(np.uint16)  # of floats ≥ 0, in their order
    order = np.lexsort((doubt, numbers, block))
    numbers, block = numbers[order], block[order]
    first = np.flatnonzero(np.r_[True, (np.diff(numbers) != 0) | (np.diff(block) != 0)])
    counts = np.diff(np.r_[first, len(order)])
    forwards = np.argsort(order[first])
    first, counts = first[forwards], counts[forwards]
    rows = order[np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(len(order))]
    starts = np.cumsum(sizes) - sizes
    return block[first], counts, rows - np.repeat(starts, sizes)
