"""Which tiles hold the voxels that move with a keyframe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

HOME_BYTES = 320  # of an entry


@dataclass(frozen=True, eq=False)
class Home:
    """The tiles that hold an anchor's voxels, (T,) int64 numbers, and how many there are at most."""

    tiles: np.ndarray
    count: int


class Homes:
    """By anchor. Voxels that are forgotten, or come to another anchor, are still counted until the anchor next leaves."""

    def __init__(self) -> None:
        self._of: dict[int, Home] = {}

    @property
    def nbytes(self) -> int:
        return len(self._of) * HOME_BYTES

    def count(self, anchor: int) -> int:
        home = self._of.get(anchor)
        return home.count if home else 0

    def settle_in(self, numbers: np.ndarray, anchors: np.ndarray) -> None:
        """Voxels with these anchors have come into these tiles, (N,) each, the tiles' numbers in ascending order."""
        if not len(numbers):
            return
        first = np.r_[True, numbers[1:] != numbers[:-1]]
        tiles, column = numbers[first], np.cumsum(first) - 1
        some = np.unique(anchors)
        cells = np.searchsorted(some, anchors) * len(tiles) + column
        counts = np.bincount(cells, minlength=len(some) * len(tiles)).reshape(len(some), -1)
        for anchor, row in zip(some.tolist(), counts, strict=True):
            there, count = tiles[row > 0], int(row.sum())
            home = self._of.get(anchor)
            if home is not None:
                there, count = np.union1d(home.tiles, there), home.count + count
            self._of[anchor] = Home(there, count)

    def leave(self, anchors: Iterable[int]) -> np.ndarray:
        """Forget anchors. Returns the numbers of the tiles that hold their voxels, ascending."""
        tiles = [self._of.pop(k).tiles for k in anchors if k in self._of]
        return np.unique(np.concatenate(tiles)) if tiles else np.zeros(0, np.int64)
