"""From an aligned keyframe's view to voxels: which pixels are surface, and what they carry."""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.config import MapperConfig
from sab3r_ros.geometry.camera import focal_from_pointmap, pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.fading import Look
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.meeting import Seen
from sab3r_ros.types import View

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))  # a pixel and its four neighbours
PIXEL_STRIDE = 2  # every second pixel in rows and columns is mapped: denser than any voxel grid in use


def surface_pixels(view: View, config: MapperConfig) -> np.ndarray:
    """(H, W) bool: confident, in range, and no edge in depth, where a pointmap bridges near and far by flying points.

    What counts as confident is `min_confidence`, or the view's own median where all of a view is unsure: an unfamiliar
    place gives a rough map, not none.
    """
    x, y, z = (np.ascontiguousarray(view.points[..., axis], np.float32) for axis in range(3))
    square = x * x + y * y + z * z
    known = (z > 1e-3) & np.isfinite(square)
    filled = np.where(known, z, np.float32(1))
    farthest, nearest = cv2.dilate(filled, CROSS), cv2.erode(filled, CROSS)
    step = np.float32(np.exp(config.max_depth_step))
    smooth = (farthest < filled * step) & (filled < nearest * step)
    least = config.min_confidence
    if np.count_nonzero(view.confidence >= least) < view.confidence.size / 2:
        least = float(np.median(view.confidence))
    return known & (square < config.max_range_m**2) & smooth & (view.confidence >= least)


def look(view: View, surface: np.ndarray, keyframe: Keyframe, T_WK: Sim3, config: MapperConfig) -> Look:
    """What a keyframe sees of free space, its image being of the pointmap's size."""
    return Look(T_WK.inverse(), intrinsics(view, keyframe.K), free_depth(view, surface), config.free_margin)


def surface_points(view: View, surface: np.ndarray, keyframe: Keyframe, T_WK: Sim3, feature_dim: int) -> Seen:
    """What a keyframe sees of surfaces, for the map."""
    v, u = np.nonzero(surface[::PIXEL_STRIDE, ::PIXEL_STRIDE])
    v, u = v * PIXEL_STRIDE, u * PIXEL_STRIDE
    H, W = view.confidence.shape
    if view.features is None:
        features = np.zeros((len(v), feature_dim), np.float16)
    else:
        h, w, _ = view.features.shape
        features = view.features.reshape(h * w, -1).take(v * h // H * w + u * w // W, 0)
    at = v * W + u
    points, colors = (a.reshape(-1, 3).take(at, 0) for a in (view.points, keyframe.image))
    anchors = np.full(len(at), keyframe.id, np.int32)
    return Seen(T_WK.apply(points), colors, features, view.confidence.take(at), anchors)


def free_depth(view: View, surface: np.ndarray) -> np.ndarray:
    """(H, W) float32 depth that is surely free: the least of a pixel's neighbours, 0 where one is no surface."""
    depth = np.where(surface, view.points[..., 2], 0).astype(np.float32)
    return cv2.erode(depth, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)


def intrinsics(view: View, K: np.ndarray | None) -> np.ndarray:
    """K if it is known, else the pinhole camera that the pointmap says."""
    if K is not None:
        return K
    return pinhole(focal_from_pointmap(view.points, view.confidence), *view.size)
