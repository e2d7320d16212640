"""From an aligned keyframe's view to voxels: which pixels are surface, and what they carry."""

from __future__ import annotations

import numpy as np

from sab3r_ros.config import MapperConfig
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.semantic_map import SemanticMap
from sab3r_ros.types import View

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
    """Integrate a keyframe's surface pixels, its image being of the pointmap's size. Returns the number of new voxels."""
    mask = np.zeros(view.confidence.shape, bool)
    mask[::PIXEL_STRIDE, ::PIXEL_STRIDE] = True
    v, u = np.nonzero(mask & surface_pixels(view, config))
    H, W = view.confidence.shape
    if view.features is None:
        features = np.zeros((len(v), world.feature_dim), np.float16)
    else:
        h, w, _ = view.features.shape
        features = view.features[v * h // H, u * w // W]
    points, colors = T_WK.apply(view.points[v, u]), keyframe.image[v, u]
    return world.integrate(points, colors, features, view.confidence[v, u], anchor=keyframe.id)
