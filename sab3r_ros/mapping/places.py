"""What is kept of every keyframe so that its place is known again: a small signature and some described points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import Edge, PairAlignment, align_pair
from sab3r_ros.mapping.matching import nearest
from sab3r_ros.types import View

POINTS = 800  # described points kept of a keyframe: 62 kB
CANDIDATES = 5  # places that are looked at more closely


@dataclass(frozen=True)
class Place:
    """id of the keyframe; T_WK its pose; signature (D,) unit; descriptors (P, 24) float16; points (P, 3) float32, own frame."""

    id: int
    T_WK: Sim3
    signature: np.ndarray
    descriptors: np.ndarray
    points: np.ndarray


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


def described_points(view: View, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The surest descriptors of a view, spread over the image, and their points: (P, 24), (P, 3)."""
    h, w, d = view.descriptors.shape
    H, W, _ = view.points.shape
    cell = max(int(np.sqrt(h * w / count)), 1)
    h, w = h // cell * cell, w // cell * cell
    blocks = (
        view.descriptor_confidence[:h, :w].reshape(h // cell, cell, w // cell, cell).transpose(0, 2, 1, 3)
    )
    best = blocks.reshape(h // cell, w // cell, -1).argmax(-1)
    rows = np.arange(h // cell)[:, None] * cell + best // cell
    cols = np.arange(w // cell)[None] * cell + best % cell
    points = view.points[(rows * H // view.descriptors.shape[0]), (cols * W // view.descriptors.shape[1])]
    return view.descriptors[rows, cols].reshape(-1, d), points.reshape(-1, 3)


class PlaceMemory:
    """All keyframes of the map, a few ten kilobytes each."""

    def __init__(self) -> None:
        self.places: list[Place] = []

    def remember(self, id: int, T_WK: Sim3, view: View) -> None:
        descriptors, points = described_points(view, POINTS)
        self.places.append(
            Place(id, T_WK, signature(view), descriptors.astype(np.float16), points.astype(np.float32))
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, one row a place, for a map file."""
        P = self.places
        return {
            "place_ids": np.array([p.id for p in P], np.int64),
            "place_T_WK": np.array([p.T_WK.matrix() for p in P]).reshape(-1, 4, 4),
            "place_sizes": np.array([len(p.points) for p in P], np.int64),
            "place_signatures": np.stack([p.signature for p in P]) if P else np.zeros((0, 0), np.float32),
            "place_descriptors": np.concatenate([p.descriptors for p in P])
            if P
            else np.zeros((0, 0), np.float16),
            "place_points": np.concatenate([p.points for p in P]) if P else np.zeros((0, 3), np.float32),
        }

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> PlaceMemory:
        """The reverse of `arrays`. Raises KeyError if one is missing."""
        memory, cuts = PlaceMemory(), np.cumsum(arrays["place_sizes"])[:-1]
        memory.places = (
            [
                Place(int(id), Sim3.from_matrix(T), signature, descriptors, points)
                for id, T, signature, descriptors, points in zip(
                    arrays["place_ids"],
                    arrays["place_T_WK"],
                    arrays["place_signatures"],
                    np.split(arrays["place_descriptors"], cuts),
                    np.split(arrays["place_points"], cuts),
                    strict=True,
                )
            ]
            if len(arrays["place_ids"])
            else []
        )
        return memory

    @property
    def memory_bytes(self) -> int:
        return sum(p.signature.nbytes + p.descriptors.nbytes + p.points.nbytes for p in self.places)

    def recognise(
        self, view: View, config: AlignmentConfig, rng: np.random.Generator
    ) -> tuple[Sim3, PairAlignment] | None:
        """Where a view stands if it shows a known place: T_W,view and the alignment that says so, or None.

        The most alike signatures are matched and aligned; the one with most agreeing matches wins.
        """
        if not self.places:
            return None
        alike = np.stack([p.signature for p in self.places]) @ signature(view)
        found: list[tuple[PairAlignment, Place]] = []
        descriptors, points = described_points(view, 2 * POINTS)
        for k in np.argsort(-alike)[:CANDIDATES]:
            place = self.places[k]
            theirs = place.descriptors.astype(np.float32)
            there = nearest(theirs, descriptors)
            mutual = nearest(descriptors, theirs)[there] == np.arange(len(theirs))
            Xi, Xj = place.points[mutual].astype(float), points[there[mutual]].astype(float)
            good = np.isfinite(Xi).all(1) & np.isfinite(Xj).all(1) & (Xi[:, 2] > 1e-3) & (Xj[:, 2] > 1e-3)
            alignment = align_pair(Edge(0, 1, Xi[good], Xj[good], np.ones(int(good.sum()))), config, rng)
            if alignment:
                found.append((alignment, place))
        if not found:
            return None
        alignment, place = max(found, key=lambda f: f[0].count)
        return place.T_WK @ alignment.T_ij, alignment
