"""Depth that neighbouring keyframes agree on: each pointmap is drawn to what the ones before it saw of the same surface.

A network's errors of depth are smooth over an image and differ from image to image. So the mean log ratio of two
depths, cell by cell, takes the error away and leaves the detail; kept up from keyframe to keyframe it is a running mean.
"""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.geometry.sim3 import Sim3

CELL = 8  # pixels: smoother than this nothing is corrected
STRIDE = 2  # every second pixel of the earlier view is looked at
MAX_LOG_RATIO = 0.2  # more is another surface
LEAST_PIXELS = 4  # of a cell
MEMORY = 10.0  # views that a mean remembers: surfaces that move, and poses that drift, are forgotten


def agree(
    points: np.ndarray, T_KP: Sim3, before: np.ndarray, weight: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a pointmap to an earlier one.

    points (H, W, 3): on the rays of K (3, 3). before (H, W, 3): the earlier one in its own frame, T_KP takes it into this
    one's; weight (H', W'), a cell each: how many views it is the mean of. Returns points and weight of the same kind.
    """
    h, w, _ = points.shape
    rows, columns = weight.shape
    X = T_KP.apply(before[::STRIDE, ::STRIDE].astype(np.float64))
    uv = X[..., :2] / np.maximum(X[..., 2:], 1e-6) * [K[0, 0], K[1, 1]] + K[:2, 2]
    u, v = np.rint(uv[..., 0]).astype(np.int64), np.rint(uv[..., 1]).astype(np.int64)
    seen = (X[..., 2] > 1e-3) & (u >= 0) & (u < w) & (v >= 0) & (v < h)
    u, v, z = u[seen], v[seen], X[..., 2][seen]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(z / points[v, u, 2])
    near = np.abs(ratio) < MAX_LOG_RATIO
    cell = np.minimum(v // CELL, rows - 1) * columns + np.minimum(u // CELL, columns - 1)
    carried = cv2.resize(weight, (before[::STRIDE, ::STRIDE].shape[1::-1]), interpolation=cv2.INTER_NEAREST)[
        seen
    ]

    def cells(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell[near], values[near], rows * columns)

    count = cells(np.ones(len(z)))
    known = count >= LEAST_PIXELS
    mean, views = (np.where(known, cells(a) / np.maximum(count, 1), 0) for a in (ratio, carried))
    shift = (mean * views / (views + 1)).reshape(rows, columns).astype(np.float32)
    factor = np.exp(cv2.resize(shift, (w, h), interpolation=cv2.INTER_LINEAR))
    return points * factor[..., None], np.minimum(views + 1, MEMORY).reshape(rows, columns).astype(np.float32)


def alone(points: np.ndarray) -> np.ndarray:
    """Weight of a pointmap that was drawn to nothing yet."""
    h, w, _ = points.shape
    return np.ones((-(-h // CELL), -(-w // CELL)), np.float32)
