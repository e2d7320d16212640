"""Depth that neighbouring keyframes agree on: each pointmap is drawn to what the ones before it saw of the same surface.

A network's errors of depth are smooth over an image and differ from image to image. So the mean log ratio of two
depths, cell by cell, takes the error away and leaves the detail; kept up from keyframe to keyframe it is a running mean.
"""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.compiled import floats, library

CELL = 8  # pixels: smoother than this nothing is corrected
STRIDE = 2  # every second pixel of the earlier view, in rows and columns, is looked at
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
    count, ratio, carried = (np.zeros((rows, columns)) for _ in range(3))
    library().depth_ratios(
        *(
            floats(before),
            h,
            w,
            STRIDE,
            floats(weight),
            T_KP.matrix()[:3].copy(),
            K[[0, 1, 0, 1], [0, 1, 2, 2]],
        ),
        *(floats(points), h, w, CELL, rows, columns, MAX_LOG_RATIO, count, ratio, carried),
    )
    known = count >= LEAST_PIXELS
    mean, views = (np.where(known, a / np.maximum(count, 1), 0) for a in (ratio, carried))
    shift = (mean * views / (views + 1)).astype(np.float32)
    factor = np.exp(cv2.resize(shift, (w, h), interpolation=cv2.INTER_LINEAR))
    return points * factor[..., None], np.minimum(views + 1, MEMORY).astype(np.float32)


def alone(points: np.ndarray) -> np.ndarray:
    """Weight of a pointmap that was drawn to nothing yet."""
    h, w, _ = points.shape
    return np.ones((-(-h // CELL), -(-w // CELL)), np.float32)


def blended(points: np.ndarray, again: np.ndarray, count: int) -> np.ndarray:
    """A pointmap (H, W, 3) that is the mean of `count` decodings of one image, and one more: the mean of log depths.

    Each decoding has a scale of its own; the first one's stays. Where they see two surfaces nothing is changed.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(again[..., 2] / points[..., 2])
    some = ratio[::STRIDE, ::STRIDE]
    some = some[np.isfinite(some)]
    if not len(some):
        return points
    ratio -= np.median(some)
    ratio[~(np.abs(ratio) < MAX_LOG_RATIO)] = 0
    return points * np.exp(ratio / (count + 1))[..., None]
