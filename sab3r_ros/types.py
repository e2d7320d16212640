"""The values that pass between the parts: plain arrays with stated shapes, units and frames. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np

from sab3r_ros.voxels import Voxels, decoded


@dataclass(frozen=True)
class Frame:
    """One camera image.

    image: (H, W, 3) uint8 RGB. stamp: seconds. K: (3, 3) float64 intrinsics in pixels of this image, or None if unknown.
    T_OC: (4, 4) rigid pose of the camera (RDF) in an odometry frame, metres, or None if unknown.
    """

    image: np.ndarray
    stamp: float
    K: np.ndarray | None = None
    T_OC: np.ndarray | None = None


@dataclass(frozen=True)
class View:
    """What the network says of one view (paper Sec. 4.2), as arrays on the CPU.

    points: (H, W, 3) float32, metres as far as the network knows them, RDF; the frame is told by who returns the view.
    confidence: (H, W) float32, ≥ 1. descriptors: (H', W', 24) float32, unit length; H / H' is their stride.
    descriptor_confidence: (H', W') float32, > 0. features: (h, w, D) float16, scaled so that `feature_basis @ f`
    has unit length, or None where the model has no language head.
    """

    points: np.ndarray
    confidence: np.ndarray
    descriptors: np.ndarray
    descriptor_confidence: np.ndarray
    features: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pointmap."""
        return self.points.shape[0], self.points.shape[1]


class TrackingState(str, Enum):
    """Where the mapper stands.

    INITIALISING: no map yet. TRACKING: the newest keyframes stand in the map. LOST: they fit neither the map nor each other.
    RELOCALISING: they make a piece of their own, which joins the map once a place of it is recognised.
    """

    INITIALISING = "initialising"
    TRACKING = "tracking"
    LOST = "lost"
    RELOCALISING = "relocalising"


@dataclass(frozen=True)
class MapStatus:
    """A cheap summary of the map, for people and for `MapStatus.msg`."""

    state: TrackingState
    keyframes: int
    pending_keyframes: int
    voxels: int
    memory_bytes: int
    keyframes_per_second: float
    scale_known: bool
    windows_rejected: int
    loops: int
    pieces: int


@dataclass(frozen=True)
class Trajectory:
    """Keyframe poses. stamps: (K,) seconds, increasing. T_WC: (K, 4, 4) float64, rigid, world from camera (RDF)."""

    stamps: np.ndarray
    T_WC: np.ndarray


@dataclass(frozen=True)
class MapSnapshot:
    """A consistent, read-only view of the semantic map: N voxels in blocks that it shares with the map.

    A voxel's row counts through the blocks. blocks: never written; one that did not change is the same object in the
    next snapshot. feature_dim: D. voxel_size_m: edge of a voxel. trajectory: keyframe poses. model_identity: whose
    features these are. version: grows with every change of the map.

    `points` (N, 3) float32 metres, `colors` (N, 3) uint8 RGB, `confidence` (N,) float16 summed, `hits` (N,) uint16 and
    `anchors` (N,) int32 are joined when first asked for; `points_of(rows)` and its like cost what they return.
    """

    blocks: tuple[Voxels, ...]
    feature_dim: int
    voxel_size_m: float
    trajectory: Trajectory
    model_identity: str
    version: int

    @staticmethod
    def of_arrays(
        points: np.ndarray,
        colors: np.ndarray,
        features: np.ndarray,
        confidence: np.ndarray,
        hits: np.ndarray,
        voxel_size_m: float,
        trajectory: Trajectory,
        model_identity: str,
        version: int,
    ) -> MapSnapshot:
        """A snapshot of plain arrays, a row a voxel, in their order. features: (N, D) of any float type."""
        voxels = Voxels.of(points, colors, features, confidence, hits)
        dim = features.shape[1]
        return MapSnapshot((voxels,), dim, voxel_size_m, trajectory, model_identity, version)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def starts(self) -> np.ndarray:
        """(B + 1,) first row of each block, and N."""
        return np.cumsum([0, *map(len, self.blocks)])

    @cached_property
    def points(self) -> np.ndarray:
        return self._joined("points")

    @cached_property
    def colors(self) -> np.ndarray:
        return self._joined("colors")

    @cached_property
    def confidence(self) -> np.ndarray:
        return self._joined("confidence")

    @cached_property
    def hits(self) -> np.ndarray:
        return self._joined("hits")

    @cached_property
    def anchors(self) -> np.ndarray:
        return self._joined("anchors")

    def points_of(self, rows: np.ndarray) -> np.ndarray:
        """(M,) rows → (M, 3) float32 metres."""
        return self.column_of("points", rows)

    def colors_of(self, rows: np.ndarray) -> np.ndarray:
        """(M,) rows → (M, 3) uint8 RGB."""
        return self.column_of("colors", rows)

    def confidence_of(self, rows: np.ndarray) -> np.ndarray:
        """(M,) rows → (M,) float32."""
        return self.column_of("confidence", rows).astype(np.float32)

    def features_of(self, rows: np.ndarray) -> np.ndarray:
        """(M,) rows → (M, D) float32 features."""
        return decoded(self.column_of("codes", rows), self.column_of("scales", rows))

    def column_of(self, name: str, rows: np.ndarray) -> np.ndarray:
        """(M,) rows → (M, …) of one of the voxels' columns."""
        rows = np.asarray(rows)
        if len(self.blocks) == 1:
            return getattr(self.blocks[0], name).take(rows, axis=0)
        order = None
        if len(rows) > 1 and (np.diff(rows) < 0).any():
            order = np.argsort(rows, kind="stable")
            rows = rows[order]
        cuts = np.searchsorted(rows, self.starts)
        parts = [
            getattr(self.blocks[k], name).take(rows[cuts[k] : cuts[k + 1]] - self.starts[k], axis=0)
            for k in np.flatnonzero(np.diff(cuts))
        ]
        found = np.concatenate(parts) if parts else self._joined(name)[:0]
        if order is None:
            return found
        out = np.empty_like(found)
        out[order] = found
        return out

    def voxels(self) -> Voxels:
        """All blocks as one."""
        return Voxels.joined([Voxels.nothing(self.feature_dim), *self.blocks])

    def _joined(self, name: str) -> np.ndarray:
        none = Voxels.nothing(self.feature_dim)
        out = np.concatenate([getattr(block, name) for block in (none, *self.blocks)])
        out.setflags(write=False)
        return out


@dataclass(frozen=True)
class LocatedObject:
    """One thing found in the map.

    label: the query. score: 0..1. centroid: (3,) metres, map frame. id: ≥ 1, the same for the same thing in later
    answers; 0 = not given.
    box: centre (3,), R_WB (3, 3) axes as columns, size (3,) metres: an oriented box, upright (its third axis is +z).
    indices: (M,) rows of the snapshot's arrays that belong to it. sample: (S, 3) float32 metres, points of it, spread over
    it, as far as who made it knows them.
    """

    label: str
    score: float
    centroid: np.ndarray
    box_center: np.ndarray
    box_R: np.ndarray
    box_size: np.ndarray
    indices: np.ndarray
    id: int = 0
    sample: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))


@dataclass(frozen=True)
class LocateAnswer:
    """What `/locate` says. success: at least one object. message: for people. objects: best first."""

    success: bool
    message: str
    objects: tuple[LocatedObject, ...]
    best_score: float
    extra: dict[str, Any] | None = None
