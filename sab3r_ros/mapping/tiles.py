"""Tiles: cubes of the semantic map that are never written, and the numbers by which they and their cells are found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sab3r_ros.mapping.compiled import table
from sab3r_ros.voxels import Voxels

TILE = 40  # cells along a tile's edge: 64 000 cells, a 16-bit number
MORSEL = (
    5  # cells along the edge of the cubes in whose order a tile's cells are numbered: neighbours lie together
)
TILE_BITS = 15  # of a tile coordinate in a key: ± 655 360 voxels a side


def cell_shares() -> np.ndarray:
    """(3, TILE) int64: an axis' share in the number of a cell. Cubes of MORSEL³ cells in Morton order, rows within."""
    cube, inner = np.divmod(np.arange(TILE), MORSEL)
    morton = sum(((cube >> bit) & 1) << (3 * bit) for bit in range(3))
    steps = (MORSEL**2, MORSEL, 1)
    return np.stack([(morton << (2 - axis)) * MORSEL**3 + inner * steps[axis] for axis in range(3)])


CELL_NUMBERS = cell_shares()


def voxel_keys(points: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """(N, 3) metres → (N,) int64: the tile's number << 16 | the cell's number in it.

    Raises ValueError beyond ± 655 360 voxels from the origin.
    """
    cell = np.floor(points / voxel_size_m).astype(np.int64)
    tile = cell // TILE  # and a product: much quicker than divmod
    inner = cell - tile * TILE
    tile += 1 << (TILE_BITS - 1)
    if tile.size and (tile.min() < 0 or tile.max() >= 1 << TILE_BITS):
        raise ValueError("a point lies outside the map's range: check the scale, or choose larger voxels")
    number = (tile[:, 0] << (2 * TILE_BITS)) | (tile[:, 1] << TILE_BITS) | tile[:, 2]
    shares = (CELL_NUMBERS[axis].take(inner[:, axis]) for axis in range(3))
    return (number << 16) | sum(shares)


def tile_centers(numbers: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """(T,) tile numbers → (T, 3) metres."""
    parts = [numbers >> (2 * TILE_BITS), numbers >> TILE_BITS, numbers]
    tile = np.stack(parts, -1) & ((1 << TILE_BITS) - 1)
    return (tile - (1 << (TILE_BITS - 1)) + 0.5) * (TILE * voxel_size_m)


@dataclass(frozen=True, eq=False)
class Tile:
    """cells: (N,) uint16 numbers of the filled cells, ascending. voxels: what they hold."""

    cells: np.ndarray
    voxels: Voxels

    def __len__(self) -> int:
        return len(self.cells)

    @cached_property
    def addresses(self) -> np.ndarray:
        """Of the cells and then the voxels' columns: what the compiled half reads."""
        return table((self.cells, *self.voxels.columns()))

    def kept(self, keep: np.ndarray) -> Tile:
        """Only the rows where keep (N,) is true."""
        rows = np.flatnonzero(keep)
        return Tile(self.cells.take(rows), self.voxels.take(rows))
