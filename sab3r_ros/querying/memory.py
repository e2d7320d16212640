"""The same thing keeps its number, whatever it was asked as and however often."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from sab3r_ros.querying.cells import cell_numbers, coarser, distinct
from sab3r_ros.querying.objects import MOST_POINTS, corners
from sab3r_ros.querying.recent import Recent
from sab3r_ros.types import LocatedObject

CELL_M = 0.1  # coarser than a voxel: the same thing asked in other words is cut a little differently
FILLED = 4  # points of a sample in a cell, or the cells are too fine for it
SAME = 0.3  # intersection over union of cells from which two things are the same
RECENT = 128  # samples whose footprints are remembered
CAPACITY = 2000  # things; beyond it the one not seen for longest is forgotten


@dataclass(frozen=True, eq=False)
class Footprint:
    """The space that a thing fills. numbers: of its cells, CELL_M · 2 ** halvings long, ascending. box: (6,) its lowest and
    highest corner, metres.
    """

    halvings: int
    numbers: np.ndarray
    box: np.ndarray

    @staticmethod
    def of(points: np.ndarray) -> Footprint:
        """Of (N, 3) points: in cells as fine as they fill. Only a large thing, of which they are a sample, needs others."""
        halvings, numbers = 0, distinct(cell_numbers(points, CELL_M))
        while len(points) >= MOST_POINTS and FILLED * len(numbers) > len(points):
            halvings, numbers = halvings + 1, distinct(coarser(numbers, 1))
        return Footprint(halvings, numbers, np.concatenate(corners(points)))

    def overlap(self, other: Footprint) -> float:
        """Intersection over union, in the larger cells of both; 0 where it cannot reach SAME."""
        halvings = max(self.halvings, other.halvings)
        a, b = (
            f.numbers if f.halvings == halvings else distinct(coarser(f.numbers, halvings - f.halvings))
            for f in (self, other)
        )
        if min(len(a), len(b)) < SAME * max(len(a), len(b)):
            return 0.0
        common = len(np.intersect1d(a, b, assume_unique=True))
        return common / max(len(a) + len(b) - common, 1)


class ObjectMemory:
    """Gives each located object the id of the thing that was in its place before, or a new one. Thread-safe.

    Ids are ≥ 1, grow, and are not given twice, also not after `forget`.
    """

    def __init__(self) -> None:
        self._things: OrderedDict[int, Footprint] = OrderedDict()
        self._prints: Recent[tuple[np.ndarray, Footprint]] = Recent(RECENT)
        self._next = 1
        self._lock = threading.Lock()

    def identify(self, objects: list[LocatedObject]) -> list[LocatedObject]:
        """The same objects, in order, with ids, by their samples.

        The best overlaps are given first, and an id once an answer.
        """
        prints = [self._print(o.sample) for o in objects]
        with self._lock:
            known, boxes = (
                list(self._things),
                np.array([f.box for f in self._things.values()]).reshape(-1, 6).T,
            )
            pairs = []
            for k, f in enumerate(prints):
                near = np.ones(len(known), bool)
                for axis in range(3):
                    near &= (boxes[axis] <= f.box[axis + 3]) & (boxes[axis + 3] >= f.box[axis])
                pairs += [
                    (f.overlap(self._things[n]), k, n) for n in (known[m] for m in np.flatnonzero(near))
                ]
            ids: dict[int, int] = {}
            for share, k, n in sorted(pairs, reverse=True):
                if share >= SAME and k not in ids and n not in ids.values():
                    ids[k] = n
            for k, f in enumerate(prints):
                if k not in ids:
                    ids[k], self._next = self._next, self._next + 1
                self._things[ids[k]] = f
                self._things.move_to_end(ids[k])
            while len(self._things) > CAPACITY:
                self._things.popitem(last=False)
        return [replace(o, id=ids[k]) for k, o in enumerate(objects)]

    def _print(self, sample: np.ndarray) -> Footprint:
        """Of the same array, which nobody writes to, computed once."""
        known = self._prints.get(id(sample))
        if known is None or known[0] is not sample:
            known = sample, Footprint.of(sample)
            self._prints.put(id(sample), known)
        return known[1]

    def forget(self) -> None:
        """Another map: nothing of the old one is met again."""
        with self._lock:
            self._things.clear()
