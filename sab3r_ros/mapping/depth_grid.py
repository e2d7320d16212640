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
# Of matches, once pointmaps are bent; what is left of depth between the nodes, many matches share.
RAY_SIGMA_RAD, LOG_DEPTH_SIGMA = 0.003, 0.15
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
    problem = Problem(poses, edges, fixed, loose, bending.variance, config)
    grids, damping, least, kept = np.zeros((len(poses), ROWS * COLUMNS)), 1e-4, np.inf, None
    for _ in range(STEPS):
        A, b, cost = problem.equations(poses, grids)
        if cost > least:  # the last step made it worse: take it back, go more carefully
            (poses, grids, A, b), damping = kept, damping * 10
        elif least - cost < LEAST_GAIN * cost:
            break
        else:
            least, damping, kept = cost, max(damping / 3, 1e-7), (poses, grids, A, b)
        turn, bent = problem.step(A, b, damping)
        poses = {k: T if k in fixed else Sim3.step(turn[n]) @ T for n, (k, T) in enumerate(poses.items())}
        grids = grids + bent
    poses, grids, A, _ = kept
    may_bend = [n for n, k in enumerate(poses) if k in loose]
    bending.update(grids[may_bend], problem.covariances(A)[may_bend])
    return poses, {k: grid.reshape(ROWS, COLUMNS) for k, grid in zip(poses, grids, strict=True) if k in loose}


class Problem:
    """What matches, and what is expected before any is seen, ask of poses and grids: Gauss-Newton's equations.

    The unknowns of a keyframe are a step of its pose (7), then its grid's nodes. Arguments as of `bend`.
    """

    def __init__(
        self,
        poses: dict[int, Sim3],
        edges: list[PixelEdge],
        fixed: set[int],
        loose: set[int],
        variance: float,
        config: AlignmentConfig,
    ) -> None:
        self.looks, self.robust_width = stacked(edges), config.robust_width
        self.pairs = self.looks.rows(poses)
        self.seeing = np.concatenate([place(uv, e.size) for e in edges for uv in (e.uv_i, e.uv_j)], 1)
        self.seen = np.concatenate([place(uv, e.size) for e in edges for uv in (e.uv_j, e.uv_i)], 1)
        self.shape = count, block = len(poses), 7 + ROWS * COLUMNS
        self.scales = log_scales(poses)
        free = np.zeros(self.shape, bool)
        free[[k not in fixed for k in poses], :7] = True
        free[[k in loose for k in poses], 7:] = True
        self.free = np.flatnonzero(free)
        weight = np.zeros((count, block, count, block))  # of what is expected
        for n in range(count):
            weight[n, 7:, n, 7:] = prior() / variance
            weight[n, 6, n, 6] = config.scale_prior**-2
        self.weight = weight.reshape(count * block, -1)[np.ix_(self.free, self.free)]

    def equations(self, poses: dict[int, Sim3], grids: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """A (F, F) and b (F,) of the step A x = b of the F free unknowns, and the cost here."""
        (count, block), looks = self.shape, self.looks
        A, b, cost = np.zeros((count * block, count * block)), np.zeros(count * block), np.empty(1)
        library().grid_equations(
            *(pose_table(poses), count, grids, ROWS, COLUMNS, self.pairs, looks.ends, len(looks.pairs)),
            *(looks.rays, looks.log_distance, looks.points, looks.weight),
            *(self.seeing, self.seen, len(looks.weight)),
            *(RAY_SIGMA_RAD, LOG_DEPTH_SIGMA, self.robust_width, A, b, cost),
        )
        off = np.concatenate([np.zeros((count, 6)), (log_scales(poses) - self.scales)[:, None], grids], 1)
        off = off.ravel()[self.free]
        A = (A + A.T)[np.ix_(self.free, self.free)] + self.weight
        return A, b[self.free] - self.weight @ off, float(cost[0] + off @ self.weight @ off)

    def step(self, A: np.ndarray, b: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
        """Steps of all poses (K, 7) and grids (K, nodes), zero where they are not free."""
        step = np.zeros(self.shape)
        step.ravel()[self.free] = cho_solve(cho_factor(A + damping * np.diag(np.diag(A))), b)
        return step[:, :7], step[:, 7:]

    def covariances(self, A: np.ndarray) -> np.ndarray:
        """(K, nodes, nodes) of each grid, zero of those that may not bend."""
        count, block = self.shape
        inverse = np.zeros((count * block, count * block))
        inverse[np.ix_(self.free, self.free)] = cho_solve(cho_factor(A), np.eye(len(self.free)))
        inverse = inverse.reshape(count, block, count, block)
        return np.stack([inverse[n, 7:, n, 7:] for n in range(count)])


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
    """(h, w) float32 factors of depth."""
    down, across = (
        np.maximum(1 - np.abs(np.linspace(0, nodes - 1, pixels)[:, None] - np.arange(nodes)), 0)
        for nodes, pixels in zip(grid.shape, size, strict=True)
    )
    return np.exp((down @ grid @ across.T).astype(np.float32))
