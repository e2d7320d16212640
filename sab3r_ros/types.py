"""The values that pass between the parts: plain arrays with stated shapes, units and frames. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np


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
    """A consistent, read-only view of the semantic map.

    points: (N, 3) float32, map frame, metres. colors: (N, 3) uint8 RGB. features: (N, D) float16, confidence-weighted means.
    confidence: (N,) float32, summed. hits: (N,) int32 ≥ 1. voxel_size_m: edge of a voxel. trajectory: keyframe poses.
    model_identity: whose features these are. version: grows with every change of the map.
    """

    points: np.ndarray
    colors: np.ndarray
    features: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray
    voxel_size_m: float
    trajectory: Trajectory
    model_identity: str
    version: int


@dataclass(frozen=True)
class LocatedObject:
    """One thing found in the map.

    label: the query. score: 0..1. centroid: (3,) metres, map frame. id: ≥ 1, the same for the same thing in later
    answers; 0 = not given.
    box: centre (3,), R_WB (3, 3) axes as columns, size (3,) metres: an oriented box, upright (its third axis is +z).
    indices: (M,) rows of the snapshot's arrays that belong to it.
    """

    label: str
    score: float
    centroid: np.ndarray
    box_center: np.ndarray
    box_R: np.ndarray
    box_size: np.ndarray
    indices: np.ndarray
    id: int = 0


@dataclass(frozen=True)
class LocateAnswer:
    """What `/locate` says. success: at least one object. message: for people. objects: best first."""

    success: bool
    message: str
    objects: tuple[LocatedObject, ...]
    best_score: float
    extra: dict[str, Any] | None = None
