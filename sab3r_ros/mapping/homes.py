"""Which tiles hold the voxels that move with a keyframe."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

ENTRY_BYTES = 100  # of an entry, beside its numbers
NOWHERE = bytes(8)


class Homes:
    """By anchor. Voxels that are forgotten, or come to another anchor, are still counted until the anchor next leaves.

    An entry is (1 + T,) int64 as bytes, which take half of an array's room: how many voxels there are at most, and the
    numbers of the tiles that hold them, ascending.
    """

    def __init__(self) -> None:
        self._of: dict[int, bytes] = {}
        self.nbytes = 0

    def count(self, anchor: int) -> int:
        return int(self._entry(anchor)[0])

    def _entry(self, anchor: int) -> np.ndarray:
        return np.frombuffer(self._of.get(anchor, NOWHERE), np.int64)

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
            before = self._entry(anchor)
            there = np.union1d(before[1:], tiles[row > 0])
            self._pop(anchor)
            self._of[anchor] = np.r_[before[0] + row.sum(), there].astype(np.int64).tobytes()
            self.nbytes += ENTRY_BYTES + len(self._of[anchor])

    def leave(self, anchors: Iterable[int]) -> np.ndarray:
        """Forget anchors. Returns the numbers of the tiles that hold their voxels, ascending."""
        tiles = [self._pop(k)[1:] for k in anchors]
        return np.unique(np.concatenate(tiles)) if tiles else np.zeros(0, np.int64)

    def _pop(self, anchor: int) -> np.ndarray:
        entry = self._entry(anchor)
        if self._of.pop(anchor, None) is not None:
            self.nbytes -= ENTRY_BYTES + entry.nbytes
        return entry
