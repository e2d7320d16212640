"""Smooth errors of depth, found together with the poses: bundle adjustment of a window whose pointmaps may bend.

A network's errors of depth are smooth over an image and differ from image to image. All matches of a pair share them, so
poses that take the depth for true are wrong by more than the matches' noise. Here a coarse grid over each image, bilinear
between its nodes, is the logarithm of a factor on its depth; grids, poses and scales together bring the rays and distances
of a window's matches to agree. What no match asks for stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import Edge, pose_table, stacked
from sab3r_ros.mapping.compiled import library

ROWS, COLUMNS = 6, 8  # nodes over an image
NODE_SIGMA, STEP_SIGMA = 0.1, 0.03  # expected log factor at a node, and its difference between neighbours
MEAN_SIGMA = 1e-3  # a grid has no mean: that is the keyframe's scale
RAY_SIGMA_RAD, LOG_DEPTH_SIGMA = 0.006, 0.07  # of matches, once pointmaps are bent
STEPS = 8
LEAST_GAIN = 1e-3  # of the cost: a smaller one ends it
MEMORY = 20  # windows that a network's bending is the mean of


@dataclass(frozen=True)
class PixelEdge(Edge):
    """An edge with its matches' pixels (u, v), (M, 2) each. size: (h, w) of both images."""

    uv_i: np.ndarray
    uv_j: np.ndarray
    size: tuple[int, int]


class Bending:
    """How far a network's pointmaps are from true: a factor on the variance of `prior`, learned from window to window."""

    def __init__(self) -> None:
        self.variance, self._windows = 1.0, 0

    def update(self, grids: np.ndarray, covariances: np.ndarray) -> None:
        """A step of expectation-maximisation: grids (K, nodes), K ≥ 1, are known to covariances (K, nodes, nodes)."""
        size = np.einsum("kn,nm,km->", grids, prior(), grids) + np.einsum("nm,knm->", prior(), covariances)
        self._windows = min(self._windows + 1, MEMORY)
        self.variance += (size / grids.size - self.variance) / self._windows


def bend(
    poses: dict[int, Sim3],
    edges: list[PixelEdge],
    fixed: set[int],
    loose: set[int],
    bending: Bending,
    config: AlignmentConfig,
) -> tuple[dict[int, Sim3], dict[int, np.ndarray]]:
    """Poses, and a grid (ROWS, COLUMNS) of log factors on depth for each of the keyframes `loose`, at least one.

    poses: T_Wk, a start near the end. edges: between these keyframes. fixed: keep their poses (at least one). The others'
    scales are drawn to their starts as in `refine`.
    """
    looks = stacked(edges)
    seeing = np.concatenate([place(uv, e.size) for e in edges for uv in (e.uv_i, e.uv_j)], 1)
    seen = np.concatenate([place(uv, e.size) for e in edges for uv in (e.uv_j, e.uv_i)], 1)
    row = {k: n for n, k in enumerate(poses)}
    pairs = looks.rows(poses)
    may_bend = [row[k] for k in poses if k in loose]
    count, block = len(poses), 7 + ROWS * COLUMNS
    free = np.zeros((count, block), bool)
    free[[row[k] for k in poses if k not in fixed], :7] = True
    free[may_bend, 7:] = True
    free = np.flatnonzero(free)
    weight = np.zeros((count, block, count, block))  # of what is expected before any match is seen
    for n in range(count):
        weight[n, 7:, n, 7:] = prior() / bending.variance
        weight[n, 6, n, 6] = config.scale_prior**-2
    weight = weight.reshape(count * block, -1)[np.ix_(free, free)]
    start = np.zeros((count, block))
    start[:, 6] = log_scales(poses)
    grids, damping, least, kept = np.zeros((count, block - 7)), 1e-4, np.inf, None
    for _ in range(STEPS):
        A, b, cost = np.zeros((count * block, count * block)), np.zeros(count * block), np.empty(1)
        library().grid_equations(
            *(pose_table(poses), count, grids, ROWS, COLUMNS, pairs, looks.ends, len(looks.pairs)),
            *(looks.rays, looks.log_distance, looks.points, looks.weight, seeing, seen, len(looks.weight)),
            *(RAY_SIGMA_RAD, LOG_DEPTH_SIGMA, config.robust_width, A, b, cost),
        )
        now = np.concatenate([np.zeros((count, 6)), log_scales(poses)[:, None], grids], 1)
        off = (now - start).ravel()[free]
        A, b = (A + A.T)[np.ix_(free, free)] + weight, b[free] - weight @ off
        cost = float(cost[0] + off @ weight @ off)
        if cost > least:  # the last step made it worse: take it back, go more carefully
            (poses, grids, A, b), damping = kept, damping * 10
        elif least - cost < LEAST_GAIN * cost:
            break
        else:
            least, damping, kept = cost, max(damping / 3, 1e-7), (poses, grids, A, b)
        step = np.zeros((count, block))
        step.ravel()[free] = cho_solve(cho_factor(A + damping * np.diag(np.diag(A))), b)
        poses = {k: T if k in fixed else Sim3.step(step[row[k], :7]) @ T for k, T in poses.items()}
        grids = grids + step[:, 7:]
    poses, grids, A, _ = kept
    inverse = np.zeros((count * block, count * block))
    inverse[np.ix_(free, free)] = cho_solve(cho_factor(A), np.eye(len(free)))
    inverse = inverse.reshape(count, block, count, block)
    bending.update(grids[may_bend], np.stack([inverse[n, 7:, n, 7:] for n in may_bend]))
    return poses, {k: grids[row[k]].reshape(ROWS, COLUMNS) for k in poses if k in loose}


def log_scales(poses: dict[int, Sim3]) -> np.ndarray:
    return np.log([T.s for T in poses.values()])


@cache
def prior() -> np.ndarray:
    """Inverse covariance (nodes, nodes) of a grid."""
    nodes = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    rows = [np.eye(nodes.size) / NODE_SIGMA, np.full((1, nodes.size), 1 / nodes.size / MEAN_SIGMA)]
    for a, b in ((nodes[1:], nodes[:-1]), (nodes[:, 1:], nodes[:, :-1])):
        rows.append((np.eye(nodes.size)[a.ravel()] - np.eye(nodes.size)[b.ravel()]) / STEP_SIGMA)
    J = np.concatenate(rows)
    return J.T @ J


def place(uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (M, 2) of an image (h, w) → (2, M) columns and rows of its grid."""
    h, w = size
    return np.ascontiguousarray((uv * [(COLUMNS - 1) / (w - 1), (ROWS - 1) / (h - 1)]).T)


def factors(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) factors of depth."""
    down, across = (
        np.maximum(1 - np.abs(np.linspace(0, nodes - 1, pixels)[:, None] - np.arange(nodes)), 0)
        for nodes, pixels in zip(grid.shape, size, strict=True)
    )
    return np.exp(down @ grid @ across.T)
