"""Likely voxels → objects: connected pieces, each with an upright box and a centroid that lies on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.querying.cells import cell_numbers
from sab3r_ros.querying.compiled import pieces

MOST_POINTS = 3989  # of an object, spread over it, tell its box and its place; a prime, so that no row of voxels is skipped
BOX_TRIM = 0.01  # share of an object's points at each end of an axis that its box leaves out


@dataclass(frozen=True)
class Box:
    """Upright oriented box. center (3,) metres, R (3, 3) axes as columns with the third +z, size (3,)
    metres, longest side first.
    """

    center: np.ndarray
    R: np.ndarray
    size: np.ndarray


def connected_pieces(points: np.ndarray, cell_m: float) -> np.ndarray:
    """(N, 3) points → (N,) int32 piece of each. Points are joined where their cells of cell_m touch,
    corners included.
    """
    if len(points) == 0:
        return np.zeros(0, np.int32)
    numbers, cell = np.unique(cell_numbers(points, cell_m), return_inverse=True)
    return pieces(numbers)[cell.ravel()]


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
    lows = np.array([points[p].min(0) for p in large])
    highs = np.array([points[p].max(0) for p in large])
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
    points = points[spread(len(points))].astype(np.float64)
    middle = points.mean(0)
    (_, (width, height), angle) = cv2.minAreaRect((points[:, :2] - middle[:2]).astype(np.float32))
    yaw = np.deg2rad(angle if width >= height else angle + 90)
    c, s = np.cos(yaw), np.sin(yaw)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    along, trim = np.sort(((points - middle) @ R).T), round(BOX_TRIM * (len(points) - 1))
    low, high = along[:, trim], along[:, len(points) - 1 - trim]
    return Box(middle + R @ ((low + high) / 2), R, high - low)


def point_on(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The point of (N, 3) nearest to their weighted mean: a centroid that lies on a hollow or bent object
    too.
    """
    mean = weights @ points / weights.sum()
    return points[np.argmin(((points - mean) ** 2).sum(1))].astype(np.float64)
