"""The same thing keeps its number, whatever it was asked as and however often."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

import numpy as np

from sab3r_ros.types import LocatedObject

CELL_M = 0.1  # coarser than a voxel: the same thing asked in other words is cut a little differently
SAME = 0.3  # intersection over union of cells from which two things are the same
CAPACITY = 2000  # things; beyond it the one not seen for longest is forgotten


def cells_of(points: np.ndarray) -> np.ndarray:
    """(N, 3) metres → sorted unique numbers of the cells they fill."""
    cell = np.floor(points / CELL_M).astype(np.int64) + (1 << 20)
    return np.unique((cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two sorted sets of cells."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(len(a) + len(b) - common, 1)


class ObjectMemory:
    """Gives each located object the id of the thing that was in its place before, or a new one. Thread-safe.

    Ids are ≥ 1, grow, and are not given twice, also not after `forget`.
    """

    def __init__(self) -> None:
        self._things: OrderedDict[int, np.ndarray] = OrderedDict()
        self._next = 1
        self._lock = threading.Lock()

    def identify(self, objects: list[LocatedObject]) -> list[LocatedObject]:
        """The same objects, in order, with ids, by their samples.

        The best overlaps are given first, and an id once an answer.
        """
        cells = [cells_of(o.sample) for o in objects]
        with self._lock:
            pairs = sorted(
                (
                    (overlap(c, known), k, n)
                    for k, c in enumerate(cells)
                    for n, known in self._things.items()
                    if SAME * len(c) <= len(known) <= len(c) / SAME
                    and c[0] <= known[-1]
                    and known[0] <= c[-1]
                ),
                reverse=True,
            )
            ids: dict[int, int] = {}
            for share, k, n in pairs:
                if share >= SAME and k not in ids and n not in ids.values():
                    ids[k] = n
            for k, c in enumerate(cells):
                if k not in ids:
                    ids[k], self._next = self._next, self._next + 1
                self._things[ids[k]] = c
                self._things.move_to_end(ids[k])
            while len(self._things) > CAPACITY:
                self._things.popitem(last=False)
        return [replace(o, id=ids[k]) for k, o in enumerate(objects)]

    def forget(self) -> None:
        """Another map: nothing of the old one is met again."""
        with self._lock:
            self._things.clear()
