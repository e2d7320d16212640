"""Likely voxels → objects: connected pieces, each with an upright box and a centroid that lies on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Half of the 26 neighbours of a cell; the other half are these seen from the other side.
HALF_NEIGHBOURS = np.array(
    [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)][14:], np.int64
)
BOX_POINTS = 10_000  # more of them do not move a box
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
    cell = np.floor(points / cell_m).astype(np.int64)
    cell -= cell.min(0) - 1
    extent = cell.max(0) + 2
    step = np.array([extent[1] * extent[2], extent[2], 1])
    keys, inverse = np.unique(cell @ step, return_inverse=True)
    first, second = [], []
    for offset in HALF_NEIGHBOURS @ step:
        place = np.minimum(np.searchsorted(keys, keys + offset), len(keys) - 1)
        hit = np.flatnonzero(keys[place] == keys + offset)
        first.append(hit)
        second.append(place[hit])
    rows, columns = np.concatenate(first), np.concatenate(second)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), (len(keys), len(keys)))
    return connected_components(graph, directed=False)[1][inverse.ravel()].astype(np.int32)


def without_crumbs(
    parts: list[np.ndarray], points: np.ndarray, least: int, min_part: float, reach_m: float
) -> list[np.ndarray]:
    """Parts (rows of points (N, 3)) that are things: at least `least` points, and no crumbs.

    A crumb has fewer points than min_part of a larger part, and lies within reach_m of it, as boxes along the axes: a
    piece that something in front has cut off, or an edge of another thing.
    """
    large = sorted((p for p in parts if len(p) >= least), key=len, reverse=True)
    lows, highs = [points[p].min(0) for p in large], [points[p].max(0) for p in large]
    kept: list[int] = []
    for k, part in enumerate(large):
        gaps = [np.maximum(0, np.maximum(lows[j] - highs[k], lows[k] - highs[j])).max() for j in kept]
        near = (
            len(part) < min_part * len(large[j]) and gap <= reach_m for j, gap in zip(kept, gaps, strict=True)
        )
        if not any(near):
            kept.append(k)
    return [large[k] for k in kept]


def upright_box(points: np.ndarray) -> Box:
    """The box of smallest ground area around (N, 3) points, without the outermost BOX_TRIM at each end of
    each axis.
    """
    points = points[:: max(1, len(points) // BOX_POINTS)].astype(np.float64)
    middle = points.mean(0)
    (_, (width, height), angle) = cv2.minAreaRect((points[:, :2] - middle[:2]).astype(np.float32))
    yaw = np.deg2rad(angle if width >= height else angle + 90)
    c, s = np.cos(yaw), np.sin(yaw)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    low, high = np.quantile((points - middle) @ R, [BOX_TRIM, 1 - BOX_TRIM], axis=0)
    return Box(middle + R @ ((low + high) / 2), R, high - low)


def point_on(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The point of (N, 3) nearest to their weighted mean: a centroid that lies on a hollow or bent object
    too.
    """
    mean = weights @ points / weights.sum()
    return points[np.argmin(((points - mean) ** 2).sum(1))].astype(np.float64)


def top_mean(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Weighted mean of the highest `share` of values, at least one."""
    top = np.argsort(values)[-max(1, int(np.ceil(share * len(values)))) :]
    return float(weights[top] @ values[top] / weights[top].sum())
