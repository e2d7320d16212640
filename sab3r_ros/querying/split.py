"""Things that stand close together come apart; one thing in pieces stays one."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.querying.cells import distinct
from sab3r_ros.querying.compiled import connected_pieces
from sab3r_ros.querying.objects import corners, corners_of

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

    Points that join over gaps of join_m are one thing, unless they hold several bodies that come apart.
    """
    pieces = connected_pieces(points, join_m)
    count = int(pieces.max()) + 1 if len(points) else 0
    order = np.argsort(pieces, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(pieces[order])) + 1) if count else []:
        thing = came_apart(points[rows], fine_m)
        pieces[rows[thing > 0]] = count - 1 + thing[thing > 0]
        count += int(thing.max())
    return pieces


def came_apart(points: np.ndarray, fine_m: float) -> np.ndarray:
    """(N, 3) metres, connected → (N,) int thing of each point: one, unless they hold several bodies that come apart at
    fine_m and stand side by side; then every other point goes to the nearest body.
    """
    whole = np.zeros(len(points), np.int32)
    if len(points) > MOST or not may_be_a_body(points):
        return whole
    group = body_groups(points, connected_pieces(points, fine_m))
    if group.max() < 1:
        return whole
    known = group >= 0
    group[~known] = group[known][cKDTree(points[known]).query(points[~known])[1]]
    return group


def may_be_a_body(points: np.ndarray) -> bool:
    """Whether (N, 3) points, metres, reach as far as a thing of its own does."""
    low, high = corners(points)
    x, y, z = (high - low).tolist()
    return min(x, y) >= BODY_SIDE_M and z >= BODY_HEIGHT_M


def body_groups(points: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """(N,) number from 0 of the group of bodies that a point belongs to, −1 where it belongs to none."""
    sizes = np.bincount(fine)
    bodies: dict[int, Body] = {}
    large = np.flatnonzero(sizes >= BODY_PART * sizes.max())
    for k in large if len(large) > 1 else []:
        rows = np.flatnonzero(fine == k)
        if may_be_a_body(points[rows]):
            bodies[k] = Body(points, rows)
    out = np.full(len(points), -1, np.int32)
    groups: list[list[int]] = []
    for k in bodies:
        same = [g for g in groups if any(one_thing(bodies[k], bodies[m]) for m in g)]
        groups = [g for g in groups if g not in same] + [sum(same, [k])]
    for number, group in enumerate(groups):
        out[np.isin(fine, group)] = number
    return out


def with_their_feet(parts: list[np.ndarray], points: np.ndarray, reach_m: float) -> list[np.ndarray]:
    """Parts (rows of points (N, 3)), in order, each with the later ones that stand over or under it, at most reach_m away: a
    seat and its foot, where what is between them was never seen.
    """
    bodies: list[Body] = []
    for part, low, high in zip(parts, *corners_of(parts, points), strict=True):
        body = Body(points, part, (low.tolist(), high.tolist()))
        for k, other in enumerate(bodies):
            if stacked(body, other, reach_m):
                bodies[k] = Body(points, np.concatenate([other.rows, part]))
                break
        else:
            bodies.append(body)
    return [body.rows for body in bodies]


class Body:
    """Something solid, rows of points (N, 3), and what tells how bodies stand to each other.

    box: its lowest and highest corner along the axes; found where it is not given.
    """

    def __init__(
        self, points: np.ndarray, rows: np.ndarray, box: tuple[list[float], list[float]] | None = None
    ) -> None:
        self.points, self.rows = points, rows
        low, high = box or map(np.ndarray.tolist, corners(points[rows]))
        self.box = low, high

    @cached_property
    def plan(self) -> np.ndarray:
        """The cells of the ground below, ascending."""
        cell = np.floor(self.points[self.rows, :2] / PLAN_CELL_M).astype(np.int64)
        return distinct((cell[:, 0] << 32) + cell[:, 1])

    def over(self, other: Body) -> bool:
        """Whether the ground plans can have a cell in common."""
        (low, high), (other_low, other_high) = self.box, other.box
        return (
            low[0] <= other_high[0] + PLAN_CELL_M
            and other_low[0] <= high[0] + PLAN_CELL_M
            and low[1] <= other_high[1] + PLAN_CELL_M
            and other_low[1] <= high[1] + PLAN_CELL_M
        )

    def plan_shared(self, other: Body) -> float:
        """Common ground as a share of the smaller's."""
        if not self.over(other):
            return 0.0
        both = len(np.intersect1d(self.plan, other.plan, assume_unique=True))
        return both / min(len(self.plan), len(other.plan))

    def heights(self, other: Body) -> tuple[float, float]:
        """Height range that both have, metres, negative where there is a gap between them; and the smaller's own."""
        (low, high), (other_low, other_high) = self.box, other.box
        common = min(high[2], other_high[2]) - max(low[2], other_low[2])
        return common, min(high[2] - low[2], other_high[2] - other_low[2])


def stacked(a: Body, b: Body, reach_m: float) -> bool:
    """Whether most of the smaller's ground plan lies in the other's, and they share little of their height."""
    if not a.over(b):
        return False
    common, height = a.heights(b)
    if -common > reach_m or common >= HEIGHT_OVERLAP * height:
        return False
    return a.plan_shared(b) >= STACKED_OVERLAP


def one_thing(a: Body, b: Body) -> bool:
    """Whether two bodies stand over each other rather than side by side."""
    common, height = a.heights(b)
    return common < HEIGHT_OVERLAP * height or a.plan_shared(b) > PLAN_OVERLAP
