"""What the user knows makes metres: the camera's poses from elsewhere, its height above the floor, or one distance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.types import View

LEAST_BASELINE_M = 0.03  # cameras that stand nearer to each other say nothing of scale
FLOOR_TILT_RAD = 0.7  # of the camera against the floor, at most
FLOOR_SHARE = 0.1  # of a view's points, at least, make a floor
FLOOR_WIDTH = 0.03  # points within this share of the floor's distance belong to it
BELOW_SHARE = 0.05  # of the points may lie under it
PLANES = 200  # three-point planes that are tried
HEIGHTS = 5  # views whose floors must agree
HEIGHT_SPREAD = 0.1  # how well, as a share


def known_poses(
    poses: Mapping[int, Sim3], T_OC: Mapping[int, np.ndarray], metres_a_unit: float | None
) -> tuple[dict[int, Sim3], float] | None:
    """A window's poses as odometry has them, with the scales that matches found.

    poses: T_Vk of the window, T_OC: (4, 4) rigid, metres, of the same keyframes. metres_a_unit: what a unit of V was last
    found to be, for a window whose cameras stand too close together. Returns T_Ok and metres a unit; None without either.
    """
    ratios = []
    ids = sorted(poses)
    for n, i in enumerate(ids):
        for j in ids[n + 1 :]:
            known = np.linalg.norm(T_OC[i][:3, 3] - T_OC[j][:3, 3])
            found = np.linalg.norm(poses[i].t - poses[j].t)
            if known > LEAST_BASELINE_M and found > 1e-9:
                ratios.append(known / found)
    if ratios:
        metres_a_unit = float(np.median(ratios))
    if metres_a_unit is None:
        return None
    placed = {k: Sim3(poses[k].s * metres_a_unit, T_OC[k][:3, :3], T_OC[k][:3, 3].copy()) for k in ids}
    return placed, metres_a_unit


def carried_on(T_WK: Sim3, T_OK: Sim3) -> Sim3:
    """T_WO without scale, both being metric, so that the keyframe stands in the map where it stands.

    Odometry knows the way since then better than pointmaps do; what loops have put right before stays right.
    """
    R = T_WK.R @ T_OK.R.T
    return Sim3(1.0, R, T_WK.t - R @ T_OK.t)


def floor_distance(view: View, rng: np.random.Generator) -> float | None:
    """How high the camera is above the floor that a view shows, in the view's own unit; None if it shows none.

    The floor is the plane with most points, roughly at right angles to the image's upright, with hardly anything below.
    """
    X = view.points[::4, ::4].reshape(-1, 3).astype(float)
    X = X[np.isfinite(X).all(1) & (X[:, 2] > 1e-3)]
    low = X[X[:, 1] > 0]
    if len(low) < 3 or len(low) < FLOOR_SHARE * len(X):
        return None
    a, b, c = (low[rng.integers(len(low), size=PLANES)] for _ in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    normal *= np.where(normal[:, 1:2] < 0, -1, 1)  # down, as y is
    height = (normal * a).sum(1)
    above = X @ normal.T - height  # > 0 is under the floor
    near = np.abs(above) < FLOOR_WIDTH * height
    upright = (normal[:, 1] > np.cos(FLOOR_TILT_RAD)) & (height > 0)
    clear = (above > FLOOR_WIDTH * height).mean(0) < BELOW_SHARE
    share = np.where(upright & clear, near.mean(0), 0)
    best = int(share.argmax())
    if share[best] < FLOOR_SHARE:
        return None
    on = X[near[:, best]]
    center = on.mean(0)
    exact = np.linalg.svd(on - center, full_matrices=False)[2][2]
    return float(abs(exact @ center))


class HeightScale:
    """The scale that a camera of known height gives the map, once several views agree on where the floor is."""

    def __init__(self, camera_height_m: float) -> None:
        self.camera_height_m = camera_height_m
        self._heights: list[float] = []

    def factor(self, view: View, scale: float, rng: np.random.Generator) -> float | None:
        """What to multiply the map with; None until it is certain, and for ever after. scale: of the view in the map."""
        if self.camera_height_m <= 0:
            return None
        found = floor_distance(view, rng)
        if found is not None:
            self._heights = [*self._heights[1 - HEIGHTS :], found * scale]
        middle = float(np.median(self._heights)) if self._heights else 0.0
        agreed = len(self._heights) == HEIGHTS and np.ptp(self._heights) < 2 * HEIGHT_SPREAD * middle
        if not agreed:
            return None
        factor, self.camera_height_m = self.camera_height_m / middle, 0.0
        return factor
