"""Things that stand close together come apart; one thing in pieces stays one."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.querying.objects import connected_pieces

BODY_SIDE_M, BODY_HEIGHT_M = (
    0.15,
    0.2,
)  # a piece smaller than this is a leg, a plate, a crumb: never a thing of its own
BODY_PART = 0.25  # share of the largest piece's voxels that a body has at least
MOST = 60_000  # points; what is larger is no furniture but a floor or a wall, and stays whole
PLAN_CELL_M = 0.05
PLAN_OVERLAP = (
    0.1  # bodies that share more of their ground plan are parts of one thing: a table top and its foot
)
STACKED_OVERLAP = 0.4  # and parts with a gap between them, if they share at least this share
HEIGHT_OVERLAP = 0.5  # bodies that share less of their height range are, too: a backrest and a seat


def separate(points: np.ndarray, join_m: float, fine_m: float) -> np.ndarray:
    """(N, 3) metres → (N,) int32 thing of each point.

    Points that join over gaps of join_m are one thing, unless they hold several bodies that come apart at fine_m
    and stand side by side; then every other point goes to the nearest body.
    """
    pieces = connected_pieces(points, join_m)
    count = int(pieces.max()) + 1 if len(points) else 0
    order = np.argsort(pieces, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(pieces[order])) + 1) if count else []:
        if len(rows) > MOST:
            continue
        group = body_groups(points[rows], connected_pieces(points[rows], fine_m))
        if group.max() < 1:
            continue
        known = group >= 0
        nearest = cKDTree(points[rows[known]]).query(points[rows[~known]])[1]
        group[~known] = group[known][nearest]
        pieces[rows[group > 0]] = count - 1 + group[group > 0]
        count += int(group.max())
    return pieces


def body_groups(points: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """(N,) number from 0 of the group of bodies that a point belongs to, −1 where it belongs to none."""
    sizes = np.bincount(fine)
    bodies = []
    for k in np.flatnonzero(sizes >= BODY_PART * sizes.max()):
        extent = np.ptp(points[fine == k], axis=0)
        if extent[:2].min() >= BODY_SIDE_M and extent[2] >= BODY_HEIGHT_M:
            bodies.append(k)
    out = np.full(len(points), -1, np.int32)
    groups: list[list[int]] = []
    for k in bodies:
        same = [g for g in groups if any(one_thing(points[fine == k], points[fine == m]) for m in g)]
        groups = [g for g in groups if g not in same] + [sum(same, [k])]
    for number, group in enumerate(groups):
        out[np.isin(fine, group)] = number
    return out


def with_their_feet(parts: list[np.ndarray], points: np.ndarray, reach_m: float) -> list[np.ndarray]:
    """Parts (rows of points (N, 3)), in order, each with the later ones that stand over or under it, at most reach_m away: a
    seat and its foot, where what is between them was never seen.
    """
    kept: list[np.ndarray] = []
    for part in parts:
        for k, other in enumerate(kept):
            if stacked(points[part], points[other], reach_m):
                kept[k] = np.concatenate([other, part])
                break
        else:
            kept.append(part)
    return kept


def stacked(a: np.ndarray, b: np.ndarray, reach_m: float) -> bool:
    """Whether most of the smaller's ground plan lies in the other's, and they share little of their height."""
    if (a.min(0)[:2] > b.max(0)[:2]).any() or (b.min(0)[:2] > a.max(0)[:2]).any():
        return False
    plan_a, plan_b = plan(a), plan(b)
    if len(plan_a & plan_b) < STACKED_OVERLAP * min(len(plan_a), len(plan_b)):
        return False
    low, high = max(a[:, 2].min(), b[:, 2].min()), min(a[:, 2].max(), b[:, 2].max())
    return low - high <= reach_m and high - low < HEIGHT_OVERLAP * min(np.ptp(a[:, 2]), np.ptp(b[:, 2]))


def plan(points: np.ndarray) -> set[tuple[int, int]]:
    """The cells of the ground that points (N, 3) stand over."""
    return {tuple(c) for c in np.unique(np.floor(points[:, :2] / PLAN_CELL_M).astype(int), axis=0).tolist()}


def one_thing(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two bodies stand over each other rather than side by side."""
    plan_a, plan_b = plan(a), plan(b)
    if len(plan_a & plan_b) > PLAN_OVERLAP * min(len(plan_a), len(plan_b)):
        return True
    low, high = max(a[:, 2].min(), b[:, 2].min()), min(a[:, 2].max(), b[:, 2].max())
    return high - low < HEIGHT_OVERLAP * min(np.ptp(a[:, 2]), np.ptp(b[:, 2]))
