"""Poses from matches: where keyframes stand so that their own-frame pointmaps agree along rays and in depth.

A match says that pixel a of view i and pixel b of view j are one point. Its residuals are the directions in which each
camera sees the other's point, which good matches know well, and the ratio of the distances, which a pointmap knows less
well (rays beat raw 3D distances: a pointmap's error lies along its rays).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3, skew, umeyama

PAIR_MATCHES = 200  # or a few more settle a pair; the window then takes all


@dataclass(frozen=True)
class Edge:
    """Matched points of two keyframes. Xi, Xj: (M, 3) each in its own camera frame. weight: (M,) > 0, mean about 1."""

    i: int
    j: int
    Xi: np.ndarray
    Xj: np.ndarray
    weight: np.ndarray

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

    depth_error: their median absolute log ratio of distances, which says how good the two pointmaps are.
    """

    T_ij: Sim3
    inliers: float
    count: int
    depth_error: float


def row_norm(X: np.ndarray) -> np.ndarray:
    """(..., 3) → (...), not less than 1e-9. Three times as fast as NumPy's."""
    return np.sqrt(np.maximum(np.einsum("...k,...k->...", X, X), 1e-18))


def unit(X: np.ndarray) -> np.ndarray:
    return X / row_norm(X)[..., None]


def align_pair(edge: Edge, config: AlignmentConfig, rng: np.random.Generator) -> PairAlignment | None:
    """Robust Sim(3) between two keyframes: RANSAC over three-point similarities, then refinement on rays and depth ratios.

    None if there are fewer than `min_matches`, or fewer than that many agree, or too small a share.
    """
    m = len(edge.weight)
    if m < config.min_matches:
        return None
    p = edge.weight / edge.weight.sum()
    sets = rng.choice(m, (config.hypotheses, 3), p=p)
    s, R, t = umeyama(edge.Xj[sets], edge.Xi[sets])
    # Score on some of the matches: both cameras see the other's point in the matched direction, at a plausible distance.
    some = rng.choice(m, min(m, config.scored_matches), replace=False)
    Xi, Xj, turn = (A.astype(np.float32) for A in (edge.Xi[some].T, edge.Xj[some].T, R))
    there = turned(s[:, None, None].astype(np.float32) * turn, Xj) + t.T[:, :, None].astype(np.float32)
    back = turned(turn.transpose(0, 2, 1), Xi)  # but for its length
    back -= np.einsum("hki,hk->ih", turn, t.astype(np.float32))[:, :, None]
    far, seen, square = dot(there, there), dot(Xi, Xi), np.float32(np.cos(config.inlier_angle_rad) ** 2)
    agree = np.abs(np.log(far / seen)) < 2 * config.inlier_log_ratio
    for ray, length, X, distance in ((there, far, Xi, seen), (back, dot(back, back), Xj, dot(Xj, Xj))):
        along = dot(ray, X[:, None])
        agree &= (along > 0) & (along**2 > square * length * distance)
    scale_ok = np.abs(np.log(np.maximum(s, 1e-9))) < config.max_log_scale
    best = int(np.where(scale_ok, (agree * edge.weight[some]).sum(1), -1).argmax())
    start = Sim3(float(s[best]), R[best], t[best])
    if agree[best].sum() * m / len(some) < config.min_matches / 2:
        return None
    part = slice(None, None, max(m // PAIR_MATCHES, 1))
    thinned = Edge(edge.i, edge.j, edge.Xi[part], edge.Xj[part], edge.weight[part])
    poses = refine({edge.i: Sim3.identity(), edge.j: start}, [thinned], {edge.i}, config)
    T_ij = poses[edge.j]
    good, ratio = agreement(T_ij, edge, config)
    if good.sum() < config.min_matches or good.mean() < config.min_inliers:
        return None
    return PairAlignment(T_ij, float(good.mean()), int(good.sum()), float(np.median(ratio[good])))


def agreement(T_ij: Sim3, edge: Edge, config: AlignmentConfig) -> tuple[np.ndarray, np.ndarray]:
    """(M,) bool: matches whose points agree in both directions and in distance; (M,) log ratios of distance, absolute."""
    q, back = T_ij.apply(edge.Xj), T_ij.inverse().apply(edge.Xi)
    cos = np.minimum((unit(q) * unit(edge.Xi)).sum(-1), (unit(back) * unit(edge.Xj)).sum(-1))
    ratio = np.abs(np.log(row_norm(q) / row_norm(edge.Xi)))
    return (cos > np.cos(config.inlier_angle_rad)) & (ratio < config.inlier_log_ratio), ratio


def refine(
    poses: dict[int, Sim3], edges: Iterable[Edge], fixed: set[int], config: AlignmentConfig
) -> dict[int, Sim3]:
    """Joint robust Gauss-Newton (Levenberg-Marquardt damped) over all keyframes' similarities.

    poses: T_Wk of each keyframe, a start. fixed: keyframes that stay (at least one, or the gauge is free). Each free
    keyframe's scale is drawn weakly to its start's (`scale_prior`), because a network trained on metric data guesses
    scale better than a long chain of ratios carries it.
    """
    free = [k for k in poses if k not in fixed]
    column = {k: 7 * n for n, k in enumerate(free)}
    looks = stacked(e for e in edges if e.i in column or e.j in column)
    start = dict(poses)
    damping, cost = 1e-4, np.inf
    current = previous = dict(poses)
    kept = None
    for _ in range(config.refine_steps):
        A, b, new_cost = normal_equations(current, looks, column, config)
        for k, c in column.items():
            pull = np.log(current[k].s / start[k].s) / config.scale_prior
            A[c + 6, c + 6] += 1 / config.scale_prior**2
            b[c + 6] -= pull / config.scale_prior
            new_cost += pull**2
        if new_cost > cost:  # the last step made it worse: take it back, go more carefully
            current, damping = previous, damping * 10
            if damping > 1e3:
                break
            A, b = kept
        else:
            if cost - new_cost < 1e-4 * new_cost:
                break
            cost, damping = new_cost, max(damping / 3, 1e-7)
            previous, kept = current, (A, b)
        delta = np.linalg.solve(A + damping * np.diag(np.diag(A) + 1e-9), b)
        current = {
            k: Sim3.step(delta[column[k] : column[k] + 7]) @ T if k in column else T
            for k, T in current.items()
        }
    return current


@dataclass(frozen=True)
class Looks:
    """Many `Look`s side by side. parts: who looks, at whose points, and their columns. N matches in all, weight (N,)."""

    parts: tuple[tuple[int, int, slice], ...]
    rays: np.ndarray
    log_distance: np.ndarray
    points: np.ndarray
    weight: np.ndarray


def stacked(edges: Iterable[Edge]) -> Looks:
    """At least one edge."""
    looks, weights = zip(*((look, e.weight) for e in edges for look in e.looks), strict=True)
    ends = np.cumsum([0, *map(len, weights)]).tolist()
    return Looks(
        tuple((s.i, s.j, slice(a, b)) for s, a, b in zip(looks, ends[:-1], ends[1:], strict=True)),
        np.concatenate([s.rays for s in looks], 1),
        np.concatenate([s.log_distance for s in looks]),
        np.concatenate([s.points for s in looks], 1),
        np.concatenate(weights),
    )


def normal_equations(
    poses: dict[int, Sim3], looks: Looks, column: dict[int, int], config: AlignmentConfig
) -> tuple[np.ndarray, np.ndarray, float]:
    """A, b of A δ = b and the robust cost; δ = (rotation, translation, log scale) perturbs free keyframes from the left."""
    p, rays, eye = np.ones((4, len(looks.weight))), np.empty_like(looks.rays), np.empty_like(looks.rays)
    log_distance = looks.log_distance.copy()
    for i, j, part in looks.parts:
        p[:3, part] = poses[j].s * poses[j].R @ looks.points[:, part] + poses[j].t[:, None]
        rays[:, part], eye[:, part] = poses[i].R @ looks.rays[:, part], poses[i].t[:, None]
        log_distance[part] += np.log(poses[i].s)
    to_p = p[:3] - eye
    length = np.sqrt(np.maximum(dot(to_p, to_p), 1e-18))
    u = to_p / length  # where camera i sees j's point, in world axes
    ray = (u - rays) / config.ray_sigma_rad
    depth = (np.log(length) - log_distance) / config.log_depth_sigma
    square = dot(ray, ray) + depth**2
    kernel = 1 / (1 + square / config.robust_width**2)  # Geman-McClure's, its square root
    cost = float(looks.weight @ (square * kernel))
    w = looks.weight * kernel**2
    # dp/dδ_j = D = [−[p]×, I, p] and dp/dδ_i = −D; a residual across u is α dp, one along it β dp. So with Dᵀu = `along`
    # their part of A is Dᵀ (α² (I − u uᵀ) + β² u uᵀ) D = α² Dᵀ D + (β² − α²) along alongᵀ, and Dᵀ D only has moments of p.
    alpha, beta = 1 / (length * config.ray_sigma_rad), 1 / (length * config.log_depth_sigma)
    along = np.stack([*cross(p, u), *u, dot(p[:3], u)])
    squares, bent = p * (w * alpha**2), along * (w * (beta**2 - alpha**2))
    pull = (ray - u * dot(ray, u)) * (w * alpha) + u * (w * depth * beta)
    n = 7 * len(column)
    A, b = np.zeros((n, n)), np.zeros(n)
    for i, j, part in looks.parts:
        H = point_jacobian_product(squares[:, part] @ p[:, part].T) + bent[:, part] @ along[:, part].T
        G = (
            p[:, part] @ pull[:, part].T
        )  # (4, 3): its antisymmetric part turns, its trace scales, its last row shifts
        g = np.array([G[1, 2] - G[2, 1], G[2, 0] - G[0, 2], G[0, 1] - G[1, 0], *G[3], np.trace(G[:3])])
        for k, sign in ((j, 1.0), (i, -1.0)):
            if k in column:
                c = column[k]
                A[c : c + 7, c : c + 7] += H
                b[c : c + 7] -= sign * g
        if i in column and j in column:
            ci, cj = column[i], column[j]
            A[ci : ci + 7, cj : cj + 7] -= H
            A[cj : cj + 7, ci : ci + 7] -= H.T
    return A, b, cost


def point_jacobian_product(M: np.ndarray) -> np.ndarray:
    """(7, 7) sum of Dᵀ D with D = [−[p]×, I, p], from the (4, 4) moments M of (p, 1)."""
    square = np.trace(M[:3, :3])
    H = np.zeros((7, 7))
    H[:3, :3] = square * np.eye(3) - M[:3, :3]
    H[:3, 3:6], H[3:6, :3] = skew(M[:3, 3]), skew(M[:3, 3]).T
    H[3:6, 3:6] = M[3, 3] * np.eye(3)
    H[3:6, 6] = H[6, 3:6] = M[:3, 3]
    H[6, 6] = square
    return H


def turned(R: np.ndarray, X: np.ndarray) -> np.ndarray:
    """(H, 3, 3), (3, N) → (3, H, N): every point by every matrix, in one product."""
    return (R.transpose(1, 0, 2).reshape(-1, 3) @ X).reshape(3, len(R), -1)


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3, ...), (3, ...) → (...)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(3, N), (3, N) → its three rows. NumPy's takes five times as long."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
