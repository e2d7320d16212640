"""What comes to lie beside a voxel that is well known joins it: seeing a place again makes its surfaces surer, not thicker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sab3r_ros.mapping.compiled import library, table
from sab3r_ros.mapping.tiles import CELL_NUMBERS, TILE, Tile

REACH = 1.25  # voxel edges from the mean position of a voxel to what joins it: two surfaces two edges apart stay two
SUPPORTED = 9.0  # confidence from which others join a voxel, and it joins none: three pixels or so
OUTWEIGHS = 3.0  # a voxel draws what would hit its neighbour, if that has so much less confidence and is not SUPPORTED


def corners() -> np.ndarray:
    """(65536, 3) uint8: the place of a cell in its tile, by the cell's number."""
    places = np.indices((TILE,) * 3).reshape(3, -1)
    out = np.zeros((1 << 16, 3), np.uint8)
    out[sum(CELL_NUMBERS[axis].take(places[axis]) for axis in range(3))] = places.T
    return out


CORNERS = corners()


def join(
    numbers: np.ndarray,
    tiles: Sequence[Tile],
    leave: Sequence[np.ndarray | None],
    may_join: np.ndarray,
    keys: np.ndarray,
    points: np.ndarray,
    voxel_size_m: float,
) -> int:
    """Points (N, 3) float32 with keys (N,) int64 (see `voxel_keys`), where may_join (N,) bool says so, join a voxel beside.

    They do if no SUPPORTED voxel fills their cell, but one of the 26 cells around, whose mean position lies within REACH;
    the nearest of them. If a voxel fills their cell, it has to be outweighed. Their key becomes that voxel's; they are
    moved into its cell by the shortest way. Only given tiles are looked at, with ascending `numbers` (T,), those of all
    points among them, without the rows `leave`. keys and points are changed in place. Returns how many joined.

    Noise spreads the measurements of a surface over the cells beside it. Each visit would fill more of these, where now
    the cell that began first, or is hit most, keeps them all; what was there besides gets no hits, and fades.
    """
    return library().beside(
        *(len(tiles), np.stack([t.addresses for t in tiles]), np.array([len(t) for t in tiles], np.int64)),
        *(
            table(leave),
            numbers,
            CORNERS,
            np.ascontiguousarray(CELL_NUMBERS),
            len(keys),
            may_join,
            keys,
            points,
        ),
        *(voxel_size_m, REACH * voxel_size_m, SUPPORTED, OUTWEIGHS),
    )
