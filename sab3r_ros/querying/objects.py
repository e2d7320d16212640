"""Likely voxels → objects, each with an upright box and a centroid that lies on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MOST_POINTS = 1999  # of an object, spread over it, tell what it is like; a prime: no row of voxels is skipped
BOX_TRIM = 0.01  # share of an object's points at each end of an axis that its box leaves out


@dataclass(frozen=True)
class Box:
    """Upright oriented box. center (3,) metres, R (3, 3) axes as columns with the third +z, size (3,)
    metres, longest side first.
    """

    center: np.ndarray
    R: np.ndarray
    size: np.ndarray


def corners(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner (3,) of the box along the axes around (N, 3) points."""
    along = np.ascontiguousarray(points.T)  # NumPy is many times quicker along the last axis
    return along.min(1), along.max(1)


def corners_of(parts: list[np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same (K, 3) of parts (rows of points (N, 3), one or more)."""
    if not parts:
        return np.zeros((0, 3)), np.zeros((0, 3))
    along = np.ascontiguousarray(points.T).take(np.concatenate(parts), axis=1)
    starts = np.cumsum([0, *map(len, parts[:-1])])
    return np.minimum.reduceat(along, starts, 1).T, np.maximum.reduceat(along, starts, 1).T


def without_crumbs(
    parts: list[np.ndarray],
    points: np.ndarray,
    voxels: np.ndarray,
    least: int,
    min_part: float,
    reach_m: float,
) -> list[np.ndarray]:
    """Parts (rows of points (N, 3), each standing for so many voxels (N,)) that are things: at least `least` voxels, and no
    crumbs; the largest first.

    A crumb has fewer voxels than min_part of a larger part, and lies within reach_m of it, as boxes along the axes: a
    piece that something in front has cut off, or an edge of another thing.
    """
    sizes = np.array([voxels[p].sum() for p in parts])
    order = [k for k in np.argsort(-sizes, kind="stable").tolist() if sizes[k] >= least]
    large, sizes = [parts[k] for k in order], sizes[order]
    lows, highs = corners_of(large, points)
    kept: list[int] = []
    for k in range(len(large)):
        gaps = np.maximum(0, np.maximum(lows[kept] - highs[k], lows[k] - highs[kept])).max(1, initial=0)
        if not ((sizes[k] < min_part * sizes[kept]) & (gaps <= reach_m)).any():
            kept.append(k)
    return [large[k] for k in kept]


def spread(count: int) -> np.ndarray:
    """Of so many rows at most MOST_POINTS, evenly."""
    some = min(count, MOST_POINTS)
    return np.arange(some) * count // max(some, 1)


def upright_box(points: np.ndarray) -> Box:
    """The box of smallest ground area around (N, 3) points, without the outermost BOX_TRIM at each end of
    each axis.
    """
    along = np.ascontiguousarray(points[spread(len(points))].T)
    middle = along.mean(1, dtype=np.float64)
    x, y, z = along = (along - middle[:, None]).astype(np.float32)
    _, (width, height), angle = cv2.minAreaRect(np.ascontiguousarray(along[:2].T))
    yaw = np.deg2rad(angle if width >= height else angle + 90)
    c, s = np.cos(yaw), np.sin(yaw)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    ordered = np.sort([np.float32(c) * x + np.float32(s) * y, np.float32(c) * y - np.float32(s) * x, z])
    trim = round(BOX_TRIM * (len(z) - 1))
    low, high = ordered[:, [trim, len(z) - 1 - trim]].T.astype(np.float64)
    return Box(middle + R @ ((low + high) / 2), R, high - low)


def point_on(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The point of (N, 3) nearest to their weighted mean: a centroid that lies on a hollow or bent object
    too.
    """
    along = np.ascontiguousarray(points.T)
    away = along - (along @ weights / weights.sum())[:, None]
    return points[np.einsum("cn,cn->n", away, away).argmin()].astype(np.float64)
