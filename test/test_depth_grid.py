"""Pointmaps that bend: the equations against a plain twin, smooth errors that are found, and none where there are none."""

from functools import partial

import numpy as np
import pytest

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import pose_table, refine, stacked
from sab3r_ros.mapping.compiled import library
from sab3r_ros.mapping.depth_grid import COLUMNS, ROWS, Bending, PixelEdge, bend, factors, place, prior

SIZE = (90, 120)
FOCAL = 100.0
T_WK = {
    0: Sim3.identity(),
    1: Sim3.exp(np.array([0.02, -0.08, 0.01, 0.5, 0.05, 0.02, 0.0])),
    2: Sim3.exp(np.array([-0.03, -0.15, 0.0, 0.9, -0.1, 0.1, 0.0])),
}
NODES = ROWS * COLUMNS


def smooth(seed: int, sigma: float) -> np.ndarray:
    """A grid without mean."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    grid = sum(c * f for c, f in zip(rng.normal(size=4), (x, y, x * y, x**2), strict=True))
    return sigma * (grid - grid.mean()) / grid.std()


def edges(
    errors: dict[int, np.ndarray], pixel_sigma: float = 0.0, seed: int = 0, count: int = 300
) -> list[PixelEdge]:
    """`count` matches of all pairs of views of a wavy wall, their pointmaps' depths times exp(errors)."""
    rng = np.random.default_rng(seed)
    X = np.stack([rng.uniform(-4, 5, 4000), rng.uniform(-3, 3, 4000), np.zeros(4000)], 1)
    X[:, 2] = 4 + np.sin(X[:, 0]) + 0.5 * np.cos(2 * X[:, 1])
    found = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        sides = []
        for k in (i, j):
            P = T_WK[k].inverse().apply(X)
            uv = P[:, :2] / P[:, 2:] * FOCAL + [SIZE[1] / 2, SIZE[0] / 2]
            sides.append((P, uv))
        inside = np.all([(uv > 1).all(1) & (uv < [SIZE[1] - 2, SIZE[0] - 2]).all(1) for _, uv in sides], 0)
        pick = np.flatnonzero(inside)[:count]
        points, pixels = [], []
        for k, (P, uv) in zip((i, j), sides, strict=True):
            uv = uv[pick] + pixel_sigma * rng.normal(size=(len(pick), 2))
            rays = np.concatenate([(uv - [SIZE[1] / 2, SIZE[0] / 2]) / FOCAL, np.ones((len(pick), 1))], 1)
            map_of = factors(errors[k], SIZE)
            c, r = uv.round().astype(int).T
            points.append(rays * (P[pick, 2] * map_of[r, c])[:, None])
            pixels.append(uv)
        found.append(PixelEdge(i, j, *points, np.ones(len(pick)), *pixels, SIZE))
    return found


def bilinear(grid: np.ndarray, uv: np.ndarray) -> np.ndarray:
    across, down = (
        np.maximum(1 - np.abs(x[:, None] - np.arange(n)), 0)
        for x, n in zip(place(uv, SIZE), (COLUMNS, ROWS), strict=True)
    )
    return np.einsum("mr,rc,mc->m", down, grid.reshape(ROWS, COLUMNS), across)


def error_deg(poses: dict[int, Sim3], k: int) -> float:
    R = poses[k].R.T @ T_WK[k].R
    return float(np.degrees(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1))))


def test_smooth_errors_are_found_and_the_poses_that_they_had_spoilt():
    errors = {k: smooth(k, 0.06) for k in T_WK}
    matches = edges(errors, pixel_sigma=0.3)
    start = refine(dict(T_WK), matches, {0}, AlignmentConfig())
    bending = Bending()
    poses, grids = bend(start, matches, {0}, set(T_WK), bending, AlignmentConfig())
    assert max(error_deg(poses, k) for k in (1, 2)) < 0.65 * max(error_deg(start, k) for k in (1, 2))
    seen = np.concatenate([np.stack([e.uv_i, e.uv_j]) for e in matches if (e.i, e.j) == (0, 1)])
    for k, uv in zip((0, 1), seen, strict=True):  # where there are matches
        c, r = uv.round().astype(int).T
        left = np.log(factors(grids[k] + errors[k], SIZE))[r, c]
        assert left.std() < 0.4 * np.log(factors(errors[k], SIZE))[r, c].std()
    assert bending.variance > 0.1  # such errors are about as large as expected


def test_true_pointmaps_stay_as_they_are():
    matches = edges({k: np.zeros((ROWS, COLUMNS)) for k in T_WK})
    poses, grids = bend(dict(T_WK), matches, {0}, set(T_WK), Bending(), AlignmentConfig())
    assert all(np.abs(grid).max() < 1e-3 for grid in grids.values())
    assert all(error_deg(poses, k) < 0.02 for k in poses)


def test_a_pointmap_that_must_not_bend_does_not():
    errors = {k: smooth(k, 0.06) for k in T_WK}
    _, grids = bend(dict(T_WK), edges(errors), {0}, {2}, Bending(), AlignmentConfig())
    assert grids.keys() == {2}


def test_how_much_a_network_bends_is_learned():
    bending = Bending()
    none = np.zeros((2, NODES))
    exact = np.zeros((2, NODES, NODES))
    bending.update(none, exact)
    assert bending.variance == 0
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(NODES), 4 * np.linalg.inv(prior()), 200)
    bending = Bending()
    bending.update(drawn, np.zeros((200, NODES, NODES)))
    assert bending.variance == pytest.approx(4, rel=0.1)


def test_the_equations_are_those_of_a_plain_twin():
    rng = np.random.default_rng(3)
    edge = edges({k: smooth(k, 0.05) for k in T_WK}, pixel_sigma=1.0, count=20)[0]
    poses = {k: Sim3.exp(0.02 * rng.normal(size=7)) @ T_WK[k] for k in (0, 1)}
    grids, looks = 0.05 * rng.normal(size=(2, NODES)), stacked([edge])
    ray_sigma, depth_sigma, width, block = 0.01, 0.1, 3.0, 7 + NODES

    def residuals(delta: np.ndarray) -> np.ndarray:
        """(2 looks × M, 4) after a step."""
        T = [Sim3.exp(delta[n, :7]) @ poses[n] for n in (0, 1)]
        log_factor = [partial(bilinear, grids[n] + delta[n, 7:]) for n in (0, 1)]
        rows = []
        for i, j, Xi, Xj, uvi, uvj in (
            (0, 1, edge.Xi, edge.Xj, edge.uv_i, edge.uv_j),
            (1, 0, edge.Xj, edge.Xi, edge.uv_j, edge.uv_i),
        ):
            p = (T[i].inverse() @ T[j]).apply(Xj * np.exp(log_factor[j](uvj))[:, None])
            distance, own = np.linalg.norm(p, axis=1), np.linalg.norm(Xi, axis=1)
            ray = (p / distance[:, None] - Xi / own[:, None]) / ray_sigma
            depth = (np.log(distance) - np.log(own) - log_factor[i](uvi)) / depth_sigma
            rows.append(np.concatenate([ray, depth[:, None]], 1))
        return np.concatenate(rows)

    A, b, cost = np.zeros((2 * block, 2 * block)), np.zeros(2 * block), np.empty(1)
    seeing, seen = (
        np.concatenate([place(uv, SIZE) for uv in order], 1)
        for order in ((edge.uv_i, edge.uv_j), (edge.uv_j, edge.uv_i))
    )
    library().grid_equations(
        *(pose_table(poses), 2, grids, ROWS, COLUMNS, looks.pairs, looks.ends, 2, looks.rays),
        *(looks.log_distance, looks.points, looks.weight, seeing, seen, len(looks.weight)),
        *(ray_sigma, depth_sigma, width, A, b, cost),
    )
    r = residuals(np.zeros((2, block)))
    square = (r**2).sum(1)
    kernel = 1 / (1 + square / width**2)
    J = np.empty((*r.shape, 2 * block))
    for c in range(2 * block):
        step = np.zeros(2 * block)
        step[c] = 1e-6
        J[..., c] = (residuals(step.reshape(2, -1)) - residuals(-step.reshape(2, -1))) / 2e-6
    w = np.repeat(kernel**2, 4)
    J, r = J.reshape(-1, 2 * block), r.ravel()
    assert cost[0] == pytest.approx((square * kernel).sum())
    np.testing.assert_allclose(A + A.T, J.T @ (w[:, None] * J), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(b, -J.T @ (w * r), rtol=1e-4, atol=1e-2)
