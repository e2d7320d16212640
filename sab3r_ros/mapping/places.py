"""What is kept of a keyframe so that its place is known again: a small signature and some described points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sab3r_ros.config import AlignmentConfig, LoopConfig
from sab3r_ros.mapping.alignment import Edge, PairAlignment, align_pair
from sab3r_ros.mapping.compiled import both_ways
from sab3r_ros.mapping.matching import between_descriptors, pixels, points_at
from sab3r_ros.types import View

POINTS = 600  # described points kept of a keyframe: 18 kB
QUERY_POINTS = 1200  # of the view that is to be recognised


@dataclass(frozen=True)
class Place:
    """id of the keyframe; descriptors (P, 24) int8, 127 = 1; points (P, 3) float16, its own frame."""

    id: int
    descriptors: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class Sighting:
    """A view looks like a place. alignment: T_place,view and how many matches agree."""

    place: int
    alignment: PairAlignment


def signature(view: View) -> np.ndarray:
    """A view in one unit vector: mean language feature (or descriptor) of each quarter of the image."""
    maps = view.features if view.features is not None else view.descriptors
    h, w, _ = maps.shape
    quarters = [
        maps[a : a + h // 2, b : b + w // 2].astype(np.float32).mean((0, 1))
        for a in (0, h // 2)
        for b in (0, w // 2)
    ]
    vector = np.concatenate(quarters)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def described_pixels(view: View, count: int) -> np.ndarray:
    """Index of the surest descriptors of a view, spread over the image: (P,)."""
    h, w, _ = view.descriptors.shape
    width = w
    cell = max(int(np.sqrt(h * w / count)), 1)
    h, w = h // cell * cell, w // cell * cell
    blocks = (
        view.descriptor_confidence[:h, :w].reshape(h // cell, cell, w // cell, cell).transpose(0, 2, 1, 3)
    )
    best = blocks.reshape(h // cell, w // cell, -1).argmax(-1)
    rows = np.arange(h // cell)[:, None] * cell + best // cell
    cols = np.arange(w // cell)[None] * cell + best % cell
    return (rows * width + cols).ravel()


class PlaceMemory:
    """Places by keyframe id. Looking one up among ten thousand is one product of a matrix and a vector."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self._ids = np.zeros(0, np.int64)  # of the rows of _signatures, increasing; both grow by doubling
        self._signatures = np.zeros((0, 0), np.float32)
        self._points = 0

    def __len__(self) -> int:
        return len(self.places)

    def remember(self, id: int, view: View) -> None:
        """Ids must increase."""
        index = described_pixels(view, POINTS)
        descriptors = view.descriptors.reshape(-1, view.descriptors.shape[2])[index]
        points = points_at(view.points, pixels(index, view))
        place = Place(id, np.rint(descriptors * 127).astype(np.int8), points.astype(np.float16))
        self._append(place, signature(view))

    def _append(self, place: Place, vector: np.ndarray) -> None:
        n = len(self.places)
        if n == len(self._ids):
            grown = max(64, 2 * n)
            ids, signatures = np.zeros(grown, np.int64), np.zeros((grown, len(vector)), np.float32)
            ids[:n], signatures[:n] = self._ids, self._signatures.reshape(n, -1) if n else 0
            self._ids, self._signatures = ids, signatures
        self._ids[n], self._signatures[n] = place.id, vector
        self.places[place.id] = place
        self._points += len(place.points)

    @property
    def memory_bytes(self) -> int:
        return self._points * (24 + 6) + self._ids.nbytes + self._signatures.nbytes

    def alike(self, view: View, before: int, count: int) -> list[int]:
        """Ids below `before` of the places most like a view, best first.

        What all places have in common is left out of the comparison: in one building everything is walls and floor.
        """
        n = int(np.searchsorted(self._ids[: len(self.places)], before))
        if n == 0:
            return []
        known = self._signatures[:n]
        scores = known @ (signature(view) - known.mean(0) * (n >= 10))
        return [int(self._ids[k]) for k in np.argsort(-scores)[:count]]

    def compare(
        self,
        view: View,
        ids: list[int],
        alignment: AlignmentConfig,
        config: LoopConfig,
        rng: np.random.Generator,
    ) -> list[Sighting]:
        """Those of the places that a view shows, most agreeing matches first: matched, aligned, and enough agree."""
        found = []
        index = described_pixels(view, QUERY_POINTS)
        descriptors = view.descriptors.reshape(-1, view.descriptors.shape[2])[index]
        for id in ids:
            place = self.places[id]
            theirs = place.descriptors.astype(np.float32)
            there, back = both_ways(theirs, descriptors)
            mutual = back[there] == np.arange(len(theirs))
            uv = between_descriptors(theirs[mutual] / 127, view, index[there[mutual]])
            Xi, Xj = place.points[mutual].astype(float), points_at(view.points, uv)
            good = np.isfinite(Xi).all(1) & np.isfinite(Xj).all(1) & (Xi[:, 2] > 1e-3) & (Xj[:, 2] > 1e-3)
            pair = align_pair(Edge(0, 1, Xi[good], Xj[good], np.ones(int(good.sum()))), alignment, rng)
            if pair and pair.count >= config.min_matches and pair.inliers >= config.min_inliers:
                found.append(Sighting(id, pair))
        return sorted(found, key=lambda s: -s.alignment.count)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, one row a place, for a map file."""
        P = list(self.places.values())
        return {
            "place_ids": self._ids[: len(P)].copy(),
            "place_sizes": np.array([len(p.points) for p in P], np.int64),
            "place_signatures": self._signatures[: len(P)].copy(),
            "place_descriptors": np.concatenate([p.descriptors for p in P])
            if P
            else np.zeros((0, 24), np.int8),
            "place_points": np.concatenate([p.points for p in P]) if P else np.zeros((0, 3), np.float16),
        }

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> PlaceMemory:
        """The reverse of `arrays`. Raises KeyError if one is missing."""
        memory, cuts = PlaceMemory(), np.cumsum(arrays["place_sizes"])[:-1]
        for id, vector, descriptors, points in zip(
            arrays["place_ids"],
            arrays["place_signatures"],
            np.split(arrays["place_descriptors"], cuts) if len(arrays["place_ids"]) else [],
            np.split(arrays["place_points"], cuts) if len(arrays["place_ids"]) else [],
            strict=True,
        ):
            memory._append(Place(int(id), descriptors, points), vector)
        return memory
