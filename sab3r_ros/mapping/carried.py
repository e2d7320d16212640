"""Keyframes that are no places of their own: each stands still beside the keyframe that carries it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3

NOBODY = -1


class Carried:
    """Who carries each, and T_CK, from the keyframe to its carrier: arrays by keyframe id, for there will be many."""

    def __init__(self) -> None:
        self._by = np.full(0, NOBODY, np.int32)
        self._T_CK = np.zeros((0, 3, 4), np.float32)
        self._cargo: dict[int, array[int]] = {}  # carrier → keyframes

    def __len__(self) -> int:
        return sum(map(len, self._cargo.values()))

    def __contains__(self, k: int) -> bool:
        return k < len(self._by) and self._by[k] != NOBODY

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self._by != NOBODY).tolist())

    @property
    def nbytes(self) -> int:
        return (
            self._by.nbytes + self._T_CK.nbytes + sum(300 + c.itemsize * len(c) for c in self._cargo.values())
        )

    def carrier(self, k: int) -> int:
        """Raises KeyError if nobody carries k."""
        if k not in self:
            raise KeyError(k)
        return int(self._by[k])

    def by(self, ids: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Carriers (N,) and T_CK (N, 3, 4) float32 of carried keyframes."""
        ids = np.fromiter(ids, np.int64)
        return self._by[ids], self._T_CK[ids]

    def of(self, carrier: int) -> tuple[int, ...]:
        """What it carries."""
        return tuple(self._cargo.get(carrier, ()))

    def put(self, k: int, carrier: int, T_CK: np.ndarray) -> None:
        """Carry one more, T_CK (3, 4)."""
        if k >= len(self._by):
            more = k + 1 + len(self._by) // 8 - len(self._by)  # an eighth of room to grow
            self._by = np.append(self._by, np.full(more, NOBODY, np.int32))
            self._T_CK = np.concatenate([self._T_CK, np.zeros((more, 3, 4), np.float32)])
        self._by[k], self._T_CK[k] = carrier, T_CK
        self._cargo.setdefault(carrier, array("q")).append(k)

    def hand_on(self, k: int, carrier: int, T_CK: Sim3) -> None:
        """From now on k, and what it carries, stand beside another keyframe; T_CK takes k's frame to its."""
        T = T_CK.matrix()
        for f in self._cargo.pop(k, ()):
            self.put(f, carrier, T[:3, :3] @ self._T_CK[f] + np.pad(T[:3, 3:], ((0, 0), (3, 0))))
        self.put(k, carrier, T[:3])
