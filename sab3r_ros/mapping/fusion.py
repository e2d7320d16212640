"""From an aligned keyframe's view to voxels: which pixels are surface, and what they carry."""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.config import MapperConfig
from sab3r_ros.geometry.camera import focal_from_pointmap, pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.types import View

FOCAL_STRIDE = 4  # pixels from which the focal length is told
PIXEL_STRIDE = 2  # every second pixel in rows and columns is mapped: denser than any voxel grid in use


def surface_pixels(view: View, config: MapperConfig) -> np.ndarray:
    """(H, W) bool: confident, in range, and no edge in depth, where a pointmap bridges near and far by flying points.

    What counts as confident is `min_confidence`, or the view's own median where all of a view is unsure: an unfamiliar
    place gives a rough map, not none.
    """
    z = view.points[..., 2]
    good = np.isfinite(view.points).all(-1) & (z > 1e-3)
    log_z = np.log(np.where(good, z, 1.0))
    step = np.zeros_like(z)
    for axis in (0, 1):
        change = np.abs(np.diff(log_z, axis=axis))
        before = [(0, 0), (0, 0)]
        before[axis] = (1, 0)
        after = [(0, 0), (0, 0)]
        after[axis] = (0, 1)
        step = np.maximum(step, np.maximum(np.pad(change, before), np.pad(change, after)))
    near = np.linalg.norm(view.points, axis=-1) < config.max_range_m
    least = min(config.min_confidence, float(np.median(view.confidence)))
    return good & near & (step < config.max_depth_step) & (view.confidence >= least)


def fuse(world: SemanticMap, view: View, keyframe: Keyframe, T_WK: Sim3, config: MapperConfig) -> int:
    """Integrate a keyframe's surface pixels, its image being of the pointmap's size; what it looks through fades.

    Returns the number of new voxels.
    """
    surface = surface_pixels(view, config)
    world.fade(T_WK.inverse(), intrinsics(view, keyframe.K), free_depth(view, surface), config.free_margin)
    mask = np.zeros(view.confidence.shape, bool)
    mask[::PIXEL_STRIDE, ::PIXEL_STRIDE] = True
    v, u = np.nonzero(mask & surface)
    H, W = view.confidence.shape
    if view.features is None:
        features = np.zeros((len(v), world.feature_dim), np.float16)
    else:
        h, w, _ = view.features.shape
        features = view.features[v * h // H, u * w // W]
    points, colors = T_WK.apply(view.points[v, u]), keyframe.image[v, u]
    return world.integrate(points, colors, features, view.confidence[v, u], anchor=keyframe.id)


def free_depth(view: View, surface: np.ndarray) -> np.ndarray:
    """(H, W) float32 depth that is surely free: the least of a pixel's neighbours, 0 where one is no surface."""
    depth = np.where(surface, view.points[..., 2], 0).astype(np.float32)
    return cv2.erode(depth, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)


def intrinsics(view: View, K: np.ndarray | None) -> np.ndarray:
    """K if it is known, else the pinhole camera that the pointmap says."""
    if K is not None:
        return K
    few = FOCAL_STRIDE
    focal = focal_from_pointmap(view.points[::few, ::few], view.confidence[::few, ::few]) * few
    return pinhole(focal, *view.size)
