"""Poses from matches: where keyframes stand so that their own-frame pointmaps agree along rays and in depth.

A match says that pixel a of view i and pixel b of view j are one point. Its residuals are the directions in which each
camera sees the other's point, which good matches know well, and the ratio of the distances, which a pointmap knows less
well (rays beat raw 3D distances: a pointmap's error lies along its rays).

The noise: a match's ray is known to σr = `ray_sigma_rad` in every direction, each of its two log distances to σd =
`log_depth_sigma`. Camera i, in whose frame that of j is at b, sees j's point in the direction u at the distance d. Were that
point farther from j by the factor exp ε, it would move by ε (d u − b): its direction by ε a, a = −(I − u uᵀ) b / d, its log
distance by ε g, g = 1 − u·b / d. So the residuals r = (u − ray of i, log d − log distance of i) have the covariance

    D + σd² v vᵀ,    D = diag(σr², σr², σr², σd²),    v = (a, g),

and a look at a match misses by rᵀ D⁻¹ r − (vᵀ D⁻¹ r)² / (σd⁻² + vᵀ D⁻¹ v) (Sherman-Morrison), called its misfit. Along the
epipolar line, where a says that the distance may be to blame, a ray counts for little; across it, for all it is worth. A match
agrees if the mean misfit of its two looks is less than `robust_width`².
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.compiled import best_similarity, library

LEAST_RAY_SIGMA_RAD, LEAST_LOG_DEPTH_SIGMA = 0.002, 0.02  # residuals of few matches may be small by chance
CHANCE = 10.0  # how much less often a wrong match agrees than a right one
CELL_RAD = 0.2  # matches that a camera sees closer together err alike
PAIR_MATCHES = 200  # or a few more settle a pair; the window then takes all


@dataclass(frozen=True)
class Edge:
    """Matched points of two keyframes. Xi, Xj: (M, 3) each in its own camera frame. probability: (M,) of being right."""

    i: int
    j: int
    Xi: np.ndarray
    Xj: np.ndarray
    probability: np.ndarray

    @cached_property
    def weight(self) -> np.ndarray:
        """(M,) in 0..1, how probable the matches are where they agree."""
        return CHANCE * self.probability / (1 + (CHANCE - 1) * self.probability)

    @cached_property
    def looks(self) -> tuple[Look, Look]:
        """Both ways to look at it."""
        return look(self.i, self.j, self.Xi, self.Xj), look(self.j, self.i, self.Xj, self.Xi)


@dataclass(frozen=True)
class Look:
    """Camera i sees points (3, M) of j's pointmap along its own unit rays (3, M), at distances by their logarithm (M,)."""

    i: int
    j: int
    rays: np.ndarray
    log_distance: np.ndarray
    points: np.ndarray


def look(i: int, j: int, Xi: np.ndarray, Xj: np.ndarray) -> Look:
    distance = row_norm(Xi)
    return Look(
        i, j, np.ascontiguousarray((Xi / distance[:, None]).T), np.log(distance), np.ascontiguousarray(Xj.T)
    )


@dataclass(frozen=True)
class PairAlignment:
    """T_ij takes points of j into i's frame. inliers: share of matches that agree. count: how many those are.

    covariance (7, 7): of T_ij's errors, T_ij exp(ξ) being the truth, ξ = (rotation, translation, log scale) in j's frame.
    """

    T_ij: Sim3
    inliers: float
    count: int
    covariance: np.ndarray


def row_norm(X: np.ndarray) -> np.ndarray:
    """(..., 3) → (...), not less than 1e-9. Three times as fast as NumPy's."""
    return np.sqrt(np.maximum(np.einsum("...k,...k->...", X, X), 1e-18))


def align_pair(edge: Edge, config: AlignmentConfig, rng: np.random.Generator) -> PairAlignment | None:
    """Robust Sim(3) between two keyframes: RANSAC over three-point similarities, then refinement on rays and depth ratios.

    None if there are fewer than `min_matches`, or fewer than that many agree, or too small a share.
    """
    if len(edge.probability) < config.min_matches:
        return None
    return align_with(edge, hypotheses(edge, config, rng), config, rng)


def hypotheses(edge: Edge, config: AlignmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Three matches each, (H, 3), drawn by their probability."""
    p = edge.probability / edge.probability.sum()
    return rng.choice(len(p), (config.hypotheses, 3), p=p)


def align_with(
    edge: Edge, sets: np.ndarray, config: AlignmentConfig, rng: np.random.Generator
) -> PairAlignment | None:
    """As `align_pair`, from similarities of given sets (H, 3) of matches."""
    m = len(edge.probability)
    some = rng.choice(m, min(m, config.scored_matches), replace=False)
    start, agreeing = best_similarity(
        *(edge.Xi, edge.Xj, edge.weight, sets, some),
        *(config.ray_sigma_rad, config.log_depth_sigma, config.robust_width, config.max_log_scale),
    )
    if agreeing * m / len(some) < config.min_matches / 2:
        return None
    return align_from(start, edge, config)


def align_from(T_ij: Sim3, edge: Edge, config: AlignmentConfig) -> PairAlignment | None:
    """As `align_pair`, from a pose near it."""
    poses = refine({edge.i: Sim3.identity(), edge.j: T_ij}, [thinned(edge)], {edge.i}, config)
    return measured(poses[edge.j], edge, config)


def thinned(edge: Edge) -> Edge:
    """Every so many of its matches: enough to settle a pair, to a start for what takes all."""
    part = slice(None, None, max(len(edge.probability) // PAIR_MATCHES, 1))
    return Edge(edge.i, edge.j, edge.Xi[part], edge.Xj[part], edge.probability[part])


def measured(T_ij: Sim3, edge: Edge, config: AlignmentConfig) -> PairAlignment | None:
    """What all matches of a pair say near T_ij: one Gauss-Newton step from there, and how sure they are of it.

    Their errors are taken to be as large, and as alike within a cell of the image, as the residuals of those that agree are:
    of rays, across the epipolar lines. So the sum over
    many pairs of ξᵀ covariance⁻¹ ξ with ξ = log (T_ij⁻¹ T) is, near its least, that of all their matches' residuals but for
    one factor a pair: a pose graph of such edges is bundle adjustment at the price of a pose graph. None as for `align_pair`.
    """
    m = len(edge.probability)
    fewest = max(config.min_matches, int(np.ceil(config.min_inliers * m)))
    A, pull, scatter, cells = np.empty((7, 7)), np.empty(7), np.empty((7, 7)), np.empty(1, np.int64)
    count = library().pair_equations(
        *(pose_table({edge.j: T_ij}), edge.Xi, edge.Xj, edge.weight, m),
        *(config.ray_sigma_rad, config.log_depth_sigma, config.robust_width, fewest),
        *(LEAST_RAY_SIGMA_RAD, LEAST_LOG_DEPTH_SIGMA, CELL_RAD, A, pull, scatter, cells),
    )
    if count < fewest:
        return None
    inverse = np.linalg.inv(A)
    T_ij = Sim3.step(inverse @ pull) @ T_ij
    adjoint = T_ij.inverse().adjoint()
    covariance = dispersion(scatter, inverse, int(cells[0])) * adjoint @ inverse @ adjoint.T
    return PairAlignment(T_ij, count / m, count, covariance)


def dispersion(scatter: np.ndarray, inverse: np.ndarray, cells: int) -> float:
    """By how much an estimate's variance exceeds `inverse` (7, 7), what it would be if each look at a match erred for itself.

    Errors of depth, of the lens and of matches are alike within a part of the image: many matches there are worth few. So
    only the sums of whole cells count as independent, of which scatter (7, 7) is the second moment (cluster-robust
    covariance: Liang, Zeger, Biometrika 1986): by how much they scatter more, on average over all directions, for a few
    cells tell no more than that.
    """
    n = len(inverse)
    return float(np.einsum("kl,kl->", inverse, scatter)) / n * cells / max(cells - n, cells / 2)


def refine(
    poses: dict[int, Sim3], edges: Iterable[Edge], fixed: set[int], config: AlignmentConfig
) -> dict[int, Sim3]:
    """Joint robust Gauss-Newton (Levenberg-Marquardt damped) over all keyframes' similarities.

    poses: T_Wk of each keyframe, a start. fixed: keyframes that stay (at least one, or the gauge is free). Each free
    keyframe's scale is drawn weakly to its start's (`scale_prior`), because a network trained on metric data guesses
    scale better than a long chain of ratios carries it.
    """
    return refined(poses, edges, fixed, config)[0]


def refined(
    poses: dict[int, Sim3], edges: Iterable[Edge], fixed: set[int], config: AlignmentConfig
) -> tuple[dict[int, Sim3], float]:
    """As `refine`, and the least cost: the sum of what is left of the matches' misfits, robustly."""
    cost = np.empty(1)
    looks, table = stacked(e for e in edges if {e.i, e.j} - fixed), pose_table(poses)
    library().refine(
        *(
            table,
            len(poses),
            np.array([k in fixed for k in poses]),
            looks.rows(poses),
            looks.ends,
            len(looks.pairs),
        ),
        *(looks.rays, looks.log_distance, looks.points, looks.weight, len(looks.weight)),
        *(config.ray_sigma_rad, config.log_depth_sigma, config.robust_width, config.scale_prior),
        *(config.refine_steps, cost),
    )
    moved = {
        k: Sim3(T[0], T[1:10].reshape(3, 3), T[10:])
        for k, T in zip(poses, table, strict=True)
        if k not in fixed
    }
    return poses | moved, float(cost[0])


@dataclass(frozen=True)
class Looks:
    """Many `Look`s side by side, N matches in all. pairs: (P, 2) int64, who looks, at whose points. ends: (P + 1,) int64,
    where the matches of each begin. rays, points: (3, N). log_distance, weight: (N,).
    """

    pairs: np.ndarray
    ends: np.ndarray
    rays: np.ndarray
    log_distance: np.ndarray
    points: np.ndarray
    weight: np.ndarray

    def rows(self, poses: Iterable[int]) -> np.ndarray:
        """The pairs as places in the order of these keyframes."""
        row = {k: n for n, k in enumerate(poses)}
        return np.array([row[k] for k in self.pairs.ravel().tolist()], np.int64)


def stacked(edges: Iterable[Edge]) -> Looks:
    """At least one edge."""
    looks, weights = zip(*((look, e.weight) for e in edges for look in e.looks), strict=True)
    return Looks(
        np.array([(s.i, s.j) for s in looks], np.int64),
        np.cumsum([0, *map(len, weights)]),
        np.concatenate([s.rays for s in looks], 1),
        np.concatenate([s.log_distance for s in looks]),
        np.concatenate([s.points for s in looks], 1),
        np.concatenate(weights),
    )


def pose_table(poses: dict[int, Sim3]) -> np.ndarray:
    """(K, 13): s, R, t."""
    return np.array([(T.s, *T.R.ravel().tolist(), *T.t.tolist()) for T in poses.values()])
